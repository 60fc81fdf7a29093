"""The Compare tab: one photograph in equal frames, one for each source. `present` makes everything it shows.

`Page` is what every other tab is built from. May import distort, components, server and language.
"""
