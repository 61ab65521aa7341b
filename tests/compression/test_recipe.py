"""What a compression may be asked, the rules that decide it, and how its time is reckoned."""

from __future__ import annotations

import pytest

from keras_nas.compression.config import EPOCHS, CompressConfig
from keras_nas.compression.pace import MOST_EPOCHS, Pace
from keras_nas.compression.recipe import make_recipe, split_epochs
from keras_nas.errors import UsageError
from keras_nas.training.schedules import learning_rate

HALF = CompressConfig(target_macs="0.5x")
PACE = Pace(tracing=10.0, step=0.3, steps=100, held_out_steps=20)


def test_the_budget_is_what_is_given():
    assert HALF.targets == {"macs": "0.5x"}
    with pytest.raises(UsageError, match=r"target_macs.*such as target_macs=0.5x"):
        CompressConfig().check_budget()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_macs": "1.5x"}, "target_macs"),
        ({"method": "dso"}, "'auto', 'dnal', 'fgnas'"),
        ({"epochs": 1}, "2 or more"),
        ({"distill_weight": 2}, "from 0 to 1"),
        ({"round_to": -1}, "round_to"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        CompressConfig(**settings)


@pytest.mark.parametrize(("epochs", "split"), [(2, (1, 1)), (5, (2, 3)), (10, (4, 6))])
def test_both_stages_have_epochs(epochs, split):
    assert split_epochs(epochs) == split


def test_a_normalized_network_is_trained_by_sgd_and_another_by_adam():
    normalized, plain = make_recipe(HALF, True), make_recipe(HALF, False)
    assert (normalized.settings.finetune.optimizer, plain.settings.finetune.optimizer) == (
        "sgd", "adam",
    )  # fmt: skip
    assert normalized.settings.finetune.learning_rate == 0.05
    assert "has BatchNormalization" in normalized.reasons[1]
    assert "no BatchNormalization" in plain.reasons[1]


def test_what_is_asked_for_goes_before_the_rules():
    asked = CompressConfig(
        target_params="0.3x", method="fgnas", optimizer="adam", learning_rate=3e-4, epochs=5,
        round_to=8, distill_weight=0.0, weight_decay=0.0,
    )  # fmt: skip
    recipe = make_recipe(asked, True)
    assert recipe.method == "fgnas"
    settings = recipe.settings
    assert (settings.target_params, settings.round_to) == ("0.3x", 8)
    assert (settings.search.optimizer, settings.search.learning_rate) == ("adam", 3e-4)
    assert not settings.finetune_distill.on
    assert settings.weights.epochs == 0


@pytest.mark.parametrize(
    ("asked", "multiple", "said"),
    [
        ({"target_macs": "0.5x"}, 4, "multiples of 4"),
        ({"target_ram": "int8:0.5x"}, 1, "as they come"),
        ({"target_ram": "int8:0.5x", "target_macs": "0.5x"}, 4, "multiples of 4"),
        ({"target_ram": "int8:0.5x", "round_to": 8}, 8, "multiples of 8"),
    ],
)
def test_widths_are_multiples_but_for_ram_alone(asked, multiple, said):
    recipe = make_recipe(CompressConfig(**asked), True)
    assert recipe.settings.round_to == multiple
    assert f"Widths are {said}." in recipe.reasons[1]


def test_whole_branches_go_before_dnal_only():
    recipe = make_recipe(CompressConfig(target_macs="0.5x", branches=2), True)
    assert recipe.settings.branches == 2
    assert recipe.reasons[0].endswith(" The 2 whole branches least missed go before.")
    one = make_recipe(CompressConfig(target_macs="0.5x", branches=1), True)
    assert one.reasons[0].endswith(" The whole branch least missed goes before.")
    with pytest.raises(UsageError, match=r"0 for fgnas, .* \(as asked\)\. Received: branches=1"):
        make_recipe(CompressConfig(target_macs="0.5x", branches=1, method="fgnas"), True)
    with pytest.raises(UsageError, match="the network's size is open"):
        make_recipe(CompressConfig(target_macs="0.5x", branches=1), True, shape=(8, 8, 3))


@pytest.mark.parametrize("method", ["dnal", "fgnas"])
def test_the_two_stages_are_on_one_cosine(method):
    recipe = make_recipe(CompressConfig(target_macs="0.5x", method=method), True)
    assert recipe.search_epochs + recipe.finetune_epochs == EPOCHS
    settings = recipe.settings
    last = settings.continued(4) if method == "dnal" else settings.finetune
    first = settings.continued(0) if method == "dnal" else settings.search
    assert (first.schedule_epochs, first.schedule_start) == (EPOCHS, 0)
    assert (last.schedule_epochs, last.schedule_start) == (EPOCHS, 4)
    rate = learning_rate(last.schedule, last.learning_rate, EPOCHS, 10)
    assert float(rate(0)) == pytest.approx(0.05)


def test_a_network_of_open_size_is_counted_at_a_shape():
    recipe = make_recipe(HALF, False, shape=(360, 640, 3))
    assert recipe.method == "fgnas"
    assert recipe.settings.resource_shape == (360, 640, 3)
    assert "360×640×3" in recipe.reasons[0]
    with pytest.raises(UsageError, match="fgnas or auto"):
        make_recipe(CompressConfig(target_macs="0.5x", method="dnal"), True, shape=(8, 8, 3))


def test_the_time_of_the_stages_by_hand():
    look = 20 * 0.1  # a third of a step for each held-out batch
    assert PACE.search_seconds(2) == pytest.approx(20 + 2 * (1.15 * 30 + look))
    assert PACE.finetune_seconds(3, 0.5, False) == pytest.approx(
        10 + 3 * (30 * (0.35 + 0.65 * 0.5) + look)
    )
    assert PACE.judging_seconds(0, 0) == 0
    assert PACE.judging_seconds(2, 6) == pytest.approx(10 + 10 * (6 + 5) * 0.1)
    taught = PACE.finetune_seconds(3, 0.5, True) - PACE.finetune_seconds(3, 0.5, False)
    assert taught == pytest.approx(5 + 3 * 10)


def test_a_limit_of_time_decides_the_epochs():
    enough = PACE.seconds(7, 0.5, True)
    assert PACE.epochs_within(enough + 10.1, 10, 0.5, True) == 7
    assert PACE.epochs_within(enough + 10.1, 11, 0.5, True) == 6
    assert PACE.epochs_within(1e6, 0, 0.5, True) == MOST_EPOCHS


def test_a_limit_that_is_too_short_says_what_takes_how_long():
    """Two epochs: 20 + 34.5 + 2 of search, 15 + 30.25 + 2 of finetuning, 1.73 minutes."""
    assert PACE.seconds(2, 0.5, True) == pytest.approx(103.75)
    with pytest.raises(
        UsageError,
        match=r"`minutes` must be 3\.4 or more: 1\.8 for two epochs of 100 steps, 0\.3 s each, "
        r"and 1\.7 for evaluations.*Received: 1; .*train_examples",
    ):
        PACE.epochs_within(60, 100, 0.5, True)
