"""Where gates go: the convolutions to gate, and the tensor behind each that the gate acts on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.graph import Graph, Node, Value, kinds
from keras_nas.graph.activations import activation_of
from keras_nas.graph.kinds import kind
from keras_nas.graph.state import quantization

logger = logging.getLogger(__name__)

ORDERS = ("conv_bn_gate_relu", "conv_gate_bn_relu", "conv_bn_relu_gate")
GATEABLE = kinds.ALL_CONVOLUTIONS | {"Dense"}
ACTIVATIONS = frozenset(["Activation", "ReLU", "LeakyReLU", "PReLU", "ELU"])
ACTIVATION_OPS = frozenset(
    f"ops.{name}"
    for name in (
        "Celu Elu Gelu HardShrink HardSigmoid HardSilu HardTanh LeakyRelu LogSigmoid Mish ReLU "
        "Relu Relu6 Selu Sigmoid Silu SoftShrink Softplus Softsign SparsePlus SparseSigmoid "
        "Squareplus Tanh TanhShrink Threshold"
    ).split()
)


@dataclass(frozen=True)
class Place:
    """A place for a gate.

    Attributes:
        layer_name: The gated convolution (or Dense) by its name in the graph; of several that share
            a gate the first.
        values: The tensors the gate acts on, one for each call of each layer.
    """

    layer_name: str
    values: tuple[Value, ...]


def find_places(
    graph: Graph,
    order: str,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
) -> list[Place]:
    """Chooses the layers to gate and the tensors behind them.

    By default every convolution is gated, at its BatchNormalization if one follows, but for the
    convolutions of squeeze-and-excitation branches (on 1×1 maps, without BatchNormalization). In a
    network without a convolution every hidden Dense layer is. Never gated is a layer whose
    channels reach an output of the model unmixed, as logits do, and one with
    `data_format="channels_first"`, since gates act on the last axis: it is named in the log.

    Args:
        graph: The model.
        order: One of `ORDERS`.
        include: Names or patterns (`"block_*_expand"`) of the layers to gate, instead of the
            default; Dense layers beside convolutions may be named here.
        exclude: Names or patterns of layers that get no gate.

    Raises:
        KerasNasError: If `order` is unknown, a pattern fits no layer that could be gated, a layer
            to gate is quantised, or nothing is left to gate beside layers whose channels come
            first.
    """
    if order not in ORDERS:
        raise UsageError(f"`order` must be one of {ORDERS}. Received: order={order!r}")
    calls = {
        name: nodes
        for name, nodes in graph.calls().items()
        if kind(nodes[0].operation) in GATEABLE and nodes[0].outputs[0].channels is not None
    }
    wanted = _matching(list(calls), include, "include")
    unwanted = _matching(list(calls), exclude, "exclude") or set()
    exposed = exposed_values(graph)
    kinds_there = {kind(nodes[0].operation) for nodes in calls.values()}
    dense_only = not kinds_there & kinds.ALL_CONVOLUTIONS
    places: list[Place] = []
    channels_first: list[str] = []
    for name, nodes in calls.items():
        if name in unwanted or (wanted is not None and name not in wanted):
            continue
        if wanted is None and not dense_only and not _is_default(nodes):
            continue
        values = tuple(_gated_value(node, order, graph) for node in nodes)
        if not kinds.is_channels_last(nodes[0].operation):
            channels_first.append(name)
        elif not any(value in exposed for value in values):
            _refuse_quantized(name, nodes[0].operation)
            places.append(Place(name, values))
    _report(channels_first, graph.name, refuse=not places or wanted is not None)
    return places


def merged(graph: Graph, places: Sequence[Place], streams: Sequence[Sequence[str]]) -> list[Place]:
    """The places with those of a stream's layers as one; layers without a place are passed over.

    Raises:
        UsageError: If a stream names what is no layer, a layer is in two streams, or a stream's
            layers differ in their channels.
    """
    there = graph.calls()
    stream_of: dict[str, int] = {}
    for number, names in enumerate(streams):
        for name in names:
            if name not in there:
                raise UsageError(
                    f"`streams` must name layers of '{graph.name}'. Received: {name!r} in {names!r}"
                )
            if stream_of.setdefault(name, number) != number:
                raise UsageError(
                    f"A layer may be in one of `streams` only. Received: {name!r} in two"
                )
    together: dict[int | str, Place] = {}
    for place in places:
        key = stream_of.get(place.layer_name, place.layer_name)
        first = together.get(key, Place(place.layer_name, ()))
        widths = {value.channels for value in (*first.values, *place.values)}
        if len(widths) > 1:
            raise UsageError(
                "Layers of one of `streams` must have as many channels as each other. Received: "
                f"'{first.layer_name}' and '{place.layer_name}' with {sorted(map(str, widths))}"
            )
        together[key] = Place(first.layer_name, (*first.values, *place.values))
    return list(together.values())


def _refuse_quantized(name: str, layer):
    mode = quantization(layer)
    if mode:
        raise KerasNasError(
            f"Layer '{name}' ({type(layer).__name__}) is quantised ({mode}), and quantised weights "
            "are neither searched nor cut: prune the float model, then call quantize() on what "
            "surgery built, or leave the layer out with `exclude`."
        )


def _report(names: list[str], model_name: str, refuse: bool):
    """Names the layers whose channels come first: in an error, or where others are left, a log."""
    if not names:
        return
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    message = (
        f"Layers of '{model_name}' with data_format='channels_first' cannot be gated, since gates "
        f"and surgery work on the last axis: {', '.join(names[:3])}{more}. Rebuild the model with "
        "data_format='channels_last'; kernels of convolutions have the same shape in both."
    )
    if refuse:
        raise KerasNasError(message)
    logger.warning("%s", message)


def exposed_values(graph: Graph) -> set[Value]:
    """The values whose channels reach an output of the model with no layer that mixes channels."""
    exposed = set(graph.outputs)
    for node in reversed(graph.nodes):
        mixes = kind(node.operation) in GATEABLE and (
            kind(node.operation) not in kinds.DEPTHWISE_CONVOLUTIONS
        )
        if not mixes and any(value in exposed for value in node.outputs):
            exposed.update(node.inputs)
    return exposed


def _matching(names: list[str], patterns, argument: str) -> set[str] | None:
    if patterns is None:
        return None
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    found: set[str] = set()
    for pattern in patterns:
        hits = {name for name in names if fnmatchcase(name, pattern)}
        if not hits:
            raise KerasNasError(
                f"`{argument}` pattern {pattern!r} fits no convolution or Dense layer. "
                f"Layers that can be gated: {', '.join(names[:8])}, … ({len(names)} in all)."
            )
        found |= hits
    return found


def _is_default(nodes: list[Node]) -> bool:
    if kind(nodes[0].operation) == "Dense":
        return False
    on_pooled_maps = all(all(size == 1 for size in node.inputs[0].shape[1:-1]) for node in nodes)
    return not on_pooled_maps or all(follower(n, {"BatchNormalization"}) for n in nodes)


def follower(node: Node, wanted: frozenset[str] | set[str]) -> Node | None:
    """The node that alone reads this node's output, if it is of a wanted kind."""
    readers = node.outputs[0].readers
    if len(readers) == 1 and kind(readers[0].operation) in wanted:
        return readers[0]
    return None


def activation_behind(node: Node) -> Node | None:
    """The elementwise activation that alone reads this node's output, if there is one."""
    found = follower(node, ACTIVATIONS | ACTIVATION_OPS)
    if found is None or kind(found.operation) != "Activation":
        return found
    rank = len(found.inputs[0].shape)
    return found if activation_of(found.operation.activation, rank).elementwise else None


def _gated_value(node: Node, order: str, graph: Graph) -> Value:
    outputs = set(graph.outputs)
    if order == "conv_gate_bn_relu" or node.outputs[0] in outputs:
        return node.outputs[0]
    last = follower(node, {"BatchNormalization"}) or node
    if order == "conv_bn_relu_gate" and last.outputs[0] not in outputs:
        last = activation_behind(last) or last
    return last.outputs[0]
