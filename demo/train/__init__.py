"""The Train tab: images in, a softmax head and a sigmoid branch out.

May import workspace and what it may.
"""
