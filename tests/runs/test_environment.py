from __future__ import annotations

import pytest
import tensorflow as tf

from keras_nas.errors import UsageError
from keras_nas.runs.environment import make_strategy


def test_mirrored_strategies_of_a_process_are_one(mirrored):
    """The collectives of a second one would take the keys of the first."""
    assert make_strategy("mirrored", 2) is mirrored
    for value in (1.0, 2.0):
        strategy = make_strategy("mirrored", 2)

        @tf.function
        def total(strategy=strategy, value=value):
            return strategy.run(
                lambda: tf.distribute.get_replica_context().all_reduce(
                    "SUM", tf.fill([int(value), 3], value)
                )
            )

        for part in strategy.experimental_local_results(total()):
            assert part.numpy().tolist() == [[2 * value] * 3] * int(value)


def test_more_replicas_than_this_process_has_cpus_are_refused(mirrored):
    assert mirrored.num_replicas_in_sync == 2
    with pytest.raises(UsageError, match=r"at most 2.*replicas=3"):
        make_strategy("mirrored", 3)


def test_unknown_strategies_are_refused():
    with pytest.raises(UsageError, match="distribute='tpu'"):
        make_strategy("tpu")
