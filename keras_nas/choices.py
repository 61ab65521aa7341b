"""The names that settings choose from and that several parts know; this file imports nothing."""

from __future__ import annotations

FETCH_TASKS = ("fashion_mnist", "cifar10", "imagenet2012", "super_resolution", "segmentation")
"""What `keras_nas.data.fetch` can make the data of ready."""

RESOURCES = ("params", "macs", "flops", "latency_ms")
"""What a search can count, and relax for a gradient."""

BUDGETS = (*RESOURCES, "bytes", "ram")
"""What a budget may be of: besides, bytes of the .tflite and bytes of its activations' arena."""

FILE_FORMATS = ("float32", "float16", "dynamic_int8", "int8")
"""The formats whose files' bytes can be predicted."""

ARENA_DTYPES = ("float32", "int8")
"""The dtypes of activations whose arena can be predicted."""

FORMS_OF = {"bytes": FILE_FORMATS, "ram": ARENA_DTYPES}
"""The forms of a network that a budget may be of, by the budget; the first by default."""

LATENCY_DTYPES = ("float32", "int8")
"""The dtypes of a latency table's conditions."""

LATENCY_STATISTICS = ("median", "min")
"""Which of a point's times a latency table takes."""
