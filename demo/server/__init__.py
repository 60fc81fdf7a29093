"""State on the server, without widgets: what is permitted, opened models, analysed photographs, user models, the Hub;
what may come in, and what errors say.

May import language.
"""
