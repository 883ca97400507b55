"""Many people at once: `python -m pytest tests/load -m slow -s`; minutes, so not part of the default run."""
