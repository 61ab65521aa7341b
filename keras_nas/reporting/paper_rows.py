"""Rows of the papers' tables, as reference points of the Pareto plot."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """A row that a paper prints.

    Attributes:
        network: The backbone's name in the zoo.
        method: The row's name.
        macs: Multiply-adds. DNAL prints them as "FLOPs"; FGNAS prints twice their number.
        top1: A share.
    """

    network: str
    method: str
    macs: float
    top1: float


def _rows(network: str, *rows: tuple[str, float, float]) -> list[PaperRow]:
    return [PaperRow(network, name, macs * 1e6, top1 / 100) for name, macs, top1 in rows]


CIFAR10 = [
    *_rows(  # DNAL, Table I
        "vgg16_cifar",
        ("DNAL: baseline", 313.47, 93.77),
        ("DNAL", 211.89, 93.82), ("DNAL", 195.14, 93.53), ("DNAL", 161.97, 93.75),
        ("DNAL", 61.23, 92.33), ("DNAL", 29.77, 89.93), ("DNAL", 22.04, 89.92),
        ("DNAL", 16.65, 89.27),
    ),
    *_rows(  # DNAL, Table II
        "resnet56_cifar",
        ("DNAL: baseline", 125.49, 94.15),
        ("DNAL", 93.94, 93.76), ("DNAL", 83.11, 93.75), ("DNAL", 36.94, 93.20),
        ("DNAL", 8.63, 89.31), ("DNAL", 3.44, 85.83), ("DNAL", 2.38, 84.07),
        ("DNAL", 1.68, 83.48),
    ),
    *_rows(  # DNAL, Table III
        "mobilenet_v2_cifar",
        ("DNAL: baseline", 91.17, 94.31),
        ("DNAL", 59.47, 94.17), ("DNAL", 54.98, 94.30), ("DNAL", 36.63, 94.01),
        ("DNAL", 13.35, 91.96), ("DNAL", 7.81, 90.65), ("DNAL", 5.40, 88.83),
        ("DNAL", 4.50, 87.85),
    ),
    *_rows(  # FGNAS, Table 6, half of its FLOPs
        "vgg16_cifar", ("FGNAS: baseline", 627 / 2, 93.7), ("FGNAS (P)", 149 / 2, 93.6),
    ),
    *_rows(
        "vgg19_cifar", ("FGNAS: baseline", 797 / 2, 94.0), ("FGNAS (P)", 348 / 2, 94.3),
    ),
    *_rows(
        "resnet20_cifar", ("FGNAS: baseline", 81 / 2, 92.2), ("FGNAS (P)", 34 / 2, 91.7),
    ),
    *_rows(
        "densenet40_cifar", ("FGNAS: baseline", 566 / 2, 94.3), ("FGNAS (P)", 149 / 2, 93.6),
    ),
]  # fmt: skip
"""CIFAR-10: DNAL's Tables I to III and FGNAS' Table 6."""


def paper_rows(data: str, networks: set[str]) -> list[PaperRow]:
    """The rows to compare runs with: those on the same data, and of the same networks.

    Args:
        data: The data set of the runs.
        networks: Their backbones. Where no paper has one of them, the rows of all stand.
    """
    rows = CIFAR10 if data == "cifar10" else []
    same = [row for row in rows if row.network in networks]
    return same or rows
