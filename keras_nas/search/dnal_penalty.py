"""The penalty of DNAL's gates, as its settings name it."""

from __future__ import annotations

import keras

from keras_nas.regularizers import GateSum, PricedSum
from keras_nas.search.counted_resource import make_resource
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.steering import STAND_INS


def make_penalty(supernet: keras.Model, config: DnalConfig) -> GateSum | PricedSum:
    """λ_a times the plain sum of all gates, or their sum with prices.

    Bytes of a file are priced as params, most of what they are in every format.

    Args:
        supernet: A gated model.
        config: The settings.

    Raises:
        KerasNasError: As in `make_resource` and `PricedSum`.
    """
    if config.penalty == "channels":
        return GateSum(config.lambda_a, config.penalty_scaled)
    resource = make_resource(supernet, STAND_INS.get(config.penalty, config.penalty), config)
    return PricedSum(resource, config.lambda_a, config.penalty_scaled)
