"""The page as a whole: the layout of its tabs, the theme, the About tab.

May import every other package of the demo.
"""
