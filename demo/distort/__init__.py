"""The Distort panel's data: what the browser redraws shifted maps from, and the redrawing here of heads it cannot.

May import server and language.
"""
