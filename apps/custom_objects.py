"""Classes and functions of the user's own, for models that have them."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Sequence

from keras_nas.errors import UsageError


def register(names: Sequence[str]) -> None:
    """Imports what `--custom_objects` names, and makes it known to Keras.

    Args:
        names: `module:Name` each, or `module` alone, for one that registers its classes by itself
            (`keras.saving.register_keras_serializable`). Modules in the working folder count.

    Raises:
        UsageError: There is no such module or name in it, its import fails, or the name is of no
            class or function.
    """
    import keras

    for given in names:
        module, _, name = given.partition(":")
        found = _import(module, given)
        if not name:
            continue
        value = getattr(found, name, None)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            held = "no such name" if value is None else f"a {type(value).__name__}"
            raise UsageError(
                "`custom_objects` must name classes or functions, as module:Name. "
                f"Received: {given!r}, which is {held} in {module}"
            )
        keras.saving.get_custom_objects()[name] = value


def _import(module: str, given: str):
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise UsageError(
            "`custom_objects` must name a module that can be imported from here. Received: "
            f"{given!r} ({type(error).__name__}: {error})"
        ) from error
