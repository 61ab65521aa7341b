"""DSO's networks under the names of the zoo."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from keras_nas.models.dso_space import CIFAR_STEM, IMAGENET_STEM, DsoSpace, Genotype
from keras_nas.models.registry import register, register_variant


def _dso(
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    stage_widths: Sequence[int] = (48, 96, 192),
    stage_blocks: Sequence[int] = (8, 8, 8),
    levels: int = 4,
    operations: Sequence[str] = ("sep3", "sep5", "avg3", "max3"),
    scope: str = "full",
    scaled_reductions: bool = False,
    stem: str = CIFAR_STEM,
    last_stage_dilation: int = 1,
    *,
    called: str,
) -> keras.Model:
    """DSO's full network.

    The arguments are those of `DsoSpace`.
    """
    return DsoSpace(
        input_shape=tuple(input_shape),
        num_classes=num_classes,
        stage_widths=tuple(stage_widths),
        stage_blocks=tuple(stage_blocks),
        levels=levels,
        operations=tuple(operations),
        scope=scope,
        scaled_reductions=scaled_reductions,
        stem=stem,
        last_stage_dilation=last_stage_dilation,
    ).supernet(called)


dso_cifar = register_variant(
    "dso_cifar",
    _dso,
    "DSO's full network for CIFAR-10, with an edge to be learned on each connection.",
    called="dso_cifar",
)
dso_imagenet = register_variant(
    "dso_imagenet",
    _dso,
    "DSO's full network for ImageNet, with an edge to be learned on each connection.",
    called="dso_imagenet",
    input_shape=(224, 224, 3),
    num_classes=1000,
    stage_widths=(28, 56, 112, 224),
    stage_blocks=(2, 2, 13, 6),
    scope="share",
    stem=IMAGENET_STEM,
)


@register
def dso_network(
    space: dict | None = None,
    genotype: Genotype | None = None,
    stage_widths: Sequence[int] | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> keras.Model:
    """A network found by DSO, to be trained from scratch.

    Args:
        space: The arguments of `DsoSpace`; the paper's for CIFAR-10 by default.
        genotype, stage_widths, dropout, drop_path: As in `DsoSpace.network`.
    """
    return DsoSpace(**(space or {})).network(genotype, stage_widths, dropout, drop_path)


def space_config(space: DsoSpace) -> dict:
    """A space as the JSON-able `space` argument of `dso_network`."""
    config = dataclasses.asdict(space)
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in config.items()
    }
