"""What the GPU delegate asks of an operation's tensors and options beside its version.

Each condition is a function of the graph and the node that returns the reason why the delegate
leaves the node, or nothing where it takes it. They are those of TensorFlow's
`tensorflow/lite/tools/versioning/gpu_compatibility.cc` (without its enhanced broadcasting, which
phones' delegates do not have), and of the parsers in
`tensorflow/lite/delegates/gpu/common/model_builder.cc` where these refuse more.
"""

from __future__ import annotations

from collections.abc import Callable

from ai_edge_litert import schema_py_generated as schema

from export.accelerators.file_graph import FileGraph, Node, Tensor

Condition = Callable[[FileGraph, Node], str]
_CASTS = {"float32", "int32"}
_PADDINGS = ((3, 2), (4, 2))


def operands(*allowed: tuple[int, int]) -> Condition:
    """As many computed and constant inputs as one of `allowed` says, and one output."""

    def check(graph: FileGraph, node: Node) -> str:
        computed, constant = _counts(graph, node)
        if len(node.outputs) != 1:
            return f"{len(node.outputs)} outputs"
        if (computed, constant) in allowed:
            return ""
        return f"{computed} computed and {constant} constant inputs"

    return check


def computed_inputs(least: int, most: int) -> Condition:
    """Between `least` and `most` inputs that are computed, and one output."""

    def check(graph: FileGraph, node: Node) -> str:
        computed, _ = _counts(graph, node)
        if len(node.outputs) != 1:
            return f"{len(node.outputs)} outputs"
        return "" if least <= computed <= most else f"{computed} computed inputs"

    return check


def two_inputs(graph: FileGraph, node: Node) -> str:
    return "" if len(node.inputs) == 2 else f"{len(node.inputs)} inputs"


def broadcast(graph: FileGraph, node: Node) -> str:
    """Operands of other ranks are repeated in few forms only."""
    short, long = sorted((tensor.shape for tensor in graph.inputs_of(node)), key=len)
    if len(short) < 2 or len(short) == len(long):
        return ""
    samples_alike = len(long) == 4 and len(short) == 2 and (short[0], short[1]) == (
        long[0],
        long[3],
    )  # fmt: skip
    one = len(long) == 4 and long[0] == 1
    if samples_alike or (one and (len(short) == 3 or short == (1, 1))):
        return ""
    return f"{_text(short)} with {_text(long)}"


def no_outer_product(graph: FileGraph, node: Node) -> str:
    """Of two factors of one rank, one is nowhere smaller than the other."""
    first, second = (tensor.shape for tensor in graph.inputs_of(node))
    if len(first) != len(second):
        return ""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a > 0 and b > 0]
    smaller = any(a < b for a, b in pairs) and any(b < a for a, b in pairs)
    return f"an outer product of {_text(first)} and {_text(second)}" if smaller else ""


def activation(graph: FileGraph, node: Node) -> str:
    fused = getattr(node.options, "fusedActivationFunction", 0)
    return (
        "the fused activation SIGN_BIT" if fused == schema.ActivationFunctionType.SIGN_BIT else ""
    )


def depthwise(graph: FileGraph, node: Node) -> str:
    given, kernel = graph.inputs_of(node)[:2]
    (made,) = graph.outputs_of(node)
    if {len(tensor.shape) for tensor in (given, kernel, made)} != {4}:
        return "tensors that are not of rank 4"
    multiplier = node.options.depthMultiplier
    if given.shape[3] * multiplier != made.shape[3]:
        return "channels that are not the input's times the depth multiplier"
    if multiplier != 1 and given.shape[3] != 1:
        return f"a depth multiplier of {multiplier} on {given.shape[3]} channels"
    return ""


def block_size(graph: FileGraph, node: Node) -> str:
    size = node.options.blockSize
    return "" if size > 1 else f"a block size of {size}"


def paddings(graph: FileGraph, node: Node) -> str:
    shape = graph.inputs_of(node)[1].shape
    return "" if shape in _PADDINGS else f"paddings of shape {_text(shape)}"


def reflecting(graph: FileGraph, node: Node) -> str:
    reflects = node.options.mode == schema.MirrorPadMode.REFLECT
    return "" if reflects else "symmetric padding"


def constant_axes(graph: FileGraph, node: Node) -> str:
    axes = graph.inputs_of(node)[1]
    return "" if axes.constant and axes.dtype == "int32" else "axes that are not constant int32"


def fully_connected(graph: FileGraph, node: Node) -> str:
    tensors = graph.inputs_of(node)
    if node.options.weightsFormat != schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
        return "shuffled weights"
    if tensors[0].constant:
        return "a constant input"
    (made,) = graph.outputs_of(node)
    if node.options.keepNumDims and len(tensors[0].shape) != len(made.shape):
        return "an output of another rank"
    return ""


def gather(graph: FileGraph, node: Node) -> str:
    values, indices = graph.inputs_of(node)
    if values.dtype == "int32":
        return "int32 values"
    if len(indices.shape) != 1 or indices.dtype != "int32":
        return "indices that are not a vector of int32"
    return ""


def prelu(graph: FileGraph, node: Node) -> str:
    """One slope a channel, or one for each number of a sample with its batch axis."""
    given, slopes = graph.inputs_of(node)
    if set(slopes.shape[:-1]) <= {1} and slopes.shape[-1:] == given.shape[-1:]:
        return ""
    if len(slopes.shape) == 4 and slopes.shape[0] == 1 and slopes.shape[1:] == given.shape[1:]:
        return ""
    return f"slopes of shape {_text(slopes.shape)}"


def sizes_of_slices(graph: FileGraph, node: Node) -> str:
    rank = len(graph.inputs_of(node)[0].shape)
    return "" if rank in (3, 4) else f"a tensor of rank {rank}"


def plain_slices(graph: FileGraph, node: Node) -> str:
    masks = {"ellipsisMask": "…", "newAxisMask": "a new axis", "shrinkAxisMask": "a dropped axis"}
    found = [text for name, text in masks.items() if getattr(node.options, name)]
    return f"an index with {' and '.join(found)}" if found else ""


def softmax(graph: FileGraph, node: Node) -> str:
    return "" if node.options.beta == 1 else f"beta = {node.options.beta:g}"


def resize(graph: FileGraph, node: Node) -> str:
    both = node.options.alignCorners and node.options.halfPixelCenters
    return "aligned corners with half-pixel centres" if both else ""


def cast(graph: FileGraph, node: Node) -> str:
    (given,), (made,) = graph.inputs_of(node), graph.outputs_of(node)
    if {given.dtype, made.dtype} <= _CASTS:
        return ""
    return f"from {given.dtype} to {made.dtype}"


def basic_lstm(graph: FileGraph, node: Node) -> str:
    basic = node.options.kernelType == schema.LSTMKernelType.BASIC
    return "" if basic else "not the basic kernel"


def _counts(graph: FileGraph, node: Node) -> tuple[int, int]:
    """How many inputs are computed, and how many constant."""
    tensors: list[Tensor] = graph.inputs_of(node)
    constant = sum(tensor.constant for tensor in tensors)
    return len(tensors) - constant, constant


def _text(shape: tuple[int, ...]) -> str:
    return "×".join("?" if n < 0 else str(n) for n in shape) or "()"
