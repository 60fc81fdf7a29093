"""What the server keeps between requests, without widgets: models, analysed photographs, visitors' own models.

May import bsoftmax alone.
"""
