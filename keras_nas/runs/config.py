"""The settings of a run, and of a run that was begun before."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from keras_nas.data import registry as data_registry
from keras_nas.data.picture_settings import PictureSettings
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import (
    check_input_file,
    check_model_file,
    check_output_folder,
    is_model_file,
)
from keras_nas.json_files import OBJECT, read_json
from keras_nas.search.registry import default_config, names
from keras_nas.settings import (
    LATER_STAGES,
    NOTHING,
    check_choices,
    check_range,
    deciding,
    flatten,
    group,
    setting,
    unflatten,
)
from keras_nas.training.session import SessionSettings
from keras_nas.training.train_config import TrainConfig

STRATEGIES = ("none", "mirrored", "multi_worker")
POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")
BASELINE = "baseline"
STAGES = ("weights", BASELINE, "architecture", "surgery", "finetune")
SHARED = ("weights", BASELINE)
"""Stages that are the same for all values of a setting that only later ones read."""
TRAINING_STAGES = tuple(stage for stage in STAGES if stage != "surgery")
TFLITE_STAGES = ("export", "benchmark")
"""Stages of the apps, after `run`'s own: export/ stands above this package."""
_SAVED = {
    **OBJECT,
    "required": ["run", "settings"],
    "properties": {"run": OBJECT, "settings": OBJECT},
}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What a run works on, where, and how; the method's own settings stand beside it."""

    run_dir: str = setting(
        "", "Folder of the run: everything is read from and written to it.", decides=NOTHING
    )
    method: str = setting("dnal", "Search method.", names)
    stages: tuple[str, ...] = setting(
        STAGES + TFLITE_STAGES,
        "Stages to run; each reads what the ones before it wrote.",
        decides=NOTHING,
    )
    model: str = setting(
        "resnet56_cifar", "A backbone's name, or the path of a .keras or .h5 file."
    )
    teacher: str = setting(
        "",
        "A .keras or .h5 file that stage finetune learns from, with --finetune_distill_weight; by "
        "default the run's original.keras.",
        decides=LATER_STAGES,
    )
    model_config: str = setting("{}", "JSON object of arguments for the backbone's builder.")
    data: str = setting("cifar10", "Data set.", data_registry.names)
    data_dir: str = setting(
        "", "Where the data is; by default the data set's own place.", decides=NOTHING
    )
    batch_size: int = setting(128, "Global batch size.")
    weights_batch_size: int = setting(0, "That of stage weights; 0 for batch_size.")
    baseline_batch_size: int = setting(0, "That of stage baseline; 0 for batch_size.")
    architecture_batch_size: int = setting(
        0, "That of stage architecture; 0 for batch_size.", decides=LATER_STAGES
    )
    finetune_batch_size: int = setting(
        0, "That of stage finetune; 0 for batch_size.", decides=LATER_STAGES
    )
    train_examples: int = setting(0, "Training images to use, classes in equal shares; 0 for all.")
    image_size: int = setting(0, "Side of the images in pixels; 0 for the data set's own.")
    pictures: PictureSettings = group(PictureSettings())
    validation_share: float = setting(0.1, "Share of the training set that is held back.")
    augment: bool = setting(True, "Augment the training images.")
    cutout: int = setting(0, "Side of the square that cutout removes.")
    cutout_stages: tuple[str, ...] = setting(
        ("finetune",), f"Stages with cutout, of {', '.join(TRAINING_STAGES)}."
    )
    label_smoothing: float = setting(0.0, "ε of the label smoothing.")
    scale: int = setting(2, "Super-resolution: high over low resolution.")
    patch_size: int = setting(96, "Super-resolution: side of a patch at high resolution.")
    steps_per_epoch: int = setting(1000, "Super-resolution: batches of patches an epoch.")
    value_range: int = setting(1, "Super-resolution: the value of white.", (1, 255))
    cache_dir: str = setting(
        "", "Super-resolution: folder for decoded images; none: memory.", decides=NOTHING
    )
    seed: int = setting(0, "Seed of the weights, the data's order and the augmentation.")
    deterministic: bool = setting(True, "Use deterministic ops: same seed, same result.")
    mixed_precision: str = setting("float32", "Dtype policy.", POLICIES)
    distribute: str = setting("none", "tf.distribute strategy.", STRATEGIES, decides=NOTHING)
    replicas: int = setting(
        0, "Logical CPUs of --distribute=mirrored where there is no GPU.", decides=NOTHING
    )
    session: SessionSettings = group(SessionSettings(tensorboard=True))
    baseline: TrainConfig = setting(
        TrainConfig(epochs=0),
        "Stage baseline: the original network without gates, trained by itself, to compare with; "
        "off for 0 epochs.",
    )

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("batch_size",), 1)
        check_range(self, ("train_examples", "image_size", "cutout"), 0)
        check_range(self, ("validation_share", "label_smoothing", "seed", "replicas"), 0)
        check_range(self, tuple(f"{stage}_batch_size" for stage in TRAINING_STAGES), 0)
        check_range(self, ("patch_size", "steps_per_epoch"), 1)
        check_range(self, ("scale",), 2)
        for name in ("validation_share", "label_smoothing"):
            if getattr(self, name) >= 1:
                raise UsageError(
                    f"`{name}` must be below 1. Received: {name}={getattr(self, name)}"
                )
        if not self.stages:
            raise UsageError(
                f"`stages` must be one or more of {STAGES + TFLITE_STAGES}. Received: none"
            )
        for name, allowed in (
            ("stages", STAGES + TFLITE_STAGES),
            ("cutout_stages", TRAINING_STAGES),
        ):
            for stage in getattr(self, name):
                if stage not in allowed:
                    raise UsageError(f"`{name}` must be of {allowed}. Received: {stage!r}")

    def runs(self, stage: str) -> bool:
        """Whether a stage is asked for; the baseline is not where it has no epochs."""
        return stage in self.stages and (stage != BASELINE or self.baseline.epochs > 0)

    def batch_size_of(self, stage: str) -> int:
        """The global batch size of a stage; `batch_size` where it has none of its own."""
        return getattr(self, f"{stage}_batch_size", 0) or self.batch_size

    def cutout_of(self, stage: str) -> int:
        """The side of cutout's square in a stage; 0 for none."""
        return self.cutout if stage in self.cutout_stages else 0


