"""The visitor's language: which it is, the catalogue of translations, and the page's texts in it.

`bsoftmax.utils.language` is what all code calls. May import bsoftmax alone.
"""
