"""--help: an app's docstring and its own flags, in groups, with their defaults."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping

from absl import app, flags

_OWN = "The app's own flags"
_GENERAL = "Every app's flags"
_FLAGFILE = (
    "--flagfile: File of flags, one a line, by its path or by the name of one that comes with the "
    "apps, such as demo_dnal.cfg."
)


class HelpFlag(app.HelpFlag):
    """absl's --help, with the flags under headings.

    Args:
        headings: The heading of each flag, by its name, in the order in which they are shown; the
            app's other flags come before.
    """

    def __init__(self, headings: Mapping[str, str]):
        super().__init__()
        self.allow_override = True
        self._headings = headings

    def parse(self, argument):
        if self._parse(argument):
            print(_help_text(self._headings), flush=True)
            sys.exit(0)


def _help_text(headings: Mapping[str, str]) -> str:
    general = {name: flags.FLAGS[name] for name in ("debug", "help", "helpfull")}
    own = {
        flag.name: flag
        for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])
        if flag.name not in general
    }
    grouped: dict[str, list[str]] = {}
    for name in [*(name for name in own if name not in headings), *headings]:
        if name in own:
            grouped.setdefault(headings.get(name, _OWN), []).append(_flag_text(own[name]))
    grouped[_GENERAL] = [*map(_flag_text, general.values()), _wrapped(_FLAGFILE)]
    parts = ["\n".join([f"{heading}:", *lines]) for heading, lines in grouped.items()]
    return "\n\n".join([(sys.modules["__main__"].__doc__ or "").strip(), *parts])


def _flag_text(flag: flags.Flag) -> str:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    described = flag.help
    if isinstance(flag, flags.EnumFlag):
        listed = "|".join(flag.parser.enum_values)
        described = described.replace(listed, listed.replace("|", " | "), 1)
    text = f"{name}: {described}"
    if flag.default:
        text += f" (default: {flag.default})"
    if flag.parser.syntactic_help:
        text += f" ({flag.parser.syntactic_help})"
    return _wrapped(text)


def _wrapped(text: str) -> str:
    width = max(40, shutil.get_terminal_size((100, 24)).columns)
    return flags.text_wrap(text, width, indent="      ", firstline_indent="  ")
