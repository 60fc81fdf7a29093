"""Components of our own: canvases that draw maps in the browser, the report, inputs, files for the page to hand out.

May import server and language.
"""
