"""Thin command-line apps; run them from a checkout with `python -m apps.<name>`."""
