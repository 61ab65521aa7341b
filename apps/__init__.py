"""Thin command-line apps; run them from a checkout with `python -m apps.<name>`."""

import os

from export.quiet import quiet_stderr

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with quiet_stderr():  # TensorFlow prints a banner whatever that level is
    import tensorflow  # noqa: F401
