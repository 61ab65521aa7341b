"""Configurations as frozen dataclasses: one place for each setting's default, help and choices."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any

from keras_nas.errors import KerasNasError, UsageError

EVERYTHING = "everything"
LATER_STAGES = "later stages"
"""What a setting decides that the weight stage and the baseline do not read."""
NOTHING = "nothing"
"""What a setting decides that does not change what comes out, and may differ on resuming."""
_MISSING = "(not given)"


def setting(
    default: Any,
    text: str,
    choices: tuple | Callable[[], tuple] | None = None,
    decides: str = EVERYTHING,
    name: str | None = None,
) -> Any:
    """A dataclass field with its help text.

    The apps make a flag of it: the default, the text and the choices stand here and nowhere else.

    Args:
        default: The default value; a dataclass type stands for its default instance.
        text: One or two sentences: what it is, its unit, where it comes from.
        choices: The allowed values, where there are few; a function where they can be registered.
        decides: `EVERYTHING`, `LATER_STAGES` or `NOTHING`; of a nested configuration for all of it.
        name: Its flat name and its flag's, where that is not the field's.
    """
    metadata = {"help": text, "choices": choices, "decides": decides, "name": name}
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def group(default: Any) -> Any:
    """A dataclass field for settings that stand among their owner's.

    Their flat names have no prefix, and each says for itself what it decides.

    Args:
        default: The instance of a dataclass made with `setting` that stands by default.
    """
    metadata = {"prefix": "", "decides": None}
    return dataclasses.field(default_factory=lambda: default, metadata=metadata)


def settings_of(config: Any) -> list[dataclasses.Field]:
    """The fields of a dataclass that are settings; others are for programs, and have no flag."""
    return [field for field in dataclasses.fields(config) if "decides" in field.metadata]


def name_of(field: dataclasses.Field) -> str:
    """A setting's flat name, without what stands before a nested one's."""
    return field.metadata.get("name") or field.name


def prefix_of(field: dataclasses.Field) -> str:
    """What the flat names of a nested configuration's settings begin with."""
    return field.metadata.get("prefix", f"{field.name}_")


def choices_of(field: dataclasses.Field) -> tuple:
    """The allowed values of a setting; empty where any is."""
    choices = field.metadata.get("choices") or ()
    return choices() if callable(choices) else choices


def check_choices(config: Any) -> None:
    """Raises `UsageError` where a field of `config` is not one of its choices."""
    for field in dataclasses.fields(config):
        choices = choices_of(field)
        value = getattr(config, field.name)
        if choices and value not in choices:
            raise UsageError(
                f"`{field.name}` must be one of {choices}. Received: {field.name}={value!r}"
            )


def check_range(config: Any, names: tuple[str, ...], low: float, strict: bool = False) -> None:
    """Raises `UsageError` where a field named in `names` is below `low` (or equal, if `strict`)."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, str):
            raise UsageError(f"`{name}` must be a number. Received: {name}={value!r}")
        if value < low or (strict and value == low):
            bound = f"greater than {low:g}" if strict else f"{low:g} or more"
            raise UsageError(f"`{name}` must be {bound}. Received: {name}={value!r}")


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting of a (nested) dataclass by its flat name, as the flags spell it.

    A nested configuration's name is put before its fields', as in `finetune_epochs`, but for a
    `group`'s.
    """
    flat: dict[str, Any] = {}
    for field in settings_of(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value, prefix + prefix_of(field)))
        else:
            flat[prefix + name_of(field)] = list(value) if isinstance(value, tuple) else value
    return flat


def deciding(config: Any, what: str) -> frozenset[str]:
    """The flat names of the settings that decide `what`, one of `setting`'s."""
    names: set[str] = set()
    for field in settings_of(config):
        value, decides = getattr(config, field.name), field.metadata["decides"]
        if decides is None:
            names |= deciding(value, what)
        elif decides == what:
            nested = dataclasses.is_dataclass(value)
            names |= flatten(value, prefix_of(field)).keys() if nested else {name_of(field)}
    return frozenset(names)


def unflatten(kind: type, flat: Mapping[str, Any], prefix: str = "", base: Any = None) -> Any:
    """The inverse of `flatten`: a `kind` with the values of `flat`; what is missing keeps `base`'s.

    Raises:
        UsageError: If a value is not allowed; the message names a nested configuration.

    Args:
        kind: The dataclass.
        flat: Values by flat name; names that `kind` does not have are ignored.
        prefix: What the names in `flat` begin with.
        base: An instance whose values stand where `flat` has none; `kind()` by default.
    """
    base = kind() if base is None else base
    hints = typing.get_type_hints(kind)
    values = {field.name: getattr(base, field.name) for field in dataclasses.fields(kind)}
    for field in settings_of(kind):
        present, name = values[field.name], prefix + name_of(field)
        if dataclasses.is_dataclass(present):
            nested = prefix + prefix_of(field)
            values[field.name] = unflatten(type(present), flat, nested, present)
        elif name in flat:
            is_tuple = typing.get_origin(hints[field.name]) is tuple
            values[field.name] = tuple(flat[name]) if is_tuple else flat[name]
    try:
        return kind(**values)
    except UsageError as error:
        if not prefix or str(error).startswith("Among"):
            raise
        raise UsageError(f"Among the settings `{prefix}…`: {error}") from error


def check_settings(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses settings that would make a resumed run another run.

    Raises:
        KerasNasError: Names the first setting that differs.
    """
    for name in sorted(saved.keys() | now.keys()):
        before, after = saved.get(name, _MISSING), now.get(name, _MISSING)
        if before != after:
            raise KerasNasError(
                f"`{name}` was {before!r} when this run began and is {after!r} now, which would "
                "make it another run: resume with the old value, or start another run folder."
            )


def text_of(value: Any) -> str:
    """A setting's value as a flag spells it."""
    if isinstance(value, (list, tuple)):
        return ",".join(str(part) for part in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
