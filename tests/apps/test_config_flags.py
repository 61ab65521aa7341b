from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from absl import flags

from apps import config_flags
from keras_nas.errors import UsageError
from keras_nas.search import DnalConfig, TrainConfig
from keras_nas.settings import flatten, group, setting
from tests.source_tree import ROOT


@dataclasses.dataclass(frozen=True)
class Inner:
    depth: int = setting(3, "How deep.")
    rates: tuple[float, ...] = setting((0.1, 0.2), "Rates.")


@dataclasses.dataclass(frozen=True)
class Shown:
    lines: int = setting(5, "How many lines.")


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str = setting("x", "A name.")
    kind: str = setting("a", "A kind.", ("a", "b"))
    share: float = setting(0.5, "A share.")
    deep: bool = setting(False, "Whether deep.")
    names: tuple[str, ...] = setting((), "Names.")
    inner: Inner = setting(Inner(), "Inner settings.")
    shown: Shown = group(Shown())


@pytest.fixture
def own_flags(monkeypatch):
    """An empty set of flags in place of the process's."""
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    define = {
        name: getattr(flags, name)
        for name in (
            "DEFINE_enum", "DEFINE_bool", "DEFINE_integer", "DEFINE_float", "DEFINE_string",
            "DEFINE_list", "DEFINE",
        )
    }  # fmt: skip
    for name, function in define.items():
        monkeypatch.setattr(flags, name, lambda *a, f=function, **k: f(*a, flag_values=values, **k))
    config_flags.define(Outer())
    return values


def test_nothing_given_gives_the_defaults(own_flags):
    own_flags(["app"])
    assert config_flags.read(Outer()) == Outer()
    assert config_flags.given(Outer()) == set()


def test_given_flags_are_read_with_their_types(own_flags):
    own_flags(
        ["app", "--name=y", "--kind=b", "--share=1e-3", "--deep", "--names=p,q",
         "--inner_depth=7", "--inner_rates=30,80", "--lines=2"]
    )  # fmt: skip
    assert config_flags.read(Outer()) == Outer(
        "y", "b", 1e-3, True, ("p", "q"), Inner(7, (30.0, 80.0)), Shown(2)
    )
    assert "inner_rates" in config_flags.given(Outer())


def test_an_empty_list_may_be_given(own_flags):
    own_flags(["app", "--inner_rates="])
    assert config_flags.read(Outer()).inner.rates == ()


@pytest.mark.parametrize("flag", ["--kind=c", "--inner_depth=x", "--inner_rates=1,b", "--share=z"])
def test_wrong_values_are_refused(own_flags, flag):
    with pytest.raises(flags.Error):
        own_flags(["app", flag])


def test_help_names_the_default_and_the_text(own_flags):
    text = own_flags.get_help()
    for part in (
        "How deep. (default: 3)",
        "How many lines. (default: 5)",
        "(default: 0.1,0.2)",
        "(default: none)",
        "<a|b>",
    ):
        assert part in " ".join(text.split())


def test_every_setting_of_dnal_has_a_flag():
    script = (
        "from apps.run_settings import define_flags; from absl import flags;"
        "define_flags(); print(*flags.FLAGS)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert set(flatten(DnalConfig())) <= set(done.stdout.split())


def test_train_config_and_dnal_config_have_help_for_every_field():
    for kind in (TrainConfig, DnalConfig):
        for field in dataclasses.fields(kind):
            assert field.metadata["help"], field.name


def test_settings_that_make_no_sense_raise_usage_errors():
    with pytest.raises(UsageError, match="kind='c'"):
        from keras_nas.settings import check_choices

        check_choices(Outer(kind="c"))
