"""Exported models on ARM kernels: their outputs beside this machine's.

    python -m benchmarks.arm_parity
    python -m benchmarks.arm_parity --models=small.tflite,small_int8.tflite --inputs=images.npy

runs each .tflite under qemu-aarch64 with the aarch64 wheel of ai-edge-litert, and here, on the same
inputs, and compares. Without --models two small networks are trained on scikit-learn's handwritten
digits and exported in four formats (trained, because the outputs of random weights hardly depend on
the input and would agree whatever the kernels do). It ends with exit code 1 if one differs by more
than its format allows. About two minutes the first time, when the ARM environment is made in
--cache; the times say nothing about a phone and are not shown.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from absl import flags

import keras_nas as kn
from apps.main import run as run_app
from benchmarks.arm_environment import DEFAULT_CACHE, ArmEnvironment, prepare
from export.tflite import convert
from keras_nas.errors import KerasNasError, UsageError

FORMATS = ("float32", "float16", "dynamic_int8", "int8")
FLOAT_TOLERANCE = 1e-4
STEPS = 2
LEAST_AGREEMENT = 0.98
LINE = "{:30}{:>14}{:>14}{:>12}{:>8}"
_PROGRAM = Path(__file__).with_name("litert_outputs.py")


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far the outputs of one file are apart, on ARM and here.

    Attributes:
        model: The file's name.
        worst, mean: Of the absolute differences; for integer outputs in steps of their scale.
        agreement: The share of samples whose largest output is the same one.
        quantized: Whether the outputs are integers.
        spread: Standard deviation of the outputs over the samples, in the same unit: what a
            difference is to be compared with.
    """

    model: str
    worst: float
    mean: float
    agreement: float
    quantized: bool
    spread: float

    @property
    def good(self) -> bool:
        """Whether the difference is what other rounding explains."""
        limit = FLOAT_TOLERANCE if not self.quantized else STEPS
        return self.worst <= limit and self.agreement >= LEAST_AGREEMENT and self.spread > limit


def compare(
    models: Sequence[Path], inputs: np.ndarray, environment: ArmEnvironment
) -> Iterator[Difference]:
    """Yields each file's difference between the aarch64 runtime and this machine's.

    Args:
        models: .tflite files of one input and one output.
        inputs: Real numbers, one sample a row, of the files' input shape without the batch.
        environment: The aarch64 Python.

    Raises:
        KerasNasError: A file cannot be run on one of the two.
    """
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "inputs.npy"
        np.save(samples, inputs)
        for model in models:
            arm, here = Path(folder) / "arm.npy", Path(folder) / "here.npy"
            arguments = [str(_PROGRAM), str(model.absolute()), str(samples)]
            machine = environment.run([*arguments, str(arm)]).strip().splitlines()[-1]
            if machine != "aarch64":
                raise KerasNasError(f"The ARM environment ran on {machine}.")
            _run_here([*arguments, str(here)])
            yield _difference(model, np.load(arm), np.load(here))


def trained_files(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Trains two small networks on handwritten digits and exports them in each format.

    Returns:
        The files, and held-out images.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16.0).astype("float32").repeat(2, axis=1).repeat(2, axis=2)[..., None]
    train, held_out = images[:1400], images[1400:]
    files = []
    for model in (_vgg(), _mobile()):
        loss = "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
        model.fit(train, digits.target[:1400], epochs=8, batch_size=64, verbose=0)
        accuracy = model.evaluate(held_out, digits.target[1400:], verbose=0)[1]
        print(f"{model.name}: {100 * accuracy:.1f} % of {len(held_out)} held-out digits are right")
        for name in FORMATS:
            files.append(folder / f"{model.name}_{name}.tflite")
            data = {"representative_data": train[:200]} if name == "int8" else {}
            io_dtype = "int8" if name == "int8" else "float32"
            convert(model, files[-1], name, io_dtype=io_dtype, **data)
    return files, held_out


def _vgg() -> keras.Model:
    widths = [[8, 8], [16, 16], [32, 32]]
    return kn.models.small_vgg((16, 16, 1), widths=widths, classifier_activation="softmax")


def _mobile() -> keras.Model:
    layers = keras.layers
    inputs = keras.Input((16, 16, 1), name="image")
    x = layers.ReLU(6.0)(_normalize()(layers.Conv2D(12, 3, 2, "same")(inputs)))
    for block, kernel in enumerate((3, 5)):
        y = layers.Conv2D(36, 1, use_bias=False)(x)
        y = layers.ReLU(6.0)(_normalize()(y))
        y = layers.DepthwiseConv2D(kernel, padding="same", use_bias=False)(y)
        y = layers.ReLU(6.0)(_normalize()(y))
        y = _normalize()(layers.Conv2D(12, 1, use_bias=False)(y))
        x = layers.Add(name=f"add_{block}")([x, y])
    x = layers.Concatenate()([layers.MaxPooling2D(2)(x), layers.AveragePooling2D(2)(x)])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(32, 3, activation="relu")(x))
    outputs = layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(inputs, outputs, name="mobile")


def _normalize() -> keras.layers.Layer:
    return keras.layers.BatchNormalization(momentum=0.9)  # the training is short


def _difference(model: Path, arm: np.ndarray, here: np.ndarray) -> Difference:
    if arm.shape != here.shape or arm.dtype != here.dtype:
        raise KerasNasError(
            f"{model}: {arm.shape} {arm.dtype} there, {here.shape} {here.dtype} here."
        )
    there, ours = arm.astype(np.float64), here.astype(np.float64)
    apart = np.abs(there - ours)
    flat = (len(there), -1)
    same = there.reshape(flat).argmax(1) == ours.reshape(flat).argmax(1)
    return Difference(
        model.name,
        worst=float(apart.max()),
        mean=float(apart.mean()),
        agreement=float(same.mean()),
        quantized=bool(np.issubdtype(here.dtype, np.integer)),
        spread=float(ours.std(axis=0).mean()),
    )


def _run_here(arguments: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode:
        raise KerasNasError(f"{arguments[1]} cannot be run here: {done.stderr.strip()[-300:]}")


def define_flags() -> None:
    """Defines the command's flags; not on import, since other commands have such names too."""
    flags.DEFINE_list("models", [], "The .tflite files; two trained networks by default.")
    flags.DEFINE_string("inputs", None, "A .npy of real inputs, one sample a row.")
    flags.DEFINE_string("cache", DEFAULT_CACHE, "Where the ARM environment is kept.")
    flags.DEFINE_integer("samples", 100, "How many inputs are run at most.", lower_bound=1)


def main() -> None:
    given = flags.FLAGS
    if bool(given.models) != bool(given.inputs):
        raise UsageError("`models` and `inputs` go together (--models, --inputs).")
    environment = prepare(given.cache)
    with tempfile.TemporaryDirectory() as folder:
        if given.models:
            models, inputs = [Path(path) for path in given.models], np.load(given.inputs)
        else:
            models, inputs = trained_files(Path(folder))
        print(LINE.format("file", "worst", "mean", "same top-1", ""))
        bad = []
        for found in compare(models, inputs[: given.samples], environment):
            unit = " steps" if found.quantized else ""
            print(
                LINE.format(
                    found.model, f"{found.worst:.2g}{unit}", f"{found.mean:.2g}{unit}",
                    f"{100 * found.agreement:.1f} %", "" if found.good else "BAD",
                )
            )  # fmt: skip
            bad += [] if found.good else [found.model]
    if bad:
        raise KerasNasError(f"ARM computes something else than this machine for {', '.join(bad)}.")


if __name__ == "__main__":
    define_flags()
    run_app(main)
