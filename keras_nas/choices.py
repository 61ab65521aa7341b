"""The names that settings choose from and that several parts know; this file imports nothing."""

from __future__ import annotations

FETCH_TASKS = ("fashion_mnist", "cifar10", "imagenet2012", "super_resolution", "segmentation")
"""What `keras_nas.data.fetch` can make the data of ready."""

RESOURCES = ("params", "macs", "flops", "latency_ms")
"""What a budget may be of."""

LATENCY_DTYPES = ("float32", "int8")
"""The dtypes of a latency table's conditions."""

LATENCY_STATISTICS = ("median", "min")
"""Which of a point's times a latency table takes."""
