"""The web app: widgets around the library.

`app.py` builds `app.layout`; each tab has a package of its own. docs/architecture.md says which imports which.
"""
