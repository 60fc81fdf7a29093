"""The Evaluate tab: images in, a table of every method, source and clamp out.

May import workspace and what it may.
"""
