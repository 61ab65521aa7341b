"""DSO's normal search space: the full network with its edges, and the networks found in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

import keras
import numpy as np
from keras import layers

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.models.conv_block import apply_classifier
from keras_nas.models.dso_block import (
    Connections,
    FixedConnections,
    ScaledConnections,
    apply_dso_block,
    apply_reduction_block,
)
from keras_nas.models.dso_edges import OUTPUT, Edge, block_edges, block_names, edge_name, live_edges
from keras_nas.models.dso_operations import OPERATIONS, apply_scaled_conv

Genotype = Mapping[str, Sequence[Sequence[str]]]
"""The edges `[source, target]` of each block by its name; JSON-able."""

Head = Callable[[keras.KerasTensor], keras.KerasTensor]

CIFAR_STEM, IMAGENET_STEM = "cifar", "imagenet"
REDUCTION_EDGES: list[Edge] = [("conv1", OUTPUT), ("conv3", OUTPUT)]


@dataclasses.dataclass(frozen=True)
class DsoSpace:
    """S stages of B blocks, each a graph of M levels of N operations (section 3.1).

    The defaults are the paper's for CIFAR-10; `DsoSpace.imagenet()` gives those for ImageNet.

    Example:

    ```python
    space = keras_nas.models.DsoSpace(stage_widths=(16, 32, 64), stage_blocks=(1, 1, 1), levels=2)
    supernet = space.supernet()
    ...                                   # search
    network = space.network(space.genotype(supernet), stage_widths=(20, 40, 80))
    ```

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of outputs.
        stem: `"cifar"` (one 3×3 convolution) or `"imagenet"` (two, of stride 2).
        stage_widths: Channels of the blocks of each stage. Between two stages stands a reduction
            block that halves the size; the paper doubles the width there.
        stage_blocks: Number of blocks of each stage.
        levels: M, 1 or more.
        operations: The N operations of every level, among `dso_operations.OPERATIONS`.
        scope: `"full"`: each block has its own edges. `"share"`: all blocks share one set.
        scaled_reductions: Give both convolutions of a reduction block an edge too, as the authors'
            code does; the paper's reduction blocks are fixed.
        last_stage_dilation: 1, or 2 for networks of output stride 16: the last reduction then has
            stride 1, and the separable convolutions after it this dilation.

    Raises:
        KerasNasError: If an argument is out of its range.

    References:
        Zhang et al., You Only Search Once: Single Shot Neural Architecture Search via Direct Sparse
        Optimization, sections 3.1, 4.2 and 4.3.
    """

    input_shape: tuple[int, ...] = (32, 32, 3)
    num_classes: int = 10
    stem: str = CIFAR_STEM
    stage_widths: tuple[int, ...] = (48, 96, 192)
    stage_blocks: tuple[int, ...] = (8, 8, 8)
    levels: int = 4
    operations: tuple[str, ...] = ("sep3", "sep5", "avg3", "max3")
    scope: str = "full"
    scaled_reductions: bool = False
    last_stage_dilation: int = 1

    def __post_init__(self):
        for field in ("input_shape", "stage_widths", "stage_blocks", "operations"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        self._check_choice("stem", (CIFAR_STEM, IMAGENET_STEM))
        self._check_choice("scope", ("full", "share"))
        self._check_choice("last_stage_dilation", (1, 2))
        if self.levels < 1:
            raise UsageError(f"`levels` must be 1 or more. Received: levels={self.levels}")
        if not self.operations or not set(self.operations) <= set(OPERATIONS):
            raise UsageError(
                f"`operations` must be one or more of {OPERATIONS}. "
                f"Received: operations={self.operations}"
            )
        if len(set(self.operations)) != len(self.operations):
            raise UsageError(
                f"`operations` must not repeat. Received: operations={self.operations}"
            )
        if not self.stage_blocks or len(self.stage_widths) != len(self.stage_blocks):
            raise UsageError(
                "`stage_widths` and `stage_blocks` must have one entry a stage. Received: "
                f"stage_widths={self.stage_widths}, stage_blocks={self.stage_blocks}"
            )
        if min(*self.stage_widths, *self.stage_blocks, self.num_classes) < 1:
            raise UsageError(
                "`stage_widths`, `stage_blocks` and `num_classes` must be 1 or more. Received: "
                f"stage_widths={self.stage_widths}, stage_blocks={self.stage_blocks}, "
                f"num_classes={self.num_classes}"
            )

    @classmethod
    def imagenet(cls, **changes) -> DsoSpace:
        """The paper's space for ImageNet: stages of 2, 2, 13 and 6 blocks, from 28 channels on."""
        settings = {
            "input_shape": (224, 224, 3),
            "num_classes": 1000,
            "stem": IMAGENET_STEM,
            "stage_widths": (28, 56, 112, 224),
            "stage_blocks": (2, 2, 13, 6),
        }
        return cls(**{**settings, **changes})

    @property
    def block_names(self) -> list[str]:
        """The names of the blocks, in order: `stage1_block1` and so on."""
        return block_names(self.stage_blocks)

    @property
    def reduction_names(self) -> list[str]:
        """The names of the reduction blocks, in order: `stage1_reduction` and so on."""
        return [f"stage{stage + 1}_reduction" for stage in range(len(self.stage_blocks) - 1)]

    def supernet(self, name: str = "dso_supernet", head: Head | None = None) -> keras.Model:
        """The completely connected network, every edge with its scale at 1.

        BatchNormalization has no scale (section 4.1: fixed at one while the edges are learned).

        Args:
            name: Of the model.
            head: Takes the last block's output, gives the model's; a classifier by default.
        """
        connections: dict[str, Connections] = {}
        shared = ScaledConnections()
        for block in self.block_names:
            share = self.scope == "share"
            connections[block] = shared if share else ScaledConnections(block)
        for reduction in self.reduction_names:
            scaled = ScaledConnections(reduction)
            connections[reduction] = scaled if self.scaled_reductions else FixedConnections()
        return self._build(connections, self.stage_widths, scale=False, name=name, head=head)

    def network(
        self,
        genotype: Genotype | None = None,
        stage_widths: Sequence[int] | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        name: str = "dso_network",
        head: Head | None = None,
    ) -> keras.Model:
        """The network of a genotype, with no scales, to be trained from scratch.

        Args:
            genotype: The edges of each block; a block that is missing is its identity (a missing
                reduction keeps both convolutions). None gives the completely connected network.
            stage_widths: Other widths than the space's.
            dropout: Rate before the classifier.
            drop_path: The probability that a block's graph is left out in training.
            name: Of the model.
            head: As in `supernet`.

        Raises:
            KerasNasError: If the genotype names blocks or edges that the space does not have.
        """
        connections: dict[str, Connections] = {}
        if genotype is not None:
            self._check_genotype(genotype)
        for block in self.block_names + self.reduction_names:
            edges: list[Edge] | None = None
            if genotype is not None:
                listed = [(source, target) for source, target in genotype.get(block, ())]
                reduces = block in self.reduction_names
                edges = (listed or None) if reduces else live_edges(listed)
            connections[block] = FixedConnections(edges)
        return self._build(
            connections,
            self.stage_widths if stage_widths is None else tuple(stage_widths),
            scale=True,
            dropout=dropout,
            drop_path=drop_path,
            name=name,
            head=head,
        )

    def edge_names(self) -> dict[str, dict[Edge, str]]:
        """The names of the supernet's edge layers, by block and edge."""
        edges = block_edges(self.levels, self.operations)
        names = {
            block: {
                (s, t): edge_name("" if self.scope == "share" else block, s, t) for s, t in edges
            }
            for block in self.block_names
        }
        if self.scaled_reductions:
            for block in self.reduction_names:
                names[block] = {(s, t): edge_name(block, s, t) for s, t in REDUCTION_EDGES}
        return names

    def genotype(self, supernet: keras.Model) -> dict[str, list[list[str]]]:
        """The edges of a searched supernet that matter: λ > 0 and on a path to the output."""
        names = [name for block in self.edge_names().values() for name in block.values()]
        return self.genotype_of({name for name in names if supernet.get_layer(name).mask()[0]})

    def genotype_of(self, opened: Collection[str]) -> dict[str, list[list[str]]]:
        """The edges that matter where those named in `opened` are open and the others closed."""
        genotype = {}
        for block, names in self.edge_names().items():
            kept = [edge for edge, name in names.items() if name in opened]
            live = kept if block in self.reduction_names else live_edges(kept)
            genotype[block] = [list(edge) for edge in live]
        return genotype

    def random_genotype(self, edges: int, seed: int) -> dict[str, list[list[str]]]:
        """A random network of the space, with `edges` live edges a block (rarely fewer).

        Args:
            edges: Live edges wanted in each block; under `"share"` all blocks are the same.
            seed: Of the draw.
        """
        generator = np.random.default_rng(seed)
        every = block_edges(self.levels, self.operations)
        genotype: dict[str, list[list[str]]] = {}
        for block in self.block_names:
            if self.scope == "share" and genotype:
                genotype[block] = next(iter(genotype.values()))
                continue
            chosen: list[Edge] = []
            for index in generator.permutation(len(every)):
                if len(live_edges([*chosen, every[index]])) <= edges:
                    chosen.append(every[index])
            chosen = live_edges(edge for edge in every if edge in chosen)
            genotype[block] = [list(edge) for edge in chosen]
        return genotype

    def _build(
        self, connections, widths, scale, name, dropout=0.0, drop_path=0.0, head=None
    ) -> keras.Model:
        inputs = keras.Input(self.input_shape, name="image")
        x = self._stem(inputs, widths[0], scale)
        last = len(self.stage_blocks) - 1
        dilated = self.last_stage_dilation
        for stage, blocks in enumerate(self.stage_blocks):
            for block in range(blocks):
                block_name = f"stage{stage + 1}_block{block + 1}"
                x = apply_dso_block(
                    x,
                    self.levels,
                    self.operations,
                    connections[block_name],
                    dilation=dilated if stage == last else 1,
                    scale=scale,
                    drop_path=drop_path,
                    name=block_name,
                )
            if stage < last:
                reduction = f"stage{stage + 1}_reduction"
                x = apply_reduction_block(
                    x,
                    widths[stage + 1],
                    connections[reduction],
                    strides=1 if dilated == 2 and stage == last - 1 else 2,
                    scale=scale,
                    name=reduction,
                )
        if head is not None:
            return keras.Model(inputs, head(x), name=name)
        x = layers.GlobalAveragePooling2D(name="head_pool")(x)
        if dropout:
            x = layers.Dropout(dropout, name="head_dropout")(x)
        return keras.Model(inputs, apply_classifier(x, self.num_classes), name=name)

    def _stem(self, x, width, scale):
        if self.stem == CIFAR_STEM:
            return apply_scaled_conv(x, width, 3, scale=scale, name="stem")
        x = apply_scaled_conv(x, max(1, width // 2), 3, 2, scale=scale, name="stem1")
        return apply_scaled_conv(x, width, 3, 2, scale=scale, name="stem2")

    def _check_choice(self, name, choices):
        value = getattr(self, name)
        if value not in choices:
            raise KerasNasError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")

    def _check_genotype(self, genotype):
        allowed = {
            block: set(block_edges(self.levels, self.operations)) for block in self.block_names
        }
        allowed |= {block: set(REDUCTION_EDGES) for block in self.reduction_names}
        for block, edges in genotype.items():
            if block not in allowed:
                raise UsageError(
                    f"`genotype` must name blocks of the space, {list(allowed)}. "
                    f"Received: {block!r}"
                )
            for edge in edges:
                if tuple(edge) not in allowed[block]:
                    raise UsageError(
                        f"`genotype` must hold edges [source, target] of a block of {self.levels} "
                        f"levels of {self.operations}. Received: {list(edge)} in '{block}'"
                    )
