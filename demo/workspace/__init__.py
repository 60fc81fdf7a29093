"""What Train and Evaluate share: a visitor's folder, data set and running job.

May import compare and what it may.
"""
