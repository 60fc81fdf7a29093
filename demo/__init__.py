"""The web app: widgets around the library.

`app.layout` builds the page from one package a tab; `static` holds what the browser runs. docs/architecture.md draws
which package may import which.
"""
