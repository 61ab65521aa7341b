"""Trained files of others all the way: load, gates, random masks, surgery, .tflite.

    python -m benchmarks.models_of_others --models=resnet8.h5,autoencoder.h5 --low=0 --high=255

loads each file, closes a share of the channels at random, compares the network that surgery builds
with the gated one, converts it to float32 and int8, and compares each file with the network. Inputs
are random numbers between --low and --high. It prints a line for each step and ends with exit code
1 if one is refused or differs by more than it may.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from absl import flags

import keras_nas as kn
from apps.main import run as run_app
from export.export_model import ExportData, export_model
from keras_nas.errors import KerasNasError, UsageError

SAMPLES = 64
TOLERANCE = 1e-4
FORMATS = ("float32", "int8")
LINE = "  {:10}{}"


def half_closed(model: keras.Model, off: float, seed: int) -> keras.Model:
    """The model with gates of which a share `off` is closed at random, in one piece."""
    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate)
    random = np.random.default_rng(seed)
    for gate in kn.gates.find(supernet):
        gate.set_mask(random.random(gate.channels) >= off)
    kn.surgery.rescue(supernet)
    return supernet


def whole_way(
    path: Path, low: float, high: float, off: float, seed: int
) -> Iterator[tuple[str, str]]:
    """Takes one file all the way; yields (step, what came of it).

    Raises:
        KerasNasError: If a step is refused, or its outputs differ by more than they may.
    """
    model = kn.load_model(path)
    before = kn.costs.count(model)
    yield "loaded", f"{model.name}, {before.macs:,} macs, {before.params:,} params"
    shape = (SAMPLES, *model.input_shape[1:])
    inputs = np.random.default_rng(seed).uniform(low, high, shape).astype("float32")
    supernet = half_closed(model, off, seed)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    after = kn.costs.count(small)
    expected, found = (np.asarray(net(inputs, training=False)) for net in (supernet, small))
    error, spread = np.abs(expected - found).max(), np.ptp(expected, axis=0).max()
    yield (
        "surgery",
        f"{after.macs:,} macs ({after.macs / before.macs:.2f}x), {after.params:,} params; worst "
        f"difference {error / spread:.1e} of the outputs' range {spread:.3g}",
    )
    if not error <= TOLERANCE * spread:
        raise KerasNasError(f"Surgery of '{path}' changed its outputs.")
    with tempfile.TemporaryDirectory() as folder:
        for format_ in FORMATS:
            file = Path(folder) / f"{format_}.tflite"
            data = ExportData(train=inputs, held_out=inputs)
            exported, parity = export_model(small, file, format_, data)
            yield (
                format_,
                f"{exported.size_bytes:,} bytes; worst difference {parity.worst_relative:.1e} of "
                f"the range {parity.output_range:.3g}, noise {parity.noise:.1e}",
            )


def define_flags() -> None:
    """Defines the command's flags; not on import, since other commands have such names too."""
    flags.DEFINE_list("models", [], "Model files: .keras or .h5.")
    flags.DEFINE_float("off", 0.5, "The share of channels to close.", 0.0, 1.0)
    flags.DEFINE_float("low", 0.0, "The least value of an input.")
    flags.DEFINE_float("high", 1.0, "The largest value of an input.")
    flags.DEFINE_integer("seed", 0, "Of the masks and the inputs.")


def main() -> None:
    given = flags.FLAGS
    if not given.models:
        raise UsageError("`models` must name one file or more (--models=a.h5,b.keras).")
    logging.getLogger("keras_nas").addHandler(logging.StreamHandler(sys.stdout))
    failed = 0
    for path in map(Path, given.models):
        print(path.name)
        try:
            for step, said in whole_way(path, given.low, given.high, given.off, given.seed):
                print(LINE.format(step, said), flush=True)
        except KerasNasError as error:
            print(LINE.format("FAILED", error))
            failed += 1
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    define_flags()
    run_app(main)
