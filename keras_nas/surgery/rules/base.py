"""The interface of a surgery rule: what one family of operations does to channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
import numpy as np

from keras_nas.costs.costs import LayerCosts
from keras_nas.costs.layer_costs import layer_costs
from keras_nas.graph import Node, Value
from keras_nas.surgery.channels import Channels, all_live


@dataclass(eq=False)
class Call:
    """One node under analysis.

    Attributes:
        node: The call.
        inputs: What is known of each flat input, `None` where a tensor has no channel axis.
        outputs: The same of each output, once the forward pass has been here.
        factor: What a gate further down multiplies the output by, channel by channel, where that is
            baked into this operation's weights; else `None`.
        input_factor: What a gate before it multiplied its first input by, where that is baked into
            this operation's weights; else `None`.
        scale: For a gate, what it multiplies each channel by; ones where that is baked in.
        wants: For each flat input the channels it reads, bool; `None` means the full tensor.
        produces: For each output the channels it makes, bool; `None` means the full tensor.
    """

    node: Node
    inputs: list[Channels | None] = field(default_factory=list)
    outputs: list[Channels | None] = field(default_factory=list)
    factor: np.ndarray | None = None
    input_factor: np.ndarray | None = None
    scale: np.ndarray | None = None
    wants: list[np.ndarray | None] = field(default_factory=list)
    produces: list[np.ndarray | None] = field(default_factory=list)

    @property
    def layer(self) -> Any:
        return self.node.operation

    @property
    def input(self) -> Channels:
        """The first input's channels, for operations that read one tensor."""
        channels = self.inputs[0]
        assert channels is not None
        return channels


class Builder(Protocol):
    """What a rule may ask of the build."""

    def fetch(self, call: Call, position: int) -> keras.KerasTensor:
        """The flat input at `position`, holding exactly the channels that the call wants."""

    def apply(
        self, call: Call, inputs: list, changes: dict | None = None, weights: list | None = None
    ) -> list[keras.KerasTensor]:
        """Calls the operation's copy (with changed configuration and weights) on new inputs."""

    def run(self, call: Call, args: tuple, kwargs: dict) -> list[keras.KerasTensor]:
        """Calls the operation's copy, without weights of its own, on other arguments."""

    def as_tensor(self, array: np.ndarray) -> keras.KerasTensor:
        """An array as a tensor of the new graph."""

    def rescale(
        self, call: Call, tensor: keras.KerasTensor, scale: np.ndarray, offset: np.ndarray
    ) -> keras.KerasTensor:
        """`scale · tensor + offset`, one number a channel, as a stock Rescaling layer."""


class Rule:
    """What one family of operations does to channels. The base class knows nothing: all stay.

    `constants` runs forward, `wants` and `produces` backward, `build` forward again. The invariant
    of all: the tensor that `build` makes for an output holds, in ascending order, exactly the
    channels of `produces`, each with the value that the original graph has there.
    """

    stateful = False
    """Whether the operation has weights by channel: then all calls of a shared one must agree."""

    takes_arrays = False
    """Whether it knows what arrays among the arguments of a call do; else such calls are opaque."""

    reads_all_inputs = False
    """Whether any one output channel reads all (live) input channels."""

    def accepts(self, call: Call) -> bool:
        """Whether the rule covers this configuration; if not, the call keeps all its channels."""
        return True

    def constants(self, call: Call) -> list[Channels | None]:
        """What is known of each output, from what is known of the inputs."""
        return [all_live(value) for value in call.node.outputs]

    def wants(self, call: Call, produced: list[np.ndarray | None]) -> list[np.ndarray | None]:
        """The channels it must read of each input to make `produced`."""
        return [
            None if channels is None else np.ones(channels.count, bool) for channels in call.inputs
        ]

    def produces(
        self,
        call: Call,
        produced: list[np.ndarray | None],
        wants: list[np.ndarray | None],
    ) -> list[np.ndarray | None]:
        """The channels it makes when asked for `produced`: those, or more where it cannot less."""
        return [
            None if channels is None else np.ones(channels.count, bool) for channels in call.outputs
        ]

    def row_macs(self, call: Call) -> float:
        """Multiply-adds of one more output channel, the inputs being there; infinite: cannot."""
        return float("inf")

    def costs(self, call: Call, input_shapes: list, output_shapes: list) -> LayerCosts:
        """What the rebuilt operation will cost, at the shapes that its tensors will have."""
        return layer_costs(call.layer, input_shapes, output_shapes)

    def build(self, call: Call, builder: Builder) -> list[keras.KerasTensor]:
        inputs = [builder.fetch(call, i) for i in range(len(call.node.inputs))]
        return builder.apply(call, inputs)


class SameChannels(Rule):
    """Base of the rules whose output channel c depends on input channel c alone."""

    def accepts(self, call):
        return call.inputs[0] is not None

    def wants(self, call, produced):
        return [produced[0]]

    def produces(self, call, produced, wants):
        return [wants[0]]

    def row_macs(self, call):
        return 2.0 * positions(call.node.outputs[0])


def positions(value: Value) -> float:
    """Number of places in a tensor that hold one channel each; an open size counts as 1."""
    return float(np.prod([size or 1 for size in value.shape[1:-1]]))
