"""Measurements, one command each; run them from a checkout with `python -m benchmarks.<name>`."""

from apps.main import load_tensorflow

load_tensorflow()
