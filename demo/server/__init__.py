"""State on the server, without widgets: what is permitted, opened models, analysed photographs, user models, the Hub.

May import bsoftmax alone.
"""
