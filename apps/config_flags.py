"""Flags from frozen dataclasses: the defaults, help texts and choices stand in the dataclass."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

from absl import flags

from keras_nas.settings import (
    choices_of,
    flatten,
    name_of,
    prefix_of,
    settings_of,
    unflatten,
)

flags.disclaim_key_flags()  # the flags are the app's own: its --help lists them

HEADINGS: dict[str, str] = {}
"""What --help lists each flag under, by its name, in the configurations' order."""


def define(*configs: Any) -> None:
    """Defines a flag for each setting of the configurations, nested ones with their prefix.

    A flag that is not given is None and leaves the setting as it is; the help text names the
    default. A setting that two configurations share is one flag.

    Args:
        *configs: Instances of dataclasses made with `keras_nas.settings.setting`.
    """
    defaults = _defaults(configs)
    HEADINGS.update(_headings(configs))
    for shares in (True, False):  # a flag that is a plain number elsewhere takes both
        for config in configs:
            _define(config, "", defaults, shares)


def read(config: Any) -> Any:
    """`config` with the values of the flags that were given."""
    names = flatten(config)
    given = {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].present}
    return unflatten(type(config), given, base=config)


def given(*configs: Any) -> set[str]:
    """The names of the configurations' settings that were given as flags."""
    names = {name for config in configs for name in flatten(config)}
    return {name for name in names if flags.FLAGS[name].present}


def _defaults(configs: tuple[Any, ...]) -> dict[str, str]:
    """Each setting's default as the help shows it; by configuration where they differ."""
    shown: dict[str, dict[str, str]] = {}
    for config in configs:
        for name, value in flatten(config).items():
            shown.setdefault(name, {})[_kind(config)] = _shown(value)
    return {
        name: next(iter(found.values()))
        if len(set(found.values())) == 1
        else ", ".join(f"{value} for {kind}" for kind, value in found.items())
        for name, found in shown.items()
    }


def _headings(configs: tuple[Any, ...]) -> dict[str, str]:
    """Each flag's heading: what its configuration is, or which of them share it."""
    found: dict[str, dict[str, str]] = {}
    for config in configs:
        for name, heading in _headings_within(config, "", _summary(config)):
            found.setdefault(name, {})[_kind(config)] = heading
    return {
        name: next(iter(by_kind.values()))
        if len(set(by_kind.values())) == 1
        else "Settings of " + ", ".join(by_kind)
        for name, by_kind in found.items()
    }


def _headings_within(config: Any, prefix: str, heading: str) -> Iterator[tuple[str, str]]:
    for field in settings_of(config):
        value, nested = getattr(config, field.name), prefix + prefix_of(field)
        if not dataclasses.is_dataclass(value):
            yield prefix + name_of(field), heading
        elif nested == prefix:
            yield from _headings_within(value, nested, _summary(value))
        else:
            yield from _headings_within(value, nested, f"--{nested}…")


def _summary(config: Any) -> str:
    return re.split(r"[.;]\s", f"{inspect.getdoc(config)} ", maxsplit=1)[0]


def _kind(config: Any) -> str:
    return type(config).__name__.removesuffix("Config").lower()


def _define(config: Any, prefix: str, defaults: dict[str, str], shares: bool) -> None:
    """Defines the flags of a configuration; with `shares` only those that take shares as 0.5x."""
    hints = typing.get_type_hints(type(config))
    for field in settings_of(config):
        value = getattr(config, field.name)
        name = prefix + name_of(field)
        if dataclasses.is_dataclass(value):
            _define(value, prefix + prefix_of(field), defaults, shares)
        elif name not in flags.FLAGS and (not shares or hints[field.name] == float | str):
            _define_one(name, field, hints[field.name], defaults[name])


def _define_one(name: str, field: dataclasses.Field, hint: Any, default: str) -> None:
    text = f"{field.metadata['help']} (default: {default})"
    choices = choices_of(field)
    if typing.get_origin(hint) is tuple:
        _define_list(name, typing.get_args(hint)[0], text)
    elif choices and isinstance(choices[0], str):
        flags.DEFINE_enum(name, None, choices, text)
    elif hint == float | str:
        flags.DEFINE(_NumberOrShareParser(), name, None, text)
    elif hint is bool:
        flags.DEFINE_bool(name, None, text)
    elif int in (hint, *typing.get_args(hint)):
        flags.DEFINE_integer(name, None, text)
    elif float in (hint, *typing.get_args(hint)):
        flags.DEFINE_float(name, None, text)
    else:
        flags.DEFINE_string(name, None, text)


def _define_list(name: str, kind: type, text: str) -> None:
    if kind is str:
        flags.DEFINE_list(name, None, text)
        return
    flags.DEFINE(_NumbersParser(kind), name, None, text, serializer=flags.CsvListSerializer(","))


class _NumbersParser(flags.ArgumentParser):
    """Comma-separated numbers."""

    def __init__(self, kind: type):
        super().__init__()
        self._kind = kind

    def parse(self, argument):
        if not isinstance(argument, str):
            return list(argument)
        try:
            return [self._kind(part) for part in argument.split(",") if part.strip()]
        except ValueError as error:
            raise ValueError(f"must be numbers separated by commas, like 30,80 ({error})") from None

    def flag_type(self):
        return f"comma-separated {self._kind.__name__}s"


class _NumberOrShareParser(flags.ArgumentParser):
    """A number, or a share such as 0.5x, which stays text."""

    def parse(self, argument):
        try:
            return float(argument)
        except ValueError:
            return str(argument)

    def flag_type(self):
        return "number or share"


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(str(part) for part in value) or "none"
    return "none" if value in (None, "") else str(value)
