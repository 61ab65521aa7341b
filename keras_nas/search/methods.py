"""The methods by name, for the apps."""

from __future__ import annotations

from typing import Any

from keras_nas.errors import UsageError
from keras_nas.search.dnal import Dnal
from keras_nas.search.dso.method import Dso
from keras_nas.search.fgnas.method import Fgnas
from keras_nas.search.method import Method

METHODS: dict[str, type[Method]] = {"dnal": Dnal, "dso": Dso, "fgnas": Fgnas}
"""Each method's class; its configuration's stands in `run_config.METHOD_CONFIGS`."""


def make_method(name: str, config: Any) -> Method:
    """A method by name.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in METHODS:
        raise UsageError(f"`method` must be one of {tuple(METHODS)}. Received: method={name!r}")
    return METHODS[name](config)  # type: ignore[call-arg]
