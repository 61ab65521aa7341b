"""keras_nas: learn which channels, operations and connections a network needs, and rebuild it."""

from keras_nas import costs, data, gates, graph, layers, models, optimizers, search, surgery, tasks
from keras_nas.architecture import Architecture
from keras_nas.errors import KerasNasError
from keras_nas.version import __version__

__all__ = [
    "Architecture",
    "KerasNasError",
    "__version__",
    "costs",
    "data",
    "gates",
    "graph",
    "layers",
    "models",
    "optimizers",
    "search",
    "surgery",
    "tasks",
]
