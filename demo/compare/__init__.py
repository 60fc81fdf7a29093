"""The Compare tab: one photograph, two frames. `present` is the one function that says what is shown.

May import distort, components and server.
"""
