"""The Train tab: from images to a softmax head and a sigmoid branch.

May import workspace, compare, components, server and language.
"""
