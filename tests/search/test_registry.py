"""Methods by name: one entry gives the flags their settings and the run its method."""

from __future__ import annotations

import dataclasses

import pytest

from keras_nas.errors import UsageError
from keras_nas.runs.config import RunConfig
from keras_nas.search import registry
from keras_nas.search.dnal import Dnal
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.settings import setting


class Mine:
    """Stands for a method."""

    def __init__(self, config):
        self.config = config


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))

    @registry.register("mine", method=f"{__name__}.Mine")
    @dataclasses.dataclass(frozen=True)
    class MineConfig:
        my_epochs: int = setting(10, "How long.")

    return MineConfig


def test_a_registered_method_is_made_by_name(mine):
    made = registry.make_method("mine", mine(my_epochs=3))
    assert (type(made).__name__, made.config.my_epochs) == ("Mine", 3)
    assert registry.default_config("mine") == mine()
    assert RunConfig(method="mine").method == "mine"


def test_the_methods_of_the_papers_are_there():
    assert registry.names() == ("dnal", "dso", "fgnas")
    made = registry.make_method("dnal", DnalConfig(lambda_a=1.0))
    assert isinstance(made, Dnal)
    assert made.config.lambda_a == 1.0


def test_a_name_is_registered_once(mine):
    with pytest.raises(ValueError, match="'mine', taken already"):
        registry.register("mine", method="x.Y")(mine)


def test_an_unknown_name_is_said_with_those_there_are():
    for wrong in (registry.default_config, lambda name: RunConfig(method=name)):
        with pytest.raises(UsageError, match=r"`method` must be one of \('dnal', 'dso', 'fgnas'\)"):
            wrong("gdas")
