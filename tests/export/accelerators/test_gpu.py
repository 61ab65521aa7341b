"""The GPU delegate's table on files that the converter writes, and on nodes by hand."""

from __future__ import annotations

import pytest
from keras import layers, ops

from export import flatbuffer
from export.accelerators.coverage import Left
from export.accelerators.file_graph import FileGraph, Node, Tensor
from export.accelerators.gpu import gpu_coverage, why_left
from export.accelerators.gpu_operations import ANY, DOCUMENTED, NEWER
from tests.export.accelerators.conftest import gathered

NEWER_TAKE_IT = "not documented, though newer delegates take it"


def coverage_of(path):
    return gpu_coverage(flatbuffer.read_file(path))


@pytest.mark.parametrize("format_", ["float32", "float16", "dynamic_int8"])
def test_a_gather_is_not_documented(converted, format_):
    found = coverage_of(converted(gathered, format_))
    assert (found.nodes - found.taken, found.partitions) == (1, 2)
    assert found.left == [Left("GATHER", 1, NEWER_TAKE_IT)]


def test_eight_bit_gathers_are_of_a_version_that_no_delegate_has(converted):
    found = coverage_of(converted(gathered, "int8"))
    assert (found.nodes, found.taken, found.partitions) == (5, 4, 2)
    assert found.left == [Left("GATHER", 1, "not documented, and version 2, above 1")]


def test_weights_of_half_precision_that_only_taken_nodes_read_are_taken_with_them(converted):
    """Those of a left node are left with it: the Dense layer on four axes has version 5."""

    def two(x):
        return layers.Dense(3)(layers.Conv2D(4, 3)(x))

    found = coverage_of(converted(two, "float16"))
    assert found.left == [
        Left("FULLY_CONNECTED", 1, "version 5, above 1, though newer delegates take it"),
        Left("DEQUANTIZE", 1, "of weights that a left node reads"),
    ]
    assert (found.nodes, found.taken, found.partitions) == (5, 3, 1)


@pytest.mark.parametrize(
    ("build", "left"),
    [
        (lambda x: layers.PReLU("uniform", shared_axes=[1, 2])(x), []),
        (lambda x: layers.PReLU("uniform")(x), [("PRELU", "slopes of shape 8×8×4")]),
        (lambda x: layers.UpSampling2D(2, interpolation="bilinear")(x), []),
        (lambda x: x[:, 1:, :, 1:3], []),
        (lambda x: layers.Reshape((8, 8, 2, 2))(x), [("RESHAPE", "a tensor of rank 5")]),
        (lambda x: layers.Conv2D(8, 3, groups=2)(x),
         [("CONV_2D", "version 6, above 1, though newer delegates take it")]),
        (lambda x: layers.GlobalAveragePooling2D()(x), [("MEAN", NEWER_TAKE_IT)]),
        (lambda x: ops.flip(x, 1), [("REVERSE_V2", "no operation of the delegate")]),
    ],
)  # fmt: skip
def test_reasons_are_named(converted, build, left):
    found = coverage_of(converted(build))
    assert [(one.operation, one.reason) for one in found.left] == left
    assert found.is_whole == (not left)


def many(x):
    """As many of the table's operations as one file may have, and some that are not in it."""
    small = layers.Conv2D(8, 1, strides=2)(x)
    ends = [
        layers.AveragePooling2D(2)(x), layers.MaxPooling2D(2)(x), layers.DepthwiseConv2D(2, 2)(x),
        layers.Conv2DTranspose(4, 1)(small), ops.depth_to_space(layers.Conv2D(16, 2, 4)(x), 2),
        ops.hard_silu(small), layers.LeakyReLU()(small), ops.tanh(small), ops.exp(small),
        ops.sqrt(ops.abs(small)), ops.gelu(small), ops.elu(small), ops.silu(small),
        layers.Softmax()(small), layers.PReLU("uniform", shared_axes=[1, 2])(small),
        ops.flip(small, 1), ops.cumsum(small, -1), ops.maximum(small, ops.square(small)),
        *ops.split(small, 2, -1), ops.divide(small, ops.exp(small)), ops.floor(small),
        layers.Resizing(4, 4)(x), layers.Resizing(4, 4, interpolation="nearest")(x),
        small * layers.GlobalAveragePooling2D(keepdims=True)(small), ops.sin(small),
        ops.pad(small[:, :3], ((0, 0), (1, 0), (0, 0), (0, 0)), mode="reflect"),
        ops.pad(small[:, :3], ((0, 0), (1, 0), (0, 0), (0, 0)), mode="symmetric"),
        ops.transpose(small, (0, 2, 1, 3)), small - ops.max(small, 1, keepdims=True),
        layers.DepthwiseConv2D(2, 2, depth_multiplier=2)(x), ops.ceil(small),
        gathered(ops.pad(x[:, ::2, ::2], ((0, 0), (1, 1), (1, 1), (0, 0)))),
        layers.Dense(3)(small), ops.matmul(small, ops.transpose(small, (0, 1, 3, 2))),
    ]  # fmt: skip
    return layers.Concatenate()(ends)


