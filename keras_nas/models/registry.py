"""The model zoo by name: what an Architecture's `{"builder": ..., "config": ...}` refers to."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable
from typing import ParamSpec

import keras

from keras_nas.errors import KerasNasError, UsageError

_Arguments = ParamSpec("_Arguments")

_BUILDERS: dict[str, Callable[..., keras.Model]] = {}


def register(builder: Callable[_Arguments, keras.Model]) -> Callable[_Arguments, keras.Model]:
    """Decorator: enters a builder into the zoo under its function name."""
    name = builder.__name__
    if name in _BUILDERS:
        raise KerasNasError(
            f"`register` needs a name that is free. Received: {name!r}, taken already"
        )
    _BUILDERS[name] = builder
    return builder


def register_variant(
    name: str, builder: Callable[_Arguments, keras.Model], about: str, **values
) -> Callable[_Arguments, keras.Model]:
    """Enters a builder into the zoo under another name, with other defaults.

    Args:
        name: Of the variant, and of its models unless they are called otherwise.
        builder: Builds the model. The variant takes its arguments, but for those by keyword alone,
            and its docstring ends with what the builder says of them.
        about: What the variant's docstring starts with.
        **values: Of the builder's arguments: the variant's defaults, and what it fixes of those by
            keyword alone.

    Returns:
        The variant, a function named `name` in the builder's module.

    Raises:
        KerasNasError: If the name is taken.
    """
    signature = inspect.signature(builder)
    defaults = values | {"name": name}
    fixed = {}
    parameters = []
    for key, parameter in signature.parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            default = defaults.get(key, parameter.default)
            parameters.append(parameter.replace(default=default))
        elif key in values:
            fixed[key] = values[key]
    signature = signature.replace(parameters=parameters)

    def variant(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> keras.Model:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return builder(*bound.args, **{**bound.kwargs, **fixed})

    _, _, details = inspect.cleandoc(builder.__doc__ or "").partition("\n\n")
    variant.__name__ = variant.__qualname__ = name
    variant.__module__ = builder.__module__
    variant.__doc__ = f"{inspect.cleandoc(about)}\n\n{details}"
    variant.__signature__ = signature  # type: ignore[attr-defined]
    return register(variant)


def names() -> list[str]:
    """The names that `create` takes, sorted."""
    return sorted(_BUILDERS)


def arguments(name: str) -> set[str]:
    """The names of the arguments that a backbone's builder takes."""
    return set(inspect.signature(_BUILDERS[name]).parameters)


def create(name: str, **config) -> keras.Model:
    """Builds a backbone of the zoo.

    Example:

    ```python
    model = keras_nas.models.create("vgg16_cifar", num_classes=10)
    ```

    Args:
        name: One of `names()`.
        **config: The builder's arguments. They must survive JSON, for an `Architecture` records
            them as `{"builder": name, "config": config}`.

    Returns:
        A functional `keras.Model` of stock layers.

    Raises:
        KerasNasError: If `name` or an argument is unknown, or `config` is not JSON-able.
    """
    if name not in _BUILDERS:
        raise UsageError(
            f"`name` must be one of {names()}. Received: name={name!r}"
            f"{_suggestion(name, _BUILDERS)}"
        )
    allowed = inspect.signature(_BUILDERS[name]).parameters
    for key in config:
        if key not in allowed:
            raise UsageError(
                f"`config` of model {name!r} must use arguments of {list(allowed)}. "
                f"Received: {key}={config[key]!r}{_suggestion(key, allowed)}"
            )
    try:
        json.dumps(config)
    except TypeError as error:
        raise UsageError(
            f"`config` of model {name!r} must be JSON-able (numbers, strings, lists, None), "
            f"because an architecture file records it. Received: {config!r} ({error})"
        ) from error
    return _BUILDERS[name](**config)


def _suggestion(word, allowed) -> str:
    close = difflib.get_close_matches(str(word), list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
