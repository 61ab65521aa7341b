"""The network that DSO found in one of its spaces, of any width, to be trained from scratch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_nas.errors import KerasNasError
from keras_nas.models.deeplab import deeplab_dso, segmentation_space
from keras_nas.models.dso_edges import block_names
from keras_nas.models.dso_space import DsoSpace
from keras_nas.models.proxyless import (
    OPERATIONS,
    STAGE_BLOCKS,
    VARIANTS,
    edge_name,
    proxyless,
)

SPACES = ("dso_cifar", "dso_imagenet", "deeplab_dso", "proxyless")


class FoundNetwork:
    """What a search found, as a family of networks of different widths.

    Example:

    ```python
    found = FoundNetwork(architecture.model, architecture.kept_edges)
    model = found.build([round(1.3 * width) for width in found.widths], dropout=0.6)
    ```

    Args:
        source: The supernet's `{"builder": name, "config": {…}}`, of one of `SPACES`.
        kept_edges: Each edge's scale by name; 0 for a closed one.

    Attributes:
        widths: The supernet's own widths: a number for each stage (ProxylessNAS: also for stem,
            first MBConv and head, in that order around them).

    Raises:
        KerasNasError: If the source is none of `SPACES`.
    """

    def __init__(self, source: Mapping[str, Any] | None, kept_edges: Mapping[str, float]):
        builder = self._builder = (source or {}).get("builder")
        if builder not in SPACES:
            raise KerasNasError(
                f"A network of another width, or with drop path, can be built in the spaces "
                f"{SPACES}. Received: {builder or source!r}"
            )
        self._opened = {name for name, scale in kept_edges.items() if scale > 0}
        self._config = dict(source["config"])  # type: ignore[index]
        self._space: DsoSpace | None = None
        if builder == "proxyless":
            self.widths = self._proxyless_widths()
        elif builder == "deeplab_dso":
            self._space = segmentation_space(self._config["input_shape"], self._config.get("space"))
            self.widths = list(self._space.stage_widths)
        else:
            make = DsoSpace if builder == "dso_cifar" else DsoSpace.imagenet
            self._space = make(**self._config)
            self.widths = list(self._space.stage_widths)

    @property
    def genotype(self) -> dict[str, list[list[str]]]:
        """The live edges of each block, `[source, target]`."""
        if self._space is not None:
            return self._space.genotype_of(self._opened)
        return {
            block: [[operation, "output"] for operation in operations]
            for block, operations in self._operations().items()
        }

    def build(
        self, widths: Sequence[int] | None = None, dropout: float = 0.0, drop_path: float = 0.0
    ) -> keras.Model:
        """The network with new weights and no scales.

        Args:
            widths: As many as `self.widths`, which are the default.
            dropout: Rate before the classifier.
            drop_path: As in `DsoSpace.network`; the ProxylessNAS space has none.
        """
        widths = list(self.widths if widths is None else widths)
        if self._builder == "deeplab_dso":
            found = {"genotype": self.genotype, "stage_widths": widths}
            return deeplab_dso(
                **{**self._config, **found, "dropout": dropout, "drop_path": drop_path}
            )
        if self._space is not None:
            return self._space.network(self.genotype, widths, dropout, drop_path)
        stem, first, *stages, head = widths
        return proxyless(
            **{
                **self._config,
                "edges": False,
                "block_operations": list(self._operations().values()),
                "stem_width": stem,
                "first_width": first,
                "stage_widths": stages,
                "head_width": head,
                "dropout": dropout,
            }
        )

    def random(self, seed: int) -> FoundNetwork:
        """A random network of the same space: as many live edges a block as here on average.

        In the ProxylessNAS space: as many operations in all, and one at least where a block has no
        residual.

        Args:
            seed: Of the draw.
        """
        other = copy.copy(self)
        if self._space is None:
            other._opened = self._random_operations(seed)
            return other
        blocks = [self.genotype[block] for block in self._space.block_names]
        edges = max(1, round(sum(len(block) for block in blocks) / len(blocks)))
        genotype = self._space.random_genotype(edges, seed)
        names = self._space.edge_names()
        other._opened = {
            names[block][source, target]
            for block, chosen in genotype.items()
            for source, target in chosen
        } | {
            name for block in self._space.reduction_names for name in names.get(block, {}).values()
        }
        return other

    def _random_operations(self, seed: int) -> set[str]:
        generator = np.random.default_rng(seed)
        first = [f"stage{stage + 1}_block1" for stage in range(len(self.widths) - 3)]
        every = [edge_name(block, name) for block in self._operations() for name in OPERATIONS]
        chosen = {edge_name(block, str(generator.choice(OPERATIONS))) for block in first}
        for index in generator.permutation(len(every)):
            if len(chosen) >= len(self._opened):
                break
            chosen.add(every[index])
        return chosen

    def _proxyless_widths(self) -> list[int]:
        config = self._config
        own = VARIANTS[config.get("variant", "mobile")]
        return [
            config.get("stem_width") or own.stem,
            config.get("first_width") or own.first,
            *(config.get("stage_widths") or own.stages),
            config.get("head_width") or own.head,
        ]

    def _operations(self) -> dict[str, list[str]]:
        blocks = block_names(self._config.get("stage_blocks", STAGE_BLOCKS))
        return {
            block: [name for name in OPERATIONS if edge_name(block, name) in self._opened]
            for block in blocks
        }
