from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_nas import costs, gates
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.search import DnalConfig
from keras_nas.search.steering import even_masks, steering
from tests.training.nets import small_net


def steered(**targets):
    config = DnalConfig(**targets)
    supernet = gates.insert(small_net(), ScaledSigmoidGate)
    return steering(supernet, config, "flops")


def test_without_a_target_the_other_resource_counts():
    resource, target, _ = steered()
    assert (resource.what, target) == ("flops", None)


def test_a_single_target_is_steered_by_itself():
    resource, target, budget = steered(target_params="0.5x")
    assert budget is None
    assert (resource.what, target) == ("params", 0.5 * costs.count(small_net()).params)


@pytest.mark.parametrize(("macs", "params", "what"), [(0.9, 0.3, "params"), (0.3, 0.9, "macs")])
def test_of_several_the_one_that_asks_for_most_is_steered(macs, params, what):
    resource, target, budget = steered(target_macs=f"{macs}x", target_params=f"{params}x")
    assert resource.what == what
    assert target == budget.targets[what]


@pytest.mark.parametrize(("what", "by"), [("bytes", "params"), ("ram", "macs")])
def test_a_file_is_steered_by_what_an_even_cut_has(what, by):
    resource, target, budget = steered(**{f"target_{what}": "int8:0.8x"})
    assert resource.what == by
    assert 0.1 * resource.full() < target < 0.9 * resource.full()
    supernet = gates.insert(small_net(), ScaledSigmoidGate)
    shares = [n / 200 for n in range(201)]
    fits = [s for s in shares if budget.price(even_masks(supernet, DnalConfig(), s)) <= 1]
    masks = even_masks(supernet, DnalConfig(), max(fits))
    kept = {gate.name: tf.constant(masks[gate.name]) for gate in resource.gates}
    assert target == pytest.approx(float(resource.exact(kept)))
    assert all(np.flatnonzero(mask).size for mask in masks.values())
