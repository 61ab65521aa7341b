"""The names that the settings of an export or a measurement choose from; imports nothing."""

from __future__ import annotations

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
METADATA_TASKS = ("classification", "segmentation", "image_to_image")
METRIC_NAMES = ("top1", "psnr", "mean_iou")
STATISTICS = ("median", "min")
"""Which of a point's times a latency table takes."""
