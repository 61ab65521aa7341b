"""The searches, over one shared loop."""

from keras_nas.search.dnal import DnalConfig, dnal
from keras_nas.search.dso import dso
from keras_nas.search.dso_config import DsoConfig
from keras_nas.search.fgnas import fgnas
from keras_nas.search.fgnas_config import FgnasConfig
from keras_nas.search.finite import DivergedError
from keras_nas.search.loop import InterruptedSearchError, run_stage
from keras_nas.search.result import SearchResult
from keras_nas.search.session import Session
from keras_nas.search.stage import Stage
from keras_nas.search.training import TrainConfig, train

__all__ = [
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
