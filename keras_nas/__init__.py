"""keras_nas: learn which channels, operations and connections a network needs, and rebuild it.

Importing it registers the layers of gated networks with Keras, which takes TensorFlow. The apps put
that off until their flags are read: see apps/__init__.py.
"""

import os
from typing import TYPE_CHECKING

from keras_nas.errors import KerasNasError
from keras_nas.version import __version__

if TYPE_CHECKING or "KERAS_NAS_DEFER" not in os.environ:
    from keras_nas import (
        callbacks,
        costs,
        data,
        gates,
        graph,
        importance,
        layers,
        models,
        optimizers,
        search,
        statistics,
        surgery,
        tasks,
        training,
    )
    from keras_nas.architecture import Architecture
    from keras_nas.compression import CompressConfig, compress
    from keras_nas.loading import load_model

__all__ = [
    "Architecture",
    "CompressConfig",
    "KerasNasError",
    "__version__",
    "callbacks",
    "compress",
    "costs",
    "data",
    "gates",
    "graph",
    "importance",
    "layers",
    "load_model",
    "models",
    "optimizers",
    "search",
    "statistics",
    "surgery",
    "tasks",
    "training",
]