def check_paths(config: RunConfig, settings: Any) -> None:
    """Looks at the folders and files that a run is given; needs no TensorFlow.

    Raises:
        UsageError: If no `run_dir` is given.
        KerasNasError: If the run's folder cannot be written to, or the model's file, the latency
            table or the data's folder is not there.
    """
    if not config.run_dir:
        raise UsageError("`run_dir` must name a folder (--run_dir). Received: run_dir=''")
    check_output_folder(config.run_dir, "run_dir")
    data_registry.check_place(config.data, config.data_dir)
    if "weights" in config.stages and is_model_file(config.model):
        check_model_file(config.model)
    if config.teacher and "finetune" in config.stages:
        check_model_file(config.teacher, "teacher")
        distill = getattr(settings, "finetune_distill", None)  # a user's method may have none
        if distill is None or not distill.on:
            raise UsageError(
                "`teacher` is learned from with `finetune_distill_weight` or "
                "`finetune_distill_features` only. Received: neither"
            )
    table = getattr(settings, "latency_table", "")
    if table and {"weights", "architecture"} & set(config.stages):
        check_input_file(table, "latency_table")
    prices = getattr(settings, "align_prices", "")
    if prices and {"architecture", "surgery"} & set(config.stages):
        check_input_file(prices, "align_prices")


def deciding_settings(config: RunConfig, settings: Any) -> dict[str, Any]:
    """The settings that decide what comes out of a run, by flat name."""
    free = free_settings(config, settings)
    everything = {**flatten(config), **flatten(settings)}
    return {name: value for name, value in everything.items() if name not in free}


def free_settings(config: RunConfig, settings: Any) -> frozenset[str]:
    """The settings that may differ when a run is resumed: they do not decide what comes out."""
    return deciding(config, NOTHING) | deciding(settings, NOTHING)


def later_settings(config: RunConfig, settings: Any) -> frozenset[str]:
    """The settings that play no part before the architecture stage, nor in the baseline."""
    later = deciding(config, LATER_STAGES) | deciding(settings, LATER_STAGES)
    return later if set(config.cutout_stages) & set(SHARED) else later | {"cutout"}


def load_config(run_dir: str, **changes: Any) -> tuple[RunConfig, Any]:
    """The settings that a run was started with, with changes by flat name.

    Args:
        run_dir: The run's folder.
        **changes: New values of the run's or the method's settings.

    Returns:
        The `RunConfig` and the method's configuration.

    Raises:
        KerasNasError: If the folder holds no run, or its config.json is damaged.
    """
    saved = read_config(run_dir)
    this_time = {"run_dir": run_dir, "resume": False, "overwrite": False}
    flat = {**saved["run"], **saved["settings"], **this_time, **changes}
    config = unflatten(RunConfig, flat)
    settings = unflatten(type(default_config(config.method)), flat)
    return config, settings


def read_config(run_dir: str | Path) -> dict[str, Any]:
    """The content of a run's config.json.

    Raises:
        KerasNasError: It is missing or damaged.
    """
    path = Path(run_dir, "config.json")
    if not path.exists():
        raise KerasNasError(
            f"{run_dir} holds no run: config.json is missing. apps.search writes it when it starts."
        )
    return read_json(path, _SAVED, "config.json of a run")
