"""The page as a whole: layout of the tabs, theme, About.

May import every other package of the demo.
"""
