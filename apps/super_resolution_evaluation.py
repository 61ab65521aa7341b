"""Scoring a super-resolution model's file, of either kind, on a folder of images."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from apps.evaluation_config import SuperResolutionEvaluationConfig
from export.interpreter import Runner
from keras_nas.data.image_pairs import find_pair_files, read_pairs
from keras_nas.errors import UsageError
from keras_nas.files import atomic_write_text
from keras_nas.loading import load_model
from keras_nas.reporting.held_out_images import triptych
from keras_nas.reporting.plots import save
from keras_nas.tasks.super_resolution import ImageScore, mean_score
from keras_nas.tasks.super_resolution_evaluation import Enlarger, score_output

_WHOLE = 1 << 20


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


def score_table(scores: Sequence[ImageScore]) -> Table:
    """A row an image and their mean: PSNR (dB) and SSIM of bicubic and the model, and the gain.

    Raises:
        KerasNasError: There are no scores.
    """
    table = Table(header_style="bold")
    table.add_column("image")
    for column in ("bicubic dB / SSIM", "model dB / SSIM", "gain dB"):
        table.add_column(column, justify="right", no_wrap=True)
    for score in (*scores, mean_score(scores)):
        table.add_row(
            score.name,
            f"{score.bicubic_psnr:.2f} / {score.bicubic_ssim:.4f}",
            f"{score.psnr:.2f} / {score.ssim:.4f}",
            f"{score.gain:+.2f}",
        )
    return table


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
