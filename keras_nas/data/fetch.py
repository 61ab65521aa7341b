"""Fetching what a task needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from keras_nas.choices import FETCH_TASKS
from keras_nas.data import fashion_mnist, mni152, photographs, voc_image
from keras_nas.data.fetched_data import Fetched
from keras_nas.data.tensorflow_datasets_source import prepared_builder
from keras_nas.errors import UsageError

Fetch = Callable[[str | os.PathLike[str] | None], Fetched]


def _from_tensorflow_datasets(name: str) -> Fetch:
    def fetch_one(data_dir: str | os.PathLike[str] | None) -> Fetched:
        builder = prepared_builder(name, data_dir, download=True)
        splits = builder.info.splits
        content = " + ".join(f"{part.num_examples:,} {key}" for key, part in splits.items())
        return Fetched(name, builder.data_path, "tensorflow-datasets", f"{content} images")

    return fetch_one


_TASKS: dict[str, tuple[Fetch, ...]] = {
    "fashion_mnist": (fashion_mnist.fetch,),
    "cifar10": (_from_tensorflow_datasets("cifar10"),),
    "imagenet2012": (_from_tensorflow_datasets("imagenet2012"),),
    "super_resolution": (photographs.fetch,),
    "segmentation": (mni152.fetch, voc_image.fetch, fashion_mnist.fetch, photographs.fetch),
}
TASKS = FETCH_TASKS


def fetch(task: str, data_dir: str | os.PathLike[str] | None = None) -> Iterator[Fetched]:
    """Makes the data of a task ready, one thing after the other. What is there is left alone.

    Args:
        task: One of `TASKS`; "tfds:NAME" is any set of tensorflow-datasets. For "imagenet2012" the
            two archives must stand in `data_dir`/downloads/manual, as tensorflow-datasets asks.
        data_dir: Where to put it, see `data_directory`.

    Yields:
        What stands where, as soon as it does.

    Raises:
        KerasNasError: Another task, or something cannot be had; the message says how to get it.
    """
    if task not in TASKS:
        raise UsageError(f"`task` must be one of {list(TASKS)}. Received: task={task!r}")
    found = _TASKS.get(task) or (_from_tensorflow_datasets(task.partition(":")[2]),)
    for fetch_one in found:
        yield fetch_one(data_dir)
