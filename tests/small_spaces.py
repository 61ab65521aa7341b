"""Search spaces small enough for tests."""

from __future__ import annotations

import keras

from keras_nas.layers import ScaledEdge

PROXYLESS = {
    "input_shape": (16, 16, 3),
    "num_classes": 4,
    "stem_width": 4,
    "first_width": 4,
    "stage_widths": (4, 6),
    "stage_blocks": (2, 1),
    "stage_strides": (1, 2),
    "head_width": 16,
}


def open_operations(supernet: keras.Model) -> dict[str, list[str]]:
    """The operations whose edge is open, by block, of a proxyless model built with `edges`."""
    found: dict[str, list[str]] = {}
    for layer in supernet.layers:
        if isinstance(layer, ScaledEdge):
            opened = [layer.place.source] if layer.mask()[0] else []
            found.setdefault(layer.place.block, []).extend(opened)
    return found
