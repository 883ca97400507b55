"""Killing the server and its children at random moments, and looking at what is left."""
