"""The Evaluate tab: from images to a table of every method, source and clamp.

May import workspace, compare, components, server and language.
"""
