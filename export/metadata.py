"""Metadata in the .tflite, by tflite-support's writers: what apps need to use a model unseen.

The file carries its name, description, author and licence, how pixels become numbers, and the
classes' names (and colours). Android Studio, MediaPipe Tasks and the TFLite Task Library read it.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export import flatbuffer
from export.errors import ExportError
from export.export_options import METADATA_TASKS
from keras_nas.files import atomic_write_bytes

TASKS = METADATA_TASKS
LABELS_FILE = "labels.txt"
COLORS_FILE = "label_colors.csv"
_PACKAGE = "tensorflow_lite_support.metadata"
_TASK_INPUTS = {
    "classification": "Image to be classified.",
    "segmentation": "Image to be segmented.",
    "image_to_image": "Image to be improved, e.g. enlarged.",
}
_TASK_OUTPUTS = {
    "classification": ("probability", "Probability of each class."),
    "segmentation": ("segmentation_masks", "Probability of each class at each pixel."),
    "image_to_image": ("image", "The resulting image."),
}


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What the metadata say.

    Attributes:
        name: The model's name.
        task: One of `TASKS`.
        description: What it does; `describe` adds the method and the costs.
        labels: The classes' names in the order of the output's channels.
        colors: Red, green, blue (0 to 255) of each class, for segmentation.
        mean, std: A pixel value v (0 to 255) enters the model as (v − mean) / std; one number, or
            one for each channel. The defaults scale to [0, 1].
        author, license, version: As they shall be printed.
    """

    name: str
    task: str
    description: str = ""
    labels: Sequence[str] = ()
    colors: Sequence[tuple[int, int, int]] = ()
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (255.0,)
    author: str = ""
    license: str = ""
    version: str = "1"

    def __post_init__(self):
        if self.task not in TASKS:
            raise ExportError(f"`task` must be one of {TASKS}. Received: task={self.task!r}")
        if self.task == "image_to_image" and (self.labels or self.colors):
            raise ExportError("`labels` and `colors` are for classification and segmentation.")
        if self.task != "image_to_image" and not self.labels:
            raise ExportError(f"`labels` must name the classes of a {self.task} model.")
        if any("\n" in label or not label.strip() for label in self.labels):
            raise ExportError("Each of `labels` must be one line of text and not empty.")
        if self.colors and len(self.colors) != len(self.labels):
            raise ExportError(
                f"`colors` must hold one colour for each of the {len(self.labels)} labels. "
                f"Received: {len(self.colors)} colours"
            )
        if any(not 0 <= part <= 255 for color in self.colors for part in color):
            raise ExportError("Each of `colors` must be three numbers from 0 to 255.")
        if any(std == 0 for std in self.std):
            raise ExportError("`std` must not be 0.")


def describe(
    text: str,
    method: str | None = None,
    before: Mapping[str, float] | None = None,
    after: Mapping[str, float] | None = None,
) -> str:
    """Returns a description that names the search method and what it saved.

    Args:
        text: What the model does.
        method: e.g. "DNAL".
        before, after: Costs by name, e.g. {"macs": 1e6, "params": 5e4}, of the unpruned and of
            this model.
    """
    parts = [text.strip()] if text.strip() else []
    if method:
        parts.append(f"Architecture found by {method}.")
    for name, cost in (after or {}).items():
        original = (before or {}).get(name)
        share = f" ({cost / original:.1%} of the original)" if original else ""
        parts.append(f"{name}: {cost:,.0f}{share}.")
    return " ".join(parts)


