"""What the hosts of a run have to agree on."""

from __future__ import annotations

import tensorflow as tf


def numbers_of_hosts(number: int) -> list[int]:
    """The numbers that the hosts of the present strategy gave, in their order.

    With several hosts (`tf.distribute.MultiWorkerMirroredStrategy`) it is a collective: it returns
    when every host has called it.

    Args:
        number: This host's number.

    Returns:
        One number a replica; `[number]` without several hosts.
    """
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return [number]

    def gather():
        own = tf.constant([number], tf.int64)
        return tf.distribute.get_replica_context().all_gather(own, axis=0)

    found = strategy.run(tf.function(gather))
    return strategy.experimental_local_results(found)[0].numpy().tolist()
