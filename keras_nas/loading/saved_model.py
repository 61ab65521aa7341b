"""SavedModels that Keras 2 wrote: the configuration, and the weights by layer.

Beside TensorFlow's graph, which is not read, such a folder (TensorFlow 2.5 and later) has what the
model can be rebuilt from: `keras_metadata.pb` with the configuration of each layer, by its place
among the objects, and a checkpoint of the variables, which says where among the objects each is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from keras_nas.errors import KerasNasError
from keras_nas.file_checks import KERAS_METADATA, check_saved_model
from keras_nas.loading.keras2_weights import Stored

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ROOT = "root"
_NODES, _PATH, _METADATA = 1, 3, 5
"""Numbers of the fields of Keras 2's SavedMetadata, and of its nodes'."""


@dataclasses.dataclass(frozen=True)
class SavedKerasModel:
    """What the folder of a SavedModel says of its Keras model.

    Attributes:
        config: The model's configuration: `class_name` and `config`.
        version: Of the Keras that wrote it.
        stored: The weights by layer.
    """

    config: dict[str, Any]
    version: str
    stored: Stored


def read(folder: Path) -> SavedKerasModel:
    """Reads a SavedModel's folder.

    Raises:
        KerasNasError: It holds no Keras model, none that is made of layers, or it is damaged.
    """
    check_saved_model(folder)
    try:
        objects = dict(_metadata((folder / KERAS_METADATA).read_bytes()))
        root = objects[_ROOT]
        weights = _weights(folder, {_name(o): p for p, o in objects.items() if p.count(".") == 1})
    except (OSError, KeyError, IndexError, ValueError, tf.errors.OpError) as error:
        raise KerasNasError(
            f"The SavedModel '{folder}' is broken, or not of TensorFlow 2.5 to 2.15: "
            f"{type(error).__name__} ({error})"
        ) from error
    config = root.get("model_config") or {"class_name": root.get("class_name", "?")}
    version = str(root.get("keras_version", "2"))
    return SavedKerasModel(config, version, lambda name: weights.get(name, []))


def _name(metadata: dict[str, Any]) -> str:
    return str(metadata.get("name"))


def _metadata(content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place of each object, such as `root.layer-1`, and what Keras says of it."""
    for number, node in _fields(content):
        if number == _NODES:
            parts = dict(_fields(node))
            yield parts[_PATH].decode(), json.loads(parts[_METADATA])


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer's message: numbers as int, others as bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = content[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while place < len(content):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            size = varint()
            if place + size > len(content):
                raise ValueError(f"{KERAS_METADATA} is cut short")
            yield key >> 3, content[place : place + size]
            place += size
        else:
            raise ValueError(f"{KERAS_METADATA} is of another kind")


def _weights(folder: Path, paths: dict[str, str]) -> dict[str, list[tuple[str, np.ndarray]]]:
    """The weights of each of the model's own layers, in the order of `layer.weights`.

    Preprocessing layers list none of their statistics; they have them as attributes.
    """
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    graph = TrackableObjectGraph.FromString(reader.get_tensor(_GRAPH))

    def children(node: Any) -> dict[str, Any]:
        return {each.local_name: graph.nodes[each.node_id] for each in node.children}

    def weights(path: str) -> list[tuple[str, np.ndarray]]:
        own = children(children(graph.nodes[0])[path.partition(".")[2]])
        listed = children(own["variables"]) if "variables" in own else {}
        held = [listed[place] for place in sorted(listed, key=int)] or list(own.values())
        names = {part.checkpoint_key: part.full_name for node in held for part in node.attributes}
        return [(name, reader.get_tensor(key)) for key, name in names.items()]

    return {name: weights(path) for name, path in paths.items()}
