"""The outside peer's script on a toolkit that is made up: how it looks for a network."""

from __future__ import annotations

import dataclasses
import sys
import types

import numpy as np
import pytest

from benchmarks.rivals import mct_script
from benchmarks.rivals.contest import Contest, Start
from benchmarks.rivals.mct import prune_by_mct
from keras_nas.errors import KerasNasError, UsageError


def network(channels):
    """A 3×3 convolution to so many channels on 4×4 positions, and a Dense of 10."""
    convolution = types.SimpleNamespace(
        kernel=np.zeros((3, 3, 2, channels)), output_shape=(None, 4, 4, channels)
    )
    depthwise = types.SimpleNamespace(
        depthwise_kernel=np.zeros((3, 3, channels, 1)), output_shape=(None, 4, 4, channels)
    )
    relu = types.SimpleNamespace(output_shape=(None, 4, 4, channels))
    dense = types.SimpleNamespace(kernel=np.zeros((channels, 10)), output_shape=(None, 10))
    return types.SimpleNamespace(layers=[convolution, depthwise, relu, dense])


def of_memory(share):
    """One that keeps a share of 64 channels, four at least."""
    channels = int(64 * share)
    if channels < 4:
        raise Exception("Insufficient memory for the target resource utilization: …")
    return network(channels)


def test_macs_are_those_of_convolutions_and_dense_layers():
    assert mct_script.macs_of(network(8)) == 16 * 18 * 8 + 16 * 9 * 8 + 80


def test_the_limit_is_looked_for_that_leaves_the_macs():
    wanted = mct_script.macs_of(network(20))
    assert mct_script.macs_of(mct_script.bisect(of_memory, wanted)) == wanted


def test_the_smallest_network_is_found_where_none_is_small_enough():
    found = mct_script.bisect(of_memory, 10.0)
    assert mct_script.macs_of(found) == mct_script.macs_of(network(4))


def test_other_errors_of_the_toolkit_are_not_taken_for_a_limit():
    def broken(share):
        raise AttributeError("no kernel")

    with pytest.raises(AttributeError, match="no kernel"):
        mct_script.bisect(broken, 10.0)


@pytest.fixture
def start(tmp_path):
    contest = Contest(
        tmp_path, train_examples=64, batch_size=64, image_size=8, weights_epochs=1, epochs=1
    )
    return Start(contest, "small_resnet", 0)


def test_the_peer_needs_an_environment_and_its_errors_are_told(start):
    with pytest.raises(UsageError, match="`mct_python` must be the Python"):
        prune_by_mct(start, "0.5x")
    start.contest = dataclasses.replace(start.contest, mct_python=sys.executable)
    with pytest.raises(KerasNasError, match=r"ended with 1.*model_compression_toolkit"):
        prune_by_mct(start, "0.5x")
