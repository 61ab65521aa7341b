from __future__ import annotations

import dataclasses

import pytest

from keras_nas.errors import UsageError
from keras_nas.search import DnalConfig, TrainConfig
from keras_nas.settings import (
    EVERYTHING,
    LATER_STAGES,
    NOTHING,
    check_range,
    deciding,
    flatten,
    group,
    setting,
    unflatten,
)
from keras_nas.targets import is_given, parse_target


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


@dataclasses.dataclass(frozen=True)
class Shown:
    lines: int = setting(5, "How many.", decides=NOTHING)
    exact: bool = setting(False, "Whether exact.")

    def __post_init__(self):
        check_range(self, ("lines",), 0)


@dataclasses.dataclass(frozen=True)
class Owner:
    width: int = setting(1, "How wide.")
    shown: Shown = group(Shown(lines=7))
    use_paint: bool = setting(True, "Whether painted.", decides=NOTHING, name="paint")
    for_programs: tuple = ()


def test_the_settings_of_a_group_stand_among_their_owners():
    config = Owner(2, Shown(3, True))
    assert flatten(config) == {"width": 2, "lines": 3, "exact": True, "paint": True}
    assert unflatten(Owner, flatten(config)) == config
    assert unflatten(Owner, {"exact": True}) == Owner(1, Shown(7, True))
    assert deciding(config, NOTHING) == {"lines", "paint"}
    assert deciding(config, EVERYTHING) == {"width", "exact"}
    with pytest.raises(UsageError, match=r"^`lines` must be 0 or more\. Received: lines=-1$"):
        unflatten(Owner, {"lines": -1})


def test_a_setting_may_have_another_flat_name_and_a_field_may_be_none():
    base = Owner(for_programs=(1,))
    assert unflatten(Owner, {"paint": False}, base=base) == dataclasses.replace(
        base, use_paint=False
    )
    assert unflatten(Owner, {"use_paint": False, "for_programs": [2]}, base=base) == base


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


def test_targets_are_numbers_or_shares():
    assert parse_target("target_flops", "0.5x").of(400.0) == 200.0
    assert parse_target("target_flops", 3e6).of(400.0) == 3e6
    assert parse_target("target_flops", "3e6").of(400.0) == 3e6
    for wrong in ("half", "2x", "0x", -1.0, 0, "nan", "inf"):
        with pytest.raises(UsageError, match="`target_flops` must be a number above 0, or a share"):
            parse_target("target_flops", wrong)


def test_targets_have_units_and_forms():
    assert [parse_target("t", text).of(1.0) for text in ("200k", "1.5M", "2G")] == [2e5, 1.5e6, 2e9]
    forms = ("float32", "int8")
    plain, small = parse_target("t", "1M", forms=forms), parse_target("t", "int8:0.5x", forms=forms)
    assert (plain.form, plain.of(9.0)) == ("float32", 1e6)
    assert (small.form, small.of(9.0)) == ("int8", 4.5)
    for wrong in ("0.5xk", "k", "5xk", "1 kB", "int8:"):
        with pytest.raises(UsageError, match="`t` must be a number above 0"):
            parse_target("t", wrong, forms=forms)
    with pytest.raises(UsageError, match=r"must be of one of .* as in float32:200k"):
        parse_target("t", "int4:200k", forms=forms)
    with pytest.raises(UsageError, match="`target_macs` must be a number or a share"):
        parse_target("target_macs", "int8:200k")


def test_a_network_that_may_grow_takes_larger_shares():
    assert parse_target("target_macs", "2x", largest_share=4.0).of(400.0) == 800.0
    with pytest.raises(UsageError, match="Received: target_macs='5x'"):
        parse_target("target_macs", "5x", largest_share=4.0)


def test_zero_and_nothing_are_no_target():
    assert not any(is_given(value) for value in (0, 0.0, "", "0", None))
    assert is_given("0.5x")
    assert is_given(3e6)
