"""Bars of the operations and of the kernel sizes that each mixed layer keeps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keras_nas.gates.mixed import ORIGINAL


def operations_per_layer(kept: Mapping[str, Sequence[str]]) -> Figure:
    """Stacked bars of the kept operations by kind (FGNAS' Fig. 6b).

    Args:
        kept: The operations that stay, by layer; an operation may stand several times, once a
            channel that it makes.
    """
    return _stacked({name: Counter(operations) for name, operations in kept.items()}, "operations")


def kernels_per_layer(
    kept: Mapping[str, Sequence[str]], kernel_sizes: Mapping[str, Sequence[int]] | None = None
) -> Figure | None:
    """Stacked bars of the kept operations by kernel size (FGNAS' Fig. 6c and 7).

    Args:
        kept: As in `operations_per_layer`.
        kernel_sizes: By layer, the kernel size of its operations called original, as in
            `Architecture`; where it is missing they stand as "original".

    Returns:
        The figure; None if no operation's name tells a size, as `conv3` and `sep_5x5` do, and none
        is an original.
    """
    known = kernel_sizes or {}
    counts = {name: _sizes(kept[name], known.get(name)) for name in kept}
    return _stacked(counts, "operations by kernel size") if any(counts.values()) else None


def _sizes(operations: Sequence[str], original: Sequence[int] | None) -> Counter:
    own = "×".join(str(side) for side in original) if original else ORIGINAL
    sizes = (
        own if operation.partition("_")[0] == ORIGINAL else kernel_size(operation)
        for operation in operations
    )
    return Counter(size for size in sizes if size)


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
