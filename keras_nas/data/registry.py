"""Data sets by name: the task that each is for, and what loads it; needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_nas.choices import Choices
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import check_data_directory

if TYPE_CHECKING:
    from keras_nas.data.task_data import DataSet

Loader = Callable[..., "DataSet"]


@dataclasses.dataclass(frozen=True)
class _Entry:
    task: str
    loader: str | Callable
    suffix: str = ""
    member: str = ""

    def resolve(self) -> Loader:
        loader = self.loader
        if isinstance(loader, str):
            module, _, name = loader.rpartition(".")
            loader = getattr(importlib.import_module(module), name)
        return loader(self.member) if self.member else loader


_DATA_SETS: dict[str, _Entry] = {}


def register(name: str, task: str, loader: str | Callable, suffix: str = "") -> None:
    """Enters a data set by name: `load`, and the apps' --data, know it then.

    Args:
        name: The name; one that ends in `:NAME`, such as "tfds:NAME", is for all that begin so.
        task: "classification", "segmentation" or "super_resolution"; see `keras_nas.tasks`.
        loader: Takes options by keyword, each with a default, and returns a `DataSet`; or its
            module and name, which are imported once the data is loaded. A run gives it those of
            its settings that it has a keyword for. For a name that ends in `:NAME`, what returns
            that function, given what stands in place of NAME.
        suffix: How a file ends, such as ".csv", that its `data_dir` may be in place of a folder.
    """
    if name in _DATA_SETS:
        raise UsageError(f"`register` needs a name that is free. Received: {name!r}, taken already")
    _DATA_SETS[name] = _Entry(task, loader, suffix)


def names(task: str | None = None) -> Choices:
    """The names of all data sets, or of those of a task; "tfds:beans" is among them."""
    return Choices(name for name, entry in _DATA_SETS.items() if task in (None, entry.task))


def task_of(name: str) -> str:
    """The name of the task that a data set is for.

    Raises:
        KerasNasError: There is no data set of that name.
    """
    return _entry(name).task


def options(name: str) -> frozenset[str]:
    """The names of the options that a data set is loaded with.

    Raises:
        KerasNasError: There is no data set of that name.
    """
    return frozenset(inspect.signature(_entry(name).resolve()).parameters)


def by_suffix() -> dict[str, str]:
    """The names of the data sets that stand in one file, by how it ends."""
    return {entry.suffix: name for name, entry in _DATA_SETS.items() if entry.suffix}


def check_place(name: str, data_dir: str | os.PathLike[str] | None) -> None:
    """Raises `KerasNasError` for a `data_dir` that is given and that a data set cannot stand in."""
    check_data_directory(data_dir, _entry(name).suffix)


def load(name: str, **settings: Any) -> Any:
    """Loads a data set, with the papers' preprocessing, as tf.data pipelines.

    | name                   | task             | pixels     | augmentation                        |
    |------------------------|------------------|------------|-------------------------------------|
    | fashion_mnist          | classification   | 28×28×1    | pad 2 with black, crop, flip        |
    | cifar10                | classification   | 32×32×3    | pad 4 with the mean, crop, flip     |
    | imagenet2012           | classification   | 224×224×3  | Inception's crop, flip              |
    | class_folders          | classification   | any        | pad 4 with the mean, crop, flip     |
    | csv, npz               | classification   | any        | pad 4 with the mean, crop, flip     |
    | tfds:NAME              | classification   | any        | pad 4 with the mean, crop, flip     |
    | mni152                 | segmentation     | 192×160×1  | scale 0.9 to 1.1, crop, mirror      |
    | synthetic_segmentation | segmentation     | 96×96×3    | scale 0.75 to 1.5, crop, mirror     |
    | voc2012, coco_voc      | segmentation     | 513×513×3  | scale 0.5 to 2, crop, mirror        |
    | segmentation_folders   | segmentation     | any        | scale 0.5 to 2, crop, mirror        |
    | photographs            | super_resolution | any        | patches, turned and mirrored        |
    | div2k                  | super_resolution | any        | patches, turned and mirrored        |
    | folder                 | super_resolution | any        | patches, turned and mirrored        |

    Example:

    ```python
    data = kn.data.load("fashion_mnist", batch_size=128, seed=1, train_examples=12_000)
    print(data.describe())
    model.fit(data.train, validation_data=data.validation, epochs=3, shuffle=False)
    ```

    Args:
        name: One of `names()`.
        **settings: The data set's options: see `load_in_memory` and `load_imagenet` of
            `keras_nas.data.classification`, `load_own_pictures` of `keras_nas.data.own_pictures`,
            `load_segmentation` of `keras_nas.data.segmentation`
            and `load_super_resolution` of `keras_nas.data.super_resolution_sets`.

    Returns:
        A `DataSet`: `TaskData`, `SegmentationData` or `SuperResolutionData`.

    Raises:
        KerasNasError: Another name or option, no such `data_dir`, data that is missing or damaged,
            or an option that is out of its range.
    """
    entry = _entry(name)
    known = options(name)
    for option, value in settings.items():
        if option not in known:
            raise KerasNasError(
                f"The options of {name} must be of {sorted(known)}. Received: {option}={value!r}"
            )
    check_place(name, settings.get("data_dir"))
    return entry.resolve()(**settings)


def _entry(name: str) -> _Entry:
    known = names()
    if name not in known:
        raise UsageError(f"`name` must be one of {list(known)}. Received: name={name!r}")
    family = known.family_of(name)
    if family is None:
        return _DATA_SETS[name]
    return dataclasses.replace(_DATA_SETS[family], member=name.partition(":")[2])


for _name in ("fashion_mnist", "cifar10", "imagenet2012"):
    register(_name, "classification", f"keras_nas.data.classification.load_{_name}")
for _name, _suffix in (("class_folders", ""), ("csv", ".csv"), ("npz", ".npz")):
    register(_name, "classification", f"keras_nas.data.own_pictures.load_{_name}", _suffix)
register("tfds:NAME", "classification", "keras_nas.data.own_pictures.tfds_loader")
for _name in (
    "mni152", "synthetic_segmentation", "voc2012", "coco_voc", "segmentation_folders"
):  # fmt: skip
    register(_name, "segmentation", f"keras_nas.data.segmentation.load_{_name}")
for _name in ("photographs", "div2k", "folder"):
    register(_name, "super_resolution", f"keras_nas.data.super_resolution_sets.load_{_name}")