def test_of_many_operations_those_are_refused_that_the_source_refuses(converted):
    """By hand, from gpu_compatibility.cc: three operations that the table lacks, padding that
    repeats the border, and a depth multiplier on several channels; nothing else by its conditions.
    """
    graph = FileGraph.of(flatbuffer.read_file(converted(many)))
    table = {**DOCUMENTED, **NEWER}
    names = [node.operation for node in graph.nodes]
    refused = sorted(
        node.operation
        for node in graph.nodes
        if node.operation not in table
        or any(ask(graph, node) for ask in table[node.operation].conditions)
    )
    assert refused == ["CEIL", "CUMSUM", "DEPTHWISE_CONV_2D", "MIRROR_PAD", "REVERSE_V2"]
    assert (names.count("DEPTHWISE_CONV_2D"), names.count("MIRROR_PAD")) == (2, 2)
    assert len(set(names) & set(table)) > 30


def test_the_table_s_versions_rise():
    for row in {**DOCUMENTED, **NEWER}.values():
        assert 1 <= row.version <= row.newest <= ANY
    assert not set(DOCUMENTED) & set(NEWER)


def reason(operation, shapes, constants=(), version=1, dtype="float32", options=None):
    """Why a node of one output is left; `shapes` are those of its inputs and of the output."""
    tensors = [
        Tensor(shape, dtype, place in constants) for place, shape in enumerate(shapes)
    ]  # fmt: skip
    *inputs, output = range(len(shapes))
    node = Node(operation, version, tuple(inputs), (output,), options)
    return why_left(FileGraph([node], tensors), node)


@pytest.mark.parametrize(
    ("operation", "shapes", "constants", "expected"),
    [
        ("MUL", [(1, 8, 8, 4), (1, 1, 1, 4), (1, 8, 8, 4)], (), ""),
        ("MUL", [(1, 8, 8, 4), (1, 4), (1, 8, 8, 4)], (), ""),
        ("MUL", [(1, 8, 8, 4), (4,), (1, 8, 8, 4)], (1,), ""),
        ("MUL", [(1, 8, 1), (1, 1, 8), (1, 8, 8)], (), "an outer product of 1×8×1 and 1×1×8"),
        ("ADD", [(2, 8, 8, 4), (8, 8, 4), (2, 8, 8, 4)], (1,), "8×8×4 with 2×8×8×4"),
        ("ADD", [(1, 8, 8, 4), (8, 8, 4), (1, 8, 8, 4)], (1,), ""),
        ("LOGISTIC", [(4,), (4,)], (0,), "0 computed and 1 constant inputs"),
        ("PAD", [(1, 4), (2, 2), (1, 6)], (1,), "paddings of shape 2×2"),
    ],
)
def test_shapes_are_looked_at(operation, shapes, constants, expected):
    assert reason(operation, shapes, constants) == expected


def test_types_are_looked_at():
    assert reason("RELU", [(1, 4), (1, 4)], dtype="int16") == "tensors of int16"
    assert reason("RELU", [(1, 4), (1, 4)], version=2).startswith("version 2, above 1")
    assert reason("RELU", [(1, 4), (1, 4)], version=2, dtype="int8") == ""
