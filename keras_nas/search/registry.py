"""The methods by name: their settings, which need no TensorFlow, and where each one stands."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_nas.errors import UsageError

if TYPE_CHECKING:
    from keras_nas.search.method import Method


@dataclasses.dataclass(frozen=True)
class _Entry:
    config: type
    method: str


_METHODS: dict[str, _Entry] = {}


def register(name: str, method: str) -> Callable[[type], type]:
    """Decorator of a method's configuration: enters both by name.

    Example:

    ```python
    @register("mine", method="my_package.method.Mine")
    @dataclasses.dataclass(frozen=True)
    class MineConfig:
        epochs: int = setting(10, "How long.")
    ```

    Args:
        name: The method's name, as `Method.name` and --method.
        method: Module and name of the `Method`, which is imported once it is needed: an app reads
            its flags before TensorFlow is there.
    """

    def enter(config: type) -> type:
        if name in _METHODS:
            raise UsageError(
                f"`register` needs a name that is free. Received: {name!r}, taken already"
            )
        _METHODS[name] = _Entry(config, method)
        return config

    return enter


def names() -> tuple[str, ...]:
    """The names of all methods."""
    return tuple(_METHODS)


def default_config(name: str) -> Any:
    """A method's default settings.

    Raises:
        UsageError: If there is no method of that name.
    """
    return _entry(name).config()


def make_method(name: str, config: Any) -> Method:
    """A method by name, with its settings.

    Raises:
        UsageError: If there is none of that name.
    """
    module, _, kind = _entry(name).method.rpartition(".")
    return getattr(importlib.import_module(module), kind)(config)


def _entry(name: str) -> _Entry:
    if name not in _METHODS:
        raise UsageError(f"`method` must be one of {names()}. Received: method={name!r}")
    return _METHODS[name]
