"""Widgets of our own: the canvases that draw maps in the browser, the report view, inputs and error notices.

May import bsoftmax alone.
"""
