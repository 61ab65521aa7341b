"""How a model is exported, and the names that its settings choose from; needs no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Any

from export.differences import Tolerance
from keras_nas.settings import check_choices, check_range, setting

FORMATS = ("float32", "float16", "dynamic_int8", "int8", "int16x8", "qat")
IO_DTYPES = {
    "float32": ("float32",),
    "float16": ("float32",),
    "dynamic_int8": ("float32",),
    "int8": ("float32", "int8", "uint8"),
    "int16x8": ("float32", "int16"),
    "qat": ("float32", "int8", "uint8"),
}
NEED_DATA = ("int8", "int16x8", "qat")
"""The formats that need data for their ranges."""
ACCELERATORS = ("none", "gpu", "xnnpack")
"""What a model can be rewritten for."""
METADATA_TASKS = ("classification", "segmentation", "image_to_image")
METRIC_NAMES = ("top1", "psnr", "mean_iou")


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """How to export. The meaning of most fields stands in their help text.

    Attributes:
        io_dtype, input_shape, sizes: See `export.tflite.convert`.
        parity_samples: None compares on all.
        tolerance: Overrides the format's tolerance.
        qat_loss: The loss of quantisation-aware training; None chooses one by the targets.
    """

    representative_samples: int = setting(200, "Samples that set the ranges of int8 and int16x8.")
    io_dtype: str = setting(
        "float32",
        "Type of the inputs and outputs of int8, int16x8 and qat files.",
        ("float32", "int8", "uint8", "int16"),
    )
    input_shape: tuple[int | None, ...] | None = None
    sizes: tuple[tuple[int, int], ...] | None = None
    accelerator: str = setting(
        "none",
        "Write what this accelerator does not take in operations that it has; for xnnpack (the "
        "processor's) that is in int8 files alone, with their softmax in float32.",
        ACCELERATORS,
    )
    float_fallback: bool = setting(False, "Keep operations without integer kernel in float32.")
    parity_samples: int | None = setting(1000, "Held-out samples to compare on.")
    tolerance: Tolerance | None = None
    qat_loss: Any = None
    qat_epochs: int = setting(1, "Epochs of quantisation-aware training.")
    qat_steps: int | None = setting(0, "Steps in an epoch of it; 0 for all.")
    qat_learning_rate: float = setting(1e-4, "Its learning rate (Adam).")

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("representative_samples", "qat_epochs"), 1)
        for name, least in (("parity_samples", 1), ("qat_steps", 0)):
            if getattr(self, name) is not None:
                check_range(self, (name,), least)
