"""What programs may ask: endpoints of the API, which are the tools of MCP, with answers in JSON and files.

Every call says all that it needs: a data set or a model is a token that another call returned. May import evaluate,
train, workspace, methods, compare, distort, components, server and language.
"""