def write(
    path: str | os.PathLike[str], card: ModelCard, output: str | os.PathLike[str] | None = None
) -> Path:
    """Puts metadata into the .tflite at `path` (or a copy at `output`), at once or not at all.

    Raises:
        ExportError: tflite-support is not there, or the card does not fit the model.
    """
    load("metadata_schema_py_generated")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ExportError(f"Cannot read the model {path}: {error.strerror}.") from error
    _check_fit(flatbuffer.read(content), card)
    with tempfile.TemporaryDirectory() as folder:
        writer = _writer(bytearray(content), card, Path(folder))
        populated = bytes(writer.populate())
    atomic_write_bytes(output or path, populated)
    return Path(output or path)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns a file's metadata as tflite-support's displayer shows them.

    Returns:
        {"metadata": the JSON, "files": {name: text of each file inside}}.

    Raises:
        ExportError: tflite-support is not there or the file holds no metadata.
    """
    displayer_class = load("python.metadata").MetadataDisplayer
    try:
        displayer = displayer_class.with_model_file(str(path))
    except (ValueError, OSError) as error:
        raise ExportError(f"Cannot read metadata of {path}: {error}") from error
    return {
        "metadata": json.loads(displayer.get_metadata_json()),
        "files": {
            name: displayer.get_associated_file_buffer(name).decode()
            for name in displayer.get_packed_associated_file_list()
        },
    }


def available() -> bool:
    """Whether tflite-support is installed; it has no version for Python 3.12 and newer."""
    return importlib.util.find_spec("tensorflow_lite_support") is not None


def load(module: str) -> Any:
    """Imports a module of tflite-support.

    Raises:
        ExportError: It is not installed; one line says what to do.
    """
    if not available():
        raise ExportError(
            "Writing metadata needs the package tflite-support, which exists for Python 3.11 and "
            "older: run the export there, or export without metadata."
        )
    return importlib.import_module(f"{_PACKAGE}.{module}")


def _check_fit(model: Any, card: ModelCard) -> None:
    graph = model.subgraphs[0]
    source, result = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    channels = int(source.shape[-1])
    for name in ("mean", "std"):
        if len(getattr(card, name)) not in (1, channels):
            raise ExportError(
                f"`{name}` must hold one number, or one for each of the model's {channels} "
                f"channels. Received: {name}={tuple(getattr(card, name))}"
            )
    if card.labels and len(card.labels) != int(result.shape[-1]):
        raise ExportError(
            f"`labels` must name each of the model's {int(result.shape[-1])} classes. "
            f"Received: {len(card.labels)} labels"
        )
    if flatbuffer.tensor_dtype(model, graph.inputs[0]) == "uint8":
        _check_pixels(source.quantization, card)


def _check_pixels(quantization: Any, card: ModelCard) -> None:
    """Clients hand pixels to a uint8 input as they are: its scale must be the normalisation."""
    scale, zero_point = float(quantization.scale[0]), int(quantization.zeroPoint[0])
    for mean, std in zip(card.mean, card.std, strict=False):
        for pixel in (0.0, 255.0):
            wanted, given = (pixel - mean) / std, (pixel - zero_point) * scale
            if abs(wanted - given) > scale:
                raise ExportError(
                    f"The uint8 input reads the pixel {pixel:.0f} as {given:.4g}, but mean and std "
                    f"make it {wanted:.4g}. Give representative data that hold the darkest and "
                    "the brightest pixel, or use a float input."
                )


def _writer(content: bytearray, card: ModelCard, folder: Path) -> Any:
    info = load("python.metadata_writers.metadata_info")
    general = info.GeneralMd(
        name=card.name,
        version=card.version,
        description=card.description,
        author=card.author or None,
        licenses=card.license or None,
    )
    source = _input(content, card, info)
    files = _files(card, folder, info)
    name, description = _TASK_OUTPUTS[card.task]
    if card.task == "classification":
        types = load("python.metadata_writers.writer_utils").get_output_tensor_types(content)
        result = info.ClassificationTensorMd(
            name=name, description=description, label_files=files, tensor_type=types[0]
        )
        writers = load("python.metadata_writers.image_classifier")
        return writers.MetadataWriter.create_from_metadata_info(content, general, source, result)
    result = info.TensorMd(name=name, description=description, associated_files=files)
    if card.task == "segmentation":
        writers = load("python.metadata_writers.image_segmenter")
        return writers.MetadataWriter.create_from_metadata_info(content, general, source, result)
    writers = load("python.metadata_writers.metadata_writer")
    return writers.MetadataWriter.create_from_metadata(
        content,
        model_metadata=general.create_metadata(),
        input_metadata=[source.create_metadata()],
        output_metadata=[_image_output(result)],
        associated_files=[],
    )


def _input(content: bytearray, card: ModelCard, info: Any) -> Any:
    schema = load("metadata_schema_py_generated")
    utilities = load("python.metadata_writers.writer_utils")
    shape = utilities.get_input_tensor_shape(content, 0)
    colors = schema.ColorSpaceType.RGB if shape[-1] == 3 else schema.ColorSpaceType.GRAYSCALE
    return info.InputImageTensorMd(
        name="image",
        description=_TASK_INPUTS[card.task],
        norm_mean=list(map(float, card.mean)),
        norm_std=list(map(float, card.std)),
        color_space_type=colors,
        tensor_type=utilities.get_input_tensor_types(content)[0],
    )


def _files(card: ModelCard, folder: Path, info: Any) -> list[Any]:
    files = []
    if card.labels:
        path = folder / LABELS_FILE
        path.write_text("\n".join(card.labels) + "\n", encoding="utf-8")
        files.append(info.LabelFileMd(str(path)))
    if card.colors:
        path = folder / COLORS_FILE
        rows = [f"{red},{green},{blue}" for red, green, blue in card.colors]
        path.write_text("red,green,blue\n" + "\n".join(rows) + "\n", encoding="utf-8")
        files.append(
            info.AssociatedFileMd(str(path), "Colour of each label, in the order of the labels.")
        )
    return files


def _image_output(result: Any) -> Any:
    schema = load("metadata_schema_py_generated")
    metadata = result.create_metadata()
    metadata.content = schema.ContentT()
    metadata.content.contentProperties = schema.ImagePropertiesT()
    metadata.content.contentProperties.colorSpace = schema.ColorSpaceType.RGB
    metadata.content.contentPropertiesType = schema.ContentProperties.ImageProperties
    return metadata
