"""Scoring a super-resolution model's file, of either kind, on a folder of images."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np

from apps.super_resolution_config import SuperResolutionEvaluationConfig
from apps.task_files import TaskFiles
from export.export_model import ExportData
from export.interpreter import Runner
from keras_nas.data.image_pairs import find_pair_files, read_pairs
from keras_nas.data.super_resolution_sets import SuperResolutionData
from keras_nas.errors import UsageError
from keras_nas.files import atomic_write_text
from keras_nas.loading import load_model
from keras_nas.reporting.plots import save
from keras_nas.reporting.triptych import triptych
from keras_nas.tasks.receptive_field import receptive_radius
from keras_nas.tasks.super_resolution import ImageScore, evaluate_pairs, mean_score
from keras_nas.tasks.super_resolution_evaluation import Enlarger, score_output

IMAGES = 3
WINDOW = 128
"""Height and width of a .tflite's input where the network leaves them open; less where a held-out
image is smaller."""
_WHOLE = 1 << 20


class SuperResolutionFiles(TaskFiles):
    """Of images at low and high resolution, window by window."""

    def input_shape(self, model):
        smallest = min(min(pair.low.shape[:2]) for pair in self.data.test_pairs)
        sizes = (size or min(WINDOW, smallest) for size in model.input_shape[1:3])
        return (1, *sizes, model.input_shape[3])

    def held_out(self, shape):
        """A window of each image."""
        size = shape[1:3]
        windows = [pair.low[: size[0], : size[1]][np.newaxis] for pair in self.data.test_pairs]
        fitting = [window for window in windows if window.shape[1:3] == size]
        unit = np.float32(self.data.value_range / 255)
        return ExportData(held_out=[window.astype(np.float32) * unit for window in fitting])

    def quality(self, path, model):
        return score_tflite(path, model, self.data)

    def draw(self, files, model, folder):
        draw_triptychs(files["small"], model, self.data, folder)


def score_file(config: SuperResolutionEvaluationConfig) -> list[ImageScore]:
    """Scores a model's file, image by image, and writes what the configuration asks for.

    Returns:
        One score an image, sorted by name.

    Raises:
        UsageError: If `folder` is not given, `model` names no model's file, or a .tflite of a fixed
            size is given without `overlap`.
        KerasNasError: If a file or image is missing or damaged, or does not fit the scale.
    """
    config.check_paths()
    enlarge = _enlarger(config)
    scores = []
    files = find_pair_files(config.folder, config.scale)
    for pair in read_pairs(files, config.scale, config.shrink):
        output = enlarge(pair.low)
        scores.append(score_output(pair, output))
        if config.triptychs:
            drawn = triptych(pair, output, label=Path(config.model).name)
            save(drawn, Path(config.triptychs, f"{pair.name}.png"))
    if config.output:
        content = json.dumps([dataclasses.asdict(score) for score in scores], indent=2)
        atomic_write_text(config.output, content + "\n")
    return scores


def score_tflite(path: Path, model: keras.Model, images: SuperResolutionData) -> dict[str, float]:
    """Mean `psnr_y` (dB) and `ssim_y` of a .tflite on the held-out images, tile by tile.

    Args:
        path: The file, of a fixed input size.
        model: The Keras model it was made from, which tells how far it looks.
        images: The data.
    """
    enlarge = _window_enlarger(path, model, images.value_range)
    mean = mean_score(evaluate_pairs(enlarge, images.test_pairs))
    return {"psnr_y": mean.psnr, "ssim_y": mean.ssim}


def _window_enlarger(path: Path, model: keras.Model, value_range: float) -> Enlarger:
    runner = Runner(path, threads=2)
    height, width = runner.input_shapes[0][1:3]
    return Enlarger(
        lambda batch: runner([batch])[0],
        value_range,
        overlap=receptive_radius(model),
        window=(height, width),
    )


def draw_triptychs(
    path: Path, model: keras.Model, images: SuperResolutionData, folder: Path
) -> list[Path]:
    """Draws bicubic / .tflite / truth for some held-out images, evenly chosen.

    Args:
        path: The file, of a fixed input size.
        model: The Keras model it was made from, which tells how far it looks.
        images: The data.
        folder: Where `triptych_<image>.png` are written.

    Returns:
        The paths of the PNGs.
    """
    enlarge = _window_enlarger(path, model, images.value_range)
    pairs = images.test_pairs
    chosen = np.linspace(0, len(pairs) - 1, min(IMAGES, len(pairs))).round().astype(int)
    return [
        save(
            triptych(pair, enlarge(pair.low), label=path.name),
            folder / f"triptych_{pair.name}.png",
        )
        for pair in (pairs[index] for index in chosen)
    ]


def _enlarger(config: SuperResolutionEvaluationConfig) -> Enlarger:
    path = Path(config.model)
    overlap = None if config.overlap < 0 else config.overlap
    if path.suffix != ".tflite":
        model = load_model(path)
        return Enlarger(model, config.value_range, config.tile, overlap)
    return _tflite_enlarger(Runner(path, threads=2), config, overlap)


def _tflite_enlarger(
    runner: Runner, config: SuperResolutionEvaluationConfig, overlap: int | None
) -> Enlarger:
    def run(batch):
        return runner([batch])[0]

    if not runner.dynamic:
        height, width = runner.input_shapes[0][1:3]
        if overlap is None:
            raise UsageError(
                f"`overlap` must be given (--overlap) for {config.model}, which takes windows of "
                f"{height}×{width} pixels: how far the model looks, in pixels."
            )
        return Enlarger(run, config.value_range, overlap=overlap, window=(height, width))
    if overlap is None:
        return Enlarger(run, config.value_range, tile=_WHOLE, overlap=0)
    return Enlarger(run, config.value_range, config.tile, overlap)
