"""The methods by name, for the apps."""

from __future__ import annotations

from typing import Any

from keras_nas.errors import UsageError
from keras_nas.search.dnal import Dnal, DnalConfig
from keras_nas.search.dso import Dso
from keras_nas.search.dso_config import DsoConfig
from keras_nas.search.fgnas import Fgnas
from keras_nas.search.fgnas_config import FgnasConfig
from keras_nas.search.method import Method

METHODS: dict[str, tuple[type[Method], type]] = {
    "dnal": (Dnal, DnalConfig),
    "dso": (Dso, DsoConfig),
    "fgnas": (Fgnas, FgnasConfig),
}
"""Each method's class and the class of its configuration."""


def default_config(name: str) -> Any:
    """A method's default settings."""
    return _entry(name)[1]()


def make_method(name: str, config: Any) -> Method:
    """A method by name.

    Raises:
        UsageError: If there is none of that name.
    """
    return _entry(name)[0](config)  # type: ignore[call-arg]


def _entry(name: str) -> tuple[type[Method], type]:
    if name not in METHODS:
        raise UsageError(f"`method` must be one of {tuple(METHODS)}. Received: method={name!r}")
    return METHODS[name]
