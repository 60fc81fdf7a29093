"""The All methods tab: one photograph under every method, in a grid.

May import compare, distort, components, server and language.
"""
