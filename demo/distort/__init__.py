"""The Distort panel: what the browser needs to redraw maps under a shift, and redrawing on the server where it cannot.

May import server.
"""
