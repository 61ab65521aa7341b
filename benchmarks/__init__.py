"""Measurements, one command each; run them from a checkout with `python -m benchmarks.<name>`."""

import apps  # noqa: F401  (imports TensorFlow without its banner)
