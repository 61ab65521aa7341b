"""The interface of a surgery rule: what one family of operations does to channels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from keras_nas.costs.costs import LayerCosts
from keras_nas.costs.layer_costs import layer_costs
from keras_nas.graph import Node, Value
from keras_nas.graph.kinds import is_channels_last
from keras_nas.surgery.channels import Channels, all_live
from keras_nas.surgery.rules.known_values import Known, Mask, Masks, as_column, of_column, some
from keras_nas.surgery.rules.relaxed_vectors import Clip, Factors, Vector, ones

OPEN_LENGTH = 32
"""What a size that the model leaves open counts as, where it is weighed what joins cost."""


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

    @property
    def channels_are_last(self) -> bool:
        """Whether the first input has channels, and they and the layer's stand on the last axis."""
        first = self.inputs[0]
        return (
            first is not None
            and first.is_last(self.node.inputs[0])
            and is_channels_last(self.layer)
        )


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

    `constants` runs forward, `wants` and `produces` backward, `build` forward again. `known` and
    `needs` are the same in TensorFlow, for the resource regulariser; what a rule does not say there
    is found by calling its NumPy form, which is right but runs on the host. `alive` and `asked`
    relax them for a gradient, which ends at a rule that does not say them. The invariant
    of all: the tensor that `build` makes for an output holds, in ascending order, exactly the
    channels of `produces`, each with the value that the original graph has there.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "constants" in own and "known" not in own:
            # What a parent says of its own NumPy form is not of this one.
            cls.known = Rule.known  # type: ignore[method-assign]
        if {"wants", "produces"} & set(own) and "needs" not in own:
            cls.needs = Rule.needs  # type: ignore[method-assign]

    stateful = False
    """Whether the operation has weights by channel: then all calls of a shared one must agree."""

    takes_arrays = False
    """Whether it knows what arrays among the arguments of a call do; else such calls are opaque."""

    reads_all_inputs = False
    """Whether any one output channel reads all (live) input channels."""

    scales_inputs = False
    """Whether its weights can take the factors of a gate before it, as `Call.input_factor`."""

    def takes_factors(self, call: Call, binary: bool) -> bool:
        """Whether its weights can take the factors of a gate behind it, as `Call.factor`.

        Args:
            call: The node alone, as for the next three.
            binary: Whether all factors are zeros and ones.
        """
        return False

    def commutes(self, call: Call, binary: bool) -> bool:
        """Whether factors behind it may as well act on its only input; none is below 0."""
        return False

    def own_factors(self, call: Call) -> Any:
        """What it multiplies channels by, where that is all and others may do it; else `None`."""
        return None

    def joined(self, call: Call, value: Value, factors: np.ndarray) -> np.ndarray | None:
        """What multiplies its output's channels where `factors` multiply those of `value` alone, if
        it puts channels side by side; else `None`."""
        return None

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

    def known(
        self, call: Call, given: list[Known | None], masks: Masks
    ) -> list[Known | None] | None:
        """`constants` in TensorFlow, under `masks`; `None` where all outputs are live.

        Args:
            call: The call under the plan with every gate open.
            given: What is known of each input.
            masks: By gate, bool `(channels,)`.
        """
        widths = [channels.count for channels in call.outputs if channels is not None]
        if type(self).constants is Rule.constants or not widths:
            return None

        def run(*columns):
            made = self.constants(_with_inputs(call, columns))
            return [channels.constants.astype("float32") for channels in made if channels]

        found = iter(_on_host(run, _columns(given), [tf.float32] * len(widths), widths))
        return [None if c is None else of_column(next(found)) for c in call.outputs]

    def needs(
        self, call: Call, given: list[Known | None], produced: list[Mask]
    ) -> tuple[list[Mask], Mask]:
        """`wants`, and the first of `produces`, in TensorFlow.

        Args:
            call: The call under the plan with every gate open.
            given: What is known of each input under the masks.
            produced: The channels asked for of each output, bool; one entry where a tensor has no
                channel axis.
        """
        widths = [len(ones(channels)) for channels in (*call.inputs, *call.outputs[:1])]
        if type(self).wants is Rule.wants and type(self).produces is Rule.produces:
            masks: list[Mask] = [np.ones(width, bool) for width in widths]
        else:
            columns = _columns(given)

            def run(*arrays):
                return self._needs(call, arrays[: len(columns)], arrays[len(columns) :])

            masks = _on_host(run, [*columns, *produced], [tf.bool] * len(widths), widths)
        return masks[: len(call.inputs)], masks[-1] if call.outputs else np.ones(1, bool)

    def _needs(self, call: Call, columns, produced) -> list[np.ndarray]:
        present = _with_inputs(call, columns)
        present.outputs = self.constants(present)
        if not any(mask.any() for mask in produced):
            return [ones(c) == 0 for c in (*call.inputs, *call.outputs[:1])]
        made = [
            None if channels is None else mask
            for channels, mask in zip(call.outputs, produced, strict=True)
        ]
        wants = self.wants(present, made)
        first = self.produces(present, made, wants)[:1]
        return [np.ones(1, bool) if mask is None else mask for mask in (*wants, *first)]

    def gains_bias(self, call: Call, given: list[Known | None], reads: list[Mask]) -> Mask:
        """Whether constants make a bias that the layer has not: a bool scalar."""
        return np.False_

    def groups_left(self, call: Call, written: Mask) -> tf.Tensor | float:
        """How many groups the channels `written` lie in: a float64 scalar."""
        return 1.0

    def alive(self, call: Call, given: list[Vector], factors: Factors, h: Clip) -> list[Vector]:
        """How far each output's channels are alive; see `RelaxedCounts`."""
        return [ones(channels) for channels in call.outputs]

    def asked(self, call: Call, asked: list[Vector], factors: Factors, h: Clip) -> list[Vector]:
        """How far each input's channels are asked for, when those of the outputs are."""
        return [ones(channels) for channels in call.inputs]

    def takes_more(self, call: Call, held: np.ndarray) -> bool:
        """Whether it may read just the channels `held` of its first input, more than it wants."""
        return False

    def gathers(self, call: Call) -> bool:
        """Whether its build chooses among the channels of a tensor."""
        return False

    def row_macs(self, call: Call) -> float:
        """The work of one more output channel, the inputs being there; infinite: cannot.

        Multiply-adds of a kernel, elements that it writes where it is "elementwise".
        """
        return float("inf")

    def column_macs(self, call: Call) -> float:
        """Multiply-adds of one more input channel for one output channel; infinite: cannot."""
        return float("inf")

    def kernel_kind(self, call: Call) -> str:
        """The kind of its kernel, as `keras_nas.costs.AlignPrices` has it, or "elementwise"."""
        return "elementwise"

    def costs(self, call: Call, input_shapes: list, output_shapes: list) -> LayerCosts:
        """What the rebuilt operation will cost, at the shapes that its tensors will have."""
        return layer_costs(call.layer, input_shapes, output_shapes)

    def sized(self, call: Call) -> Any:
        """The operation, for what the shapes of its rebuilt tensors alone do not say of it."""
        return call.layer

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

    def needs(self, call, given, produced):
        mask = produced[0]
        return [
            mask if len(ones(channels)) == mask.shape[0] else some(mask)[None]
            for channels in call.inputs
        ], mask

    def alive(self, call, given, factors, h):
        return [given[0], *(ones(channels) for channels in call.outputs[1:])]

    def asked(self, call, asked, factors, h):
        return [
            asked[0] if len(ones(channels)) == asked[0].shape[0] else ones(channels)
            for channels in call.inputs
        ]

    def row_macs(self, call):
        channels = call.outputs[0]
        return positions(call.node.outputs[0], -1 if channels is None else channels.axis)


def _columns(given: list[Known | None]) -> list[tf.Tensor]:
    return [as_column(known) for known in given if known is not None]


def _with_inputs(call: Call, columns) -> Call:
    """The call with other constants: one column for each input with a channel axis."""
    numbers = iter(columns)
    inputs = [
        None if channels is None else Channels(channels.axis, next(numbers).astype("float64"))
        for channels in call.inputs
    ]
    return replace(call, inputs=inputs)


def _on_host(run, arguments: list, dtypes: list, widths: list[int]) -> list[tf.Tensor]:
    """A NumPy function inside a `tf.function`; it gives vectors of `widths`."""
    found = tf.nest.flatten(tf.numpy_function(run, arguments, dtypes))
    return [tf.ensure_shape(vector, (width,)) for vector, width in zip(found, widths, strict=True)]


def positions(value: Value, axis: int = -1) -> float:
    """Number of places in a sample of a tensor that hold one channel each, these being on `axis`.

    A size that is open counts as `OPEN_LENGTH`.
    """
    other = [n for n in range(1, len(value.shape)) if n != axis % len(value.shape)]
    return float(np.prod([value.shape[n] or OPEN_LENGTH for n in other]))
