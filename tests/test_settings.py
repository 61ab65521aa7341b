from __future__ import annotations

import dataclasses

import pytest

from keras_nas.errors import UsageError
from keras_nas.search import DnalConfig, TrainConfig
from keras_nas.settings import LATER_STAGES, NOTHING, deciding, flatten, setting, unflatten


def test_flatten_and_unflatten_are_inverse():
    config = DnalConfig(
        lambda_a=3e-4,
        exclude=("stem*",),
        finetune=TrainConfig(epochs=7, schedule="piecewise", boundaries=(3.0, 5.0)),
    )
    flat = flatten(config)
    assert flat["finetune_boundaries"] == [3.0, 5.0]
    assert flat["lambda_a"] == 3e-4
    assert unflatten(DnalConfig, flat) == config


def test_unflatten_keeps_what_is_not_given():
    config = unflatten(DnalConfig, {"weights_epochs": 3})
    assert config == dataclasses.replace(
        DnalConfig(), weights=dataclasses.replace(DnalConfig().weights, epochs=3)
    )


def test_the_defaults_are_the_papers():
    config = DnalConfig()
    assert (config.weights.epochs, config.architecture.epochs, config.finetune.epochs) == (
        100, 20, 130,
    )  # fmt: skip
    assert config.delta_max == 1e4
    assert config.weights.learning_rate == config.architecture.learning_rate == 0.1
    assert config.finetune.boundaries == (30, 80)
    assert config.weights.momentum == 0.9
    assert config.weights.weight_decay == 1e-4
    assert config.architecture.weight_decay == 0
    assert config.order == "conv_bn_gate_relu"


@pytest.mark.parametrize(
    "build",
    [
        lambda: TrainConfig(schedule="exponential"),
        lambda: TrainConfig(learning_rate=-1.0),
        lambda: TrainConfig(schedule="piecewise"),
        lambda: DnalConfig(strategy="both"),
        lambda: DnalConfig(lambda_a=-1e-4),
        lambda: DnalConfig(delta_max=0.1),
        lambda: DnalConfig(round_to=0),
    ],
)
def test_values_out_of_range_are_refused(build):
    with pytest.raises(UsageError, match="Received"):
        build()


def test_what_a_setting_decides_stands_at_the_setting():
    @dataclasses.dataclass(frozen=True)
    class Mine:
        width: int = setting(1, "How wide.")
        folder: str = setting("", "Where.", decides=NOTHING)
        finetune: TrainConfig = setting(TrainConfig(), "Last.", decides=LATER_STAGES)

    assert deciding(Mine(), NOTHING) == {"folder"}
    later = deciding(Mine(), LATER_STAGES)
    assert {"finetune_epochs", "finetune_boundaries"} <= later
    assert later.isdisjoint({"width", "folder", "finetune"})
