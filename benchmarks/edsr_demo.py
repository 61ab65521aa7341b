"""A small EDSR on real photographs against bicubic enlargement.

    python -m benchmarks.edsr_demo --run_dir=runs/edsr

trains EDSR ×2 with 32 channels and 4 blocks on the photographs of Debian's wallpaper packages,
prints PSNR and SSIM of each held-out photograph beside bicubic's, and writes edsr.keras,
edsr.tflite (48×48 windows), scores.json and a triptych of the photograph whose gain is in the
middle. It takes about 5 minutes on two cores, and ends with exit code 1 if the mean gain over the
held-out photographs is below --least_gain. With --data=folder it learns from pictures of your own.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from apps import config_flags
from apps.main import run as run_app
from export.interpreter import Runner
from export.tflite import convert
from keras_nas import costs, models
from keras_nas.data.super_resolution import PatchConfig
from keras_nas.data.super_resolution_sets import NAMES, SuperResolutionData, load
from keras_nas.errors import KerasNasError
from keras_nas.files import atomic_path, atomic_write_text
from keras_nas.reporting.plots import save
from keras_nas.reporting.score_table import score_table
from keras_nas.reporting.triptych import triptych
from keras_nas.search.environment import set_seed
from keras_nas.search.session import Session
from keras_nas.search.settings import check_choices, check_range, setting
from keras_nas.search.training import TrainConfig, train
from keras_nas.tasks.receptive_field import receptive_radius
from keras_nas.tasks.super_resolution import (
    PictureScore,
    SuperResolution,
    evaluate_pairs,
    mean_score,
)
from keras_nas.tasks.super_resolution_evaluation import Enlarger


@dataclasses.dataclass(frozen=True)
class EdsrDemoConfig:
    """The demo's settings. The papers' training: 64 channels, 16 blocks, 96×96, Adam 1e-4."""

    run_dir: str = setting("runs/edsr", "Folder to write to.")
    data: str = setting("photographs", "Pictures to learn from.", NAMES)
    data_dir: str = setting("", "Where they are; the folder itself for --data=folder.")
    filters: int = setting(32, "Channels.")
    blocks: int = setting(4, "Residual blocks.")
    patch_size: int = setting(48, "Side of the training patches at high resolution, in pixels.")
    batch_size: int = setting(16, "Patches a step.")
    steps_per_epoch: int = setting(600, "Steps an epoch.")
    epochs: int = setting(10, "Epochs.")
    learning_rate: float = setting(1e-3, "First learning rate of Adam; it falls by a cosine.")
    tflite_size: int = setting(48, "Side of the .tflite's input, in pixels.")
    least_gain: float = setting(1.0, "Mean PSNR above bicubic that must be reached, in dB.")
    seed: int = setting(0, "Seed of the weights and the patches.")
    progress: str = setting("auto", "How progress is shown.", ("auto", "bar", "lines", "off"))

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("filters", "blocks", "steps_per_epoch", "epochs", "tflite_size"), 1)


def run(config: EdsrDemoConfig, console: Console | None = None) -> list[PictureScore]:
    """Trains, measures and converts; prints what came out.

    Args:
        config: The settings.
        console: Where to print; standard output by default.

    Returns:
        One score a held-out picture.

    Raises:
        KerasNasError: If the pictures cannot be had.
    """
    console = console or Console(highlight=False)
    folder = Path(config.run_dir)
    set_seed(config.seed, deterministic=True)
    pictures = load(
        config.data,
        data_dir=config.data_dir or None,
        patches=PatchConfig(
            config.patch_size, config.batch_size, config.steps_per_epoch, seed=config.seed
        ),
    )
    console.print(pictures.describe())
    model = train_edsr(config, pictures)
    with atomic_path(folder / "edsr.keras") as path:
        model.save(path)
    scores = evaluate_pairs(model, pictures.test_pairs)
    console.print(score_table(scores))
    tflite_scores = _convert_and_score(model, config, pictures)
    console.print(f"mean gain of the .tflite: {mean_score(tflite_scores).gain:+.2f} dB")
    by_gain = sorted(zip(scores, pictures.test_pairs, strict=True), key=lambda s: s[0].gain)
    _, pair = by_gain[len(by_gain) // 2]
    drawn = triptych(pair, Enlarger(model)(pair.low), label="EDSR")
    console.print(save(drawn, folder / "triptych.png"))
    _write_scores(folder / "scores.json", model, scores, tflite_scores)
    return scores


def train_edsr(config: EdsrDemoConfig, pictures: SuperResolutionData) -> keras.Model:
    """A trained EDSR of the demo's size."""
    model = models.edsr(scale=pictures.scale, filters=config.filters, blocks=config.blocks)
    settings = TrainConfig(
        epochs=config.epochs,
        optimizer="adam",
        learning_rate=config.learning_rate,
        schedule="cosine",
        final_learning_rate=config.learning_rate / 50,
        weight_decay=0.0,
    )
    train(
        model,
        pictures.train,
        pictures.validation,
        settings,
        task=SuperResolution.of(model),
        session=Session(progress=config.progress),
    )
    return model


def _convert_and_score(
    model: keras.Model, config: EdsrDemoConfig, pictures: SuperResolutionData
) -> list[PictureScore]:
    size = config.tflite_size
    path = Path(config.run_dir, "edsr.tflite")
    convert(model, path, input_shape=(1, size, size, 3))
    runner = Runner(path, threads=2)
    enlarge = Enlarger(
        lambda batch: runner([batch])[0], overlap=receptive_radius(model), window=(size, size)
    )
    return evaluate_pairs(enlarge, pictures.test_pairs)


def _write_scores(
    path: Path,
    model: keras.Model,
    scores: Sequence[PictureScore],
    tflite_scores: Sequence[PictureScore],
) -> None:
    counted = costs.count(model, input_shapes=(360, 640, 3))
    content: dict[str, Any] = {
        "params": counted.params,
        "flops_1280x720": counted.flops,
        "keras": [dataclasses.asdict(score) for score in scores],
        "tflite": [dataclasses.asdict(score) for score in tflite_scores],
    }
    atomic_write_text(path, json.dumps(content, indent=2) + "\n")


def main() -> None:
    config = config_flags.read(EdsrDemoConfig())
    gain = mean_score(run(config)).gain
    if gain < config.least_gain:
        raise KerasNasError(
            f"The mean gain must be {config.least_gain} dB or more above bicubic. "
            f"Received: {gain:.2f} dB"
        )


if __name__ == "__main__":
    config_flags.define(EdsrDemoConfig())
    run_app(main)
