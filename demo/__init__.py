"""The web app: widgets around the library."""
