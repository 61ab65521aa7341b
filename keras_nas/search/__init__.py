"""The searches, over one shared loop."""

import os
from typing import TYPE_CHECKING

from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.dso.config import DsoConfig
from keras_nas.search.fgnas.config import FgnasConfig
from keras_nas.training.distill_config import DistillConfig
from keras_nas.training.session import Session
from keras_nas.training.train_config import TrainConfig

if TYPE_CHECKING or "KERAS_NAS_DEFER" not in os.environ:  # see keras_nas/__init__.py
    from keras_nas.search.dead_network import DeadNetworkError
    from keras_nas.search.dnal import dnal
    from keras_nas.search.dso.method import dso
    from keras_nas.search.fgnas.method import fgnas
    from keras_nas.search.method import SearchResult
    from keras_nas.training.divergence import DivergedError
    from keras_nas.training.loop import InterruptedSearchError, run_stage
    from keras_nas.training.stage import Stage
    from keras_nas.training.trainer import train

__all__ = [
    "DeadNetworkError",
    "DistillConfig",
    "DivergedError",
    "DnalConfig",
    "DsoConfig",
    "FgnasConfig",
    "InterruptedSearchError",
    "SearchResult",
    "Session",
    "Stage",
    "TrainConfig",
    "dnal",
    "dso",
    "fgnas",
    "run_stage",
    "train",
]
