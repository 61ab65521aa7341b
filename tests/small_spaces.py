"""Search spaces small enough for tests."""

from __future__ import annotations

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
