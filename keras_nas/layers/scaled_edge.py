"""DSO's scale on one connection."""

from __future__ import annotations

import re
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_nas.layers.edge_scales import Element, edge_factor
from keras_nas.layers.gate import Gate


class EdgePlace(NamedTuple):
    """What an edge connects.

    Attributes:
        block: The block, with which the names of its layers begin; empty where all blocks share the
            edge, or none is known.
        source: The node or operation that it comes from; empty where it is not known.
        target: The node that it feeds; empty for the block's output where nothing else is said.
    """

    block: str
    source: str
    target: str = ""

    @property
    def operation(self) -> str:
        """The operation it feeds; of an edge to the block's output, the one it comes from."""
        return self.source if self.target in ("", "output") else self.target

    @property
    def prefix(self) -> str:
        """What the names of the block's layers begin with."""
        return f"{self.block}_" if self.block else ""


def place_of(name: str) -> EdgePlace:
    """What an edge connects by its name alone, `{block}_edge_{source}_to_{target}` or shorter.

    >>> place_of("stage1_block2_edge_l1_sep3_to_output")
    EdgePlace(block='stage1_block2', source='l1_sep3', target='output')
    >>> place_of("stage1_block1_edge_mb3_k3")
    EdgePlace(block='stage1_block1', source='mb3_k3', target='')
    """
    match = re.fullmatch(r"(.*?)_?edge_?(.*)", name)
    block, rest = match.groups() if match else ("", name)
    source, _, target = rest.partition("_to_")
    return EdgePlace(block, source, target)


@keras.saving.register_keras_serializable(package="keras_nas")
class ScaledEdge(Gate):
    """Multiplies a whole tensor by one learned scale λ ≥ 0: an edge of the search graph (Eq. 8).

    λ starts at 1. `keras_nas.optimizers.APGNAG` drives it to exactly 0 where the connection is not
    worth its γ; an edge at 0 is removed by surgery, with the nodes that then read nothing or that
    nobody reads. It is one gate of one channel that broadcasts over the tensor: `channels` is 1,
    `mask()` has shape `(1,)`, and an Architecture keeps `[0]` or nothing.

    While APG-NAG trains, `scale` holds the look-ahead λ', which may be negative; use
    `APGNAG.sparse_values` or `APGNAG.finalize_variable_values` before the edges are read.

    The layer may be called at several places, on tensors of different widths: the connections then
    share one λ, and live or die together.

    Mode "off" is the identity, "soft" multiplies by λ' as it is, "hard" by max(λ, 0).

    Example:

    ```python
    x = keras.layers.Add()([
        keras_nas.layers.ScaledEdge(name="edge_a")(a), keras_nas.layers.ScaledEdge(name="edge_b")(b)
    ])
    ```

    Args:
        mode: The mode the layer is built with: `"off"`, `"soft"` or `"hard"`.
        block: The block that the edge is in, with which the names of the block's layers begin; `""`
            for an edge that all blocks share. Edges of a block compete; by default the block,
            source and target are read from the name, `{block}_edge_{source}_to_{target}`.
        source: The node or operation that it comes from.
        target: The node that it feeds.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, ..., channels)`.

    Output shape:
        The input's.

    References:
        Zhang et al., You Only Search Once: Single Shot Neural Architecture Search via Direct Sparse
        Optimization, Eq. (6) and (8).
    """

    def __init__(
        self,
        mode: str = "soft",
        block: str | None = None,
        source: str = "",
        target: str = "",
        **kwargs,
    ):
        super().__init__(mode, **kwargs)
        self.block = block
        self.source = source
        self.target = target

    @property
    def place(self) -> EdgePlace:
        """What the edge connects, as it was told or by its name."""
        if self.block is None:
            return place_of(self.name)
        return EdgePlace(self.block, self.source, self.target)

    def build(self, input_shape):
        super().build(input_shape)
        self.channels = 1
        self.scale = self.add_weight(
            name="scale", shape=(1,), dtype="float32", initializer="ones", autocast=False
        )

    def hold(self, scale: Element, mode: Element):
        """Takes elements of the block's vectors for its λ and its mode; see `join_scales`."""
        for name, element in (("scale", scale), ("_mode", mode)):
            self._untrack_variable(getattr(self, name))
            self._delete_tracking(name)
            self.__dict__[name] = element
        self._tracker.unlock()
        self._scales, self._modes = scale.vector, mode.vector
        self._tracker.lock()

    def __setattr__(self, name, value):
        held = self.__dict__.get(name)
        if isinstance(held, Element):
            self._assign(name, held, value)
        else:
            super().__setattr__(name, value)

    def save_own_variables(self, store):
        """Writes λ and the mode; of a vector, this edge's λ alone."""
        for index, variable in enumerate((self.scale, self._mode)):
            store[str(index)] = variable.numpy()

    def load_own_variables(self, store):
        """Reads what `save_own_variables` wrote."""
        for index, variable in enumerate((self.scale, self._mode)):
            variable.assign(store[str(index)])

    def probabilities(self):
        """λ' as training sees it: float32 tensor of shape `(1,)`, differentiable; not clipped."""
        return ops.convert_to_tensor(self.scale)

    def indicator(self):
        """1 where λ > 0, else 0: float32 tensor of shape `(1,)`."""
        return ops.cast(self.probabilities() > 0, "float32")

    def factors(self):
        """The factor of the present mode: float32 tensor of shape `(1,)`."""
        return edge_factor(self)

    def assign_mask(self, mask):
        """Opens the edge (λ stays, or becomes 1 where it was not positive) or closes it (λ = 0)."""
        scale = self.scale.numpy()
        self.scale.assign(np.where(mask, np.where(scale > 0, scale, 1.0), 0.0))

    def scale_vector(self, mask: np.ndarray) -> np.ndarray:
        """λ where `mask` keeps the edge, else 0: float64 `(1,)`, to be broadcast over channels."""
        return np.where(
            np.asarray(mask, dtype=bool), np.maximum(self.scale.numpy(), 0), 0.0
        ).astype("float64")

    def get_config(self):
        told = (
            {}
            if self.block is None
            else {"block": self.block, "source": self.source, "target": self.target}
        )
        return {**super().get_config(), **told}
