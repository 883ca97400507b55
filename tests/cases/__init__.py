"""Recordings and files as people have them, put to a launched app: `python -m tests.cases`."""
