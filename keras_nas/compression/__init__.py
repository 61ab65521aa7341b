"""From a trained network and a budget to a small one, by rules that are said."""

import os
from typing import TYPE_CHECKING

from keras_nas.compression.config import CompressConfig

if TYPE_CHECKING or "KERAS_NAS_DEFER" not in os.environ:  # see keras_nas/__init__.py
    from keras_nas.compression.compress import Compressed, compress

__all__ = ["CompressConfig", "Compressed", "compress"]
