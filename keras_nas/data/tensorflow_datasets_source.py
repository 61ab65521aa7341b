"""Data sets that tensorflow-datasets has prepared on this machine."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from keras_nas.choices import FETCH_TASKS
from keras_nas.data.fetched_data import ENVIRONMENT_VARIABLE
from keras_nas.errors import KerasNasError, UsageError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_NAME = re.compile(r"\w+(/[\w.-]+)?(:\d+\.\d+\.\d+)?")


def prepared_builder(
    name: str, data_dir: str | os.PathLike[str] | None, download: bool
) -> tfds.core.DatasetBuilder:
    """The tensorflow-datasets builder of a data set whose files are ready to be read.

    Args:
        name: Of the data set, as in `tfds.load`: `NAME`, `NAME/CONFIG`, either with `:1.0.0`. One
            without code of its own is found by its files.
        data_dir: The folder that holds the folder `name`; None for `$KERAS_NAS_DATA`, or where that
            is not set for tensorflow-datasets' own (`$TFDS_DATA_DIR` or ~/tensorflow_datasets).
        download: Whether to download and prepare the data set where it is missing.

    Raises:
        UsageError: No data set of that name is known, nor prepared.
        KerasNasError: Tensorflow-datasets is not installed; the data set is missing and `download`
            is False, or it cannot be downloaded and prepared.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise KerasNasError(
            f"`{name}` is read through tensorflow-datasets, which is not installed: "
            "`pip install tensorflow-datasets`."
        ) from error
    folder = data_dir or os.environ.get(ENVIRONMENT_VARIABLE) or None
    builder = _builder(name, folder)
    if builder.is_prepared():
        return builder
    if not download:
        raise KerasNasError(
            f"`{name}` is not prepared in `{builder.data_dir}`: run `python -m apps.fetch_data "
            f"--task={_task(name)} --data_dir={folder or '…'}`, or point `data_dir` at the folder "
            f"that holds `{builder.name}/{builder.version}`."
        )
    try:
        builder.download_and_prepare()
    except (OSError, AssertionError, tfds.download.DownloadError) as error:
        raise KerasNasError(
            f"tensorflow-datasets cannot prepare `{name}` in `{builder.data_dir}`: {error}"
        ) from error
    return builder


def _task(name: str) -> str:
    """What apps.fetch_data calls it."""
    return name if name in FETCH_TASKS else f"tfds:{name}"


def _builder(name: str, folder: str | os.PathLike[str] | None) -> tfds.core.DatasetBuilder:
    import tensorflow_datasets as tfds

    if not _NAME.fullmatch(name):
        raise UsageError(
            "A set of tensorflow-datasets must be named as NAME, NAME/CONFIG, and either with "
            f":1.0.0 for a version. Received: {name!r}"
        )
    try:
        return tfds.builder(name, data_dir=folder)
    except (ValueError, AssertionError, KeyError) as error:
        raise UsageError(
            f"Tensorflow-datasets {tfds.__version__} knows no `{name}`, nor is it prepared in "
            f"`{folder or tfds.core.constants.DATA_DIR}`: tensorflow.org/datasets/catalog lists "
            "the names."
        ) from error
