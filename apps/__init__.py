"""Thin command-line apps; run them from a checkout with `python -m apps.<name>`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow's import: no banner
