"""Prunes a Keras 2 network by Sony's Model Compression Toolkit, in an environment of its own.

    python mct_script.py NETWORK.h5 PICTURES.npy MACS FOUND.h5

Needs `pip install tensorflow==2.15.1 model-compression-toolkit==2.4.2`, and nothing of this
project. The toolkit takes a limit of the weights' memory. It is bisected until the network has
about MACS; FOUND is the nearest, where no limit leads so far down the smallest. Groups of channels
are single channels: with those of its default platform, 32 to 128, small networks could lose none.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

HALVINGS = 10
NEAR = 0.02
BYTES = 4
APPROXIMATIONS = 2
"""How often the toolkit estimates a channel's sensitivity: a minute a limit on an old core."""


def main() -> None:
    import tensorflow as tf

    mct = importlib.import_module("model_compression_toolkit")  # not one of this project's

    network, pictures, macs, found = sys.argv[1:]
    model = tf.keras.models.load_model(network, compile=False)
    batch = np.load(pictures)
    capabilities = single_channels(mct.get_target_platform_capabilities("tensorflow", "default"))

    def pruned(share: float) -> Any:
        return mct.pruning.keras_pruning_experimental(
            model,
            mct.core.ResourceUtilization(weights_memory=share * BYTES * params(model)),
            lambda: batches(batch),
            mct.pruning.PruningConfig(num_score_approximations=APPROXIMATIONS),
            capabilities,
        )[0]

    bisect(pruned, float(macs)).save(found)


def batches(pictures: np.ndarray) -> Iterator[list[np.ndarray]]:
    yield [pictures]


def single_channels(capabilities: Any) -> Any:
    """The platform's description with groups of one channel."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: 1 if k == "simd_size" else changed(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(changed(each) for each in value)
        return value

    return type(capabilities).model_validate(changed(capabilities.model_dump()))


def params(model: Any) -> int:
    return sum(layer.count_params() for layer in model.layers)


def bisect(pruned: Any, macs: float) -> Any:
    """The network nearest to so many macs, by a bisection of its share of the memory."""
    low, high = 0.0, 1.0
    found: list[tuple[float, Any]] = []
    for _ in range(HALVINGS):
        share = (low + high) / 2
        try:
            model = pruned(share)
        except Exception as error:
            if "Insufficient memory" not in str(error):
                raise
            print(f"{share:.3f} of the memory: {error}", file=sys.stderr)
            low = share
            continue
        count = macs_of(model)
        print(f"{share:.3f} of the memory: {count} macs", file=sys.stderr)
        found.append((abs(count / macs - 1), model))
        if found[-1][0] <= NEAR:
            break
        low, high = (low, share) if count > macs else (share, high)
    if not found:
        raise SystemExit("The toolkit prunes none of the channels.")
    return min(found, key=lambda each: each[0])[1]


def macs_of(model: Any) -> int:
    """Multiply-adds of convolutions and Dense layers for one input."""
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "depthwise_kernel", getattr(layer, "kernel", None))
        if kernel is None:
            continue
        positions = np.prod(layer.output_shape[1:-1], dtype=int)
        total += int(positions) * int(np.prod(kernel.shape))
    return total


if __name__ == "__main__":
    main()
