"""What LiteRT's own XNNPACK takes, on files that the converter writes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export import flatbuffer
from export.accelerators.coverage import Left
from export.accelerators.file_graph import FileGraph
from export.accelerators.partition import partition
from export.accelerators.survey import survey
from export.accelerators.xnnpack import taken_nodes, xnnpack_coverage
from export.errors import ExportError
from tests.export.accelerators.conftest import gathered

CONVERSIONS = {"float32": 0, "float16": 4, "int8": 2, "dynamic_int8": 0}
"""Nodes that a format adds to `gathered`: DEQUANTIZE of weights, QUANTIZE and DEQUANTIZE."""


def interpreter_of(path, **options):
    found = Interpreter(str(path), **options)
    found.allocate_tensors()
    return found


@pytest.mark.parametrize(("format_", "more"), CONVERSIONS.items())
def test_a_gather_cuts_the_graph_in_two_in_every_format(converted, format_, more):
    found = xnnpack_coverage(interpreter_of(converted(gathered, format_)))
    assert (found.nodes, found.taken, found.partitions) == (3 + more, 2 + more, 2)
    assert found.left == [Left("GATHER", 1)]
    assert found.source.startswith("LiteRT ")


def test_without_the_gather_it_is_whole(converted):
    def plain(x):
        return keras.layers.Conv2D(4, 3)(keras.layers.Conv2D(6, 3, activation="relu")(x))

    (found, _) = survey(converted(plain))
    assert found.is_whole
    assert (found.nodes, found.left) == (2, [])


def test_without_a_delegate_nothing_is_taken(converted):
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    path = converted(gathered)
    found = xnnpack_coverage(interpreter_of(path, experimental_op_resolver_type=plain))
    assert (found.nodes, found.taken, found.partitions) == (3, 0, 0)
    assert sum(left.count for left in found.left) == 3


def test_the_runtime_cuts_as_our_algorithm_does(converted):
    """Branches with gathers of their own, of which the runtime makes fewer parts than pieces."""

    def branches(x):
        head = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(x)
        ends = []
        for order in ([1, 0, 3], [5, 2, 4]):
            end = keras.ops.take(head, np.array(order, "int32"), axis=-1)
            ends.append(keras.layers.Conv2D(4, 3, padding="same")(end))
        ends.append(keras.layers.Conv2D(4, 1)(head))
        return keras.layers.Add()(ends)

    path = converted(branches)
    interpreter = interpreter_of(path)
    graph = FileGraph.of(flatbuffer.read_file(path))
    taken = taken_nodes(interpreter)
    assert sorted(set(range(len(graph.nodes))) - taken) == [
        place for place, node in enumerate(graph.nodes) if node.operation == "GATHER"
    ]
    parts = [part for part in partition(graph.nodes, taken) if part.taken]
    assert len(parts) == xnnpack_coverage(interpreter).partitions == 2


def test_macs_are_counted_from_the_file(converted):
    def every(x):
        x = keras.layers.Conv2D(6, 3, strides=2, padding="same")(x)  # 4·4·6 · 9·4
        x = keras.layers.DepthwiseConv2D(3, padding="same")(x)  # 4·4·6 · 9
        x = keras.layers.Conv2DTranspose(5, 2, strides=2)(x)  # 4·4·6 · 4·5
        return keras.layers.Dense(3)(keras.layers.Flatten()(x))  # 8·8·5 · 3

    graph = FileGraph.of(flatbuffer.read_file(converted(every)))
    assert graph.macs() == 96 * 36 + 96 * 9 + 96 * 20 + 320 * 3


def test_a_file_of_dynamic_size_needs_one(tmp_path):
    from export.tflite import convert

    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    path = convert(model, tmp_path / "open.tflite", sizes=[(8, 8)]).path
    assert survey(path, (8, 8))[0].is_whole
    (tmp_path / "text.tflite").write_text("no model")
    with pytest.raises(ExportError, match=r"not a \.tflite"):
        survey(tmp_path / "text.tflite")
