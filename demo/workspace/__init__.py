"""Shared by Train and Evaluate: a session's workspace, its data set, its job in a child process, their layout.

May import compare, components, server and language.
"""
