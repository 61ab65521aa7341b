"""Thin command-line apps: `python -m apps.<name>` in a checkout, `keras-nas <name>` installed.

An app reads its flags before TensorFlow is imported, so that a misspelt one is said at once. Its
module imports what only defines settings, and its `main` the rest, once the flags are right. For
that, `keras_nas` is imported here without the parts that need TensorFlow, unless Keras is there
already; `apps.main.load_tensorflow` makes up for it.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _import_settings_alone() -> None:
    os.environ["KERAS_NAS_DEFER"] = "1"
    try:
        import keras_nas.compression
        import keras_nas.data
        import keras_nas.search  # noqa: F401
    finally:
        del os.environ["KERAS_NAS_DEFER"]


if "keras" not in sys.modules:
    _import_settings_alone()
