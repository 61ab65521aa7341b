"""The networks that the contest takes channels from: small enough for hours on two cores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras

import keras_nas as kn
from benchmarks.rivals.others import of_pixels

HALF_MOBILENET: dict[str, Any] = {
    "stem_width": 16,
    "block_widths": [8, 12, 12, 16, 16, 16, 32, 32, 32, 32, 48, 48, 48, 80, 80, 80, 160],
}
HALF_EXPANDED = [16, *(6 * width for width in HALF_MOBILENET["block_widths"][:-1])]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, what it learns from, and how everybody trains it.

    Attributes:
        build: Makes the full network, of the data and of the command's `model_file`.
        task: What it is for.
        data: Of `keras_nas.data.load`, where the command names none.
        options: Of the data, before those of the command.
        optimizer: In every training.
        learning_rate: The first of a cosine, in training from scratch.
        weights_learning_rate: Likewise for the full network, where others trained it before; None
            where it starts from scratch.
        finetune_learning_rate: Likewise for what follows pruning.
        weight_decay: In every training.
        without: Entrants that do not know its layers.
    """

    build: Callable[[Any, str | None], keras.Model]
    task: str = "classification"
    data: str = "fashion_mnist"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    optimizer: str = "sgd"
    learning_rate: float = 0.05
    weights_learning_rate: float | None = None
    finetune_learning_rate: float = 0.05
    weight_decay: float = 1e-4
    without: tuple[str, ...] = ()

    @property
    def recipe(self) -> dict[str, Any]:
        """What everybody's figures depend on, for JSON."""
        names = (
            "data", "optimizer", "learning_rate", "weights_learning_rate",
            "finetune_learning_rate", "weight_decay",
        )  # fmt: skip
        return {"options": dict(self.options), **{name: getattr(self, name) for name in names}}


def _of_zoo(name: str, **settings: Any) -> Callable[[Any, str | None], keras.Model]:
    """A network of the zoo for the data's pictures and classes."""

    def build(data: Any, model_file: str | None) -> keras.Model:
        return getattr(kn.models, name)(data.image_shape, data.num_classes, **settings)

    return build


def _edsr(data: Any, model_file: str | None) -> keras.Model:
    """EDSR as in the demo, of the patches' size: costs are shares, which no size changes."""
    shape = tuple(data.train.element_spec[0].shape[1:])
    return kn.models.edsr(data.scale, filters=24, blocks=8, input_shape=shape)


def _application(name: str) -> Callable[[Any, str | None], keras.Model]:
    """A network of `keras.applications` on the data's pictures, enlarged to 64 pixels.

    Its BatchNormalization has a momentum of 0.9: with theirs, 0.999 or 0.99, the moving statistics
    of a short training would still be those of the beginning.
    """

    def build(data: Any, model_file: str | None) -> keras.Model:
        inputs = keras.Input(data.image_shape, name="image")
        x = keras.layers.Resizing(64, 64, name="enlarge")(inputs)
        if data.image_shape[-1] == 1:
            x = keras.layers.Concatenate(name="gray_to_rgb")([x, x, x])
        if name.startswith("EfficientNet"):  # takes pixels from 0 to 255
            x = keras.layers.Rescaling(64.0, 128.0, name="to_pixels")(x)
        make = getattr(keras.applications, name)
        model = make(weights=None, input_tensor=x, classes=data.num_classes)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.9
        return model

    return build


SMALL = {"image_size": 16}
"""Of the pictures that a few hours are enough for."""

NETWORKS: dict[str, Network] = {
    "small_resnet": Network(_of_zoo("small_resnet"), options=SMALL),
    "resnet20": Network(_of_zoo("resnet20_cifar", shortcut="projection"), options=SMALL),
    "small_vgg": Network(
        _of_zoo("small_vgg"), options=SMALL, without=("dnal_short", "dnal_early_short")
    ),
    "mobilenet": Network(_of_zoo("mobilenet_v2", **HALF_MOBILENET, head_width=320, dropout=0.0)),
    **{
        f"{name.lower()}_64": Network(
            _application(name), optimizer="adam", learning_rate=1e-3, finetune_learning_rate=1e-3
        )
        for name in ("MobileNetV2", "ResNet50", "EfficientNetB0")
    },
    "mlperf_resnet8": Network(
        of_pixels, data="class_folders", optimizer="adam", learning_rate=1e-3,
        weights_learning_rate=3e-4, finetune_learning_rate=4e-3, weight_decay=2e-4,
    ),
    "edsr": Network(
        _edsr, "super_resolution", "photographs",
        {"batch_size": 16, "patch_size": 48, "validation_crop": 512},
        optimizer="adam", learning_rate=1e-3, finetune_learning_rate=1e-3, weight_decay=0.0,
        without=("slimming",),
    ),
    "camvid": Network(
        _of_zoo(
            "deeplab_mobilenet_v2", **HALF_MOBILENET, expanded_widths=HALF_EXPANDED, head_width=64,
            dropout=0.0,
        ),
        "segmentation", "segmentation_folders",
        {"batch_size": 8, "image_size": 240, "train_examples": None},
        without=("tfmot_sparsity",),
    ),
}  # fmt: skip
"""`small_resnet`, `small_vgg` and `edsr` are the demos'; ResNet-20 has projections at its strides;
MobileNetV2, also under `camvid`'s DeepLabv3, is half as wide; `…_64` are keras.applications', deep
and whole, and trained by Adam as most would do (12 epochs of SGD leave EfficientNetB0 at 60 %, and
from 0.05 SGD forgets what Adam has taught it); `mlperf_resnet8` others trained."""
