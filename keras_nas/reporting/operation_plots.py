"""Bars of the operations and of the kernel sizes that each mixed layer keeps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def operations_per_layer(kept: Mapping[str, Sequence[str]]) -> Figure:
    """Stacked bars of the kept operations by kind (FGNAS' Fig. 6b).

    Args:
        kept: The operations that stay, by layer; an operation may stand several times, once a
            channel that it makes.
    """
    return _stacked({name: Counter(operations) for name, operations in kept.items()}, "operations")


def kernels_per_layer(kept: Mapping[str, Sequence[str]]) -> Figure | None:
    """Stacked bars of the kept operations by kernel size (FGNAS' Fig. 6c and 7).

    Returns:
        The figure; None if no operation's name tells a size, as `conv3` and `sep_5x5` do.
    """
    counts = {
        name: Counter(size for operation in operations if (size := kernel_size(operation)))
        for name, operations in kept.items()
    }
    return _stacked(counts, "operations by kernel size") if any(counts.values()) else None


def kernel_size(operation: str) -> str | None:
    """`"3×3"` for `conv3`, `sep3`, `conv_3x3_relu`; None where the name has no size.

    >>> kernel_size("conv_5x5_prelu"), kernel_size("sep3"), kernel_size("identity")
    ('5×5', '3×3', None)
    """
    match = re.search(r"(\d+)x(\d+)", operation) or re.search(r"[a-z](\d+)()", operation)
    return f"{match[1]}×{match[2] or match[1]}" if match else None


def _stacked(counts: Mapping[str, Counter], ylabel: str) -> Figure:
    names = list(counts)
    kinds = sorted({kind for counter in counts.values() for kind in counter}, key=_natural)
    figure = Figure(figsize=(max(6.0, 0.32 * len(names) + 2.5), 4.8), layout="constrained")
    axes = figure.add_subplot()
    places, base = np.arange(len(names)), np.zeros(len(names))
    colors = matplotlib.colormaps["tab20"]
    for index, kind in enumerate(kinds):
        heights = np.array([counts[name][kind] for name in names], float)
        axes.bar(places, heights, bottom=base, color=colors(index % 20), label=kind)
        base += heights
    axes.set_xticks(places, names, rotation=90, fontsize=8)
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure


def _natural(text: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]
