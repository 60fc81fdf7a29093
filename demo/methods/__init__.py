"""The All methods tab: every method of one photograph in a grid.

May import compare and what it may.
"""
