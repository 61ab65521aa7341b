"""Data sets that tensorflow-datasets has prepared on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from keras_nas.data.fetched import ENVIRONMENT_VARIABLE
from keras_nas.errors import KerasNasError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def prepared_builder(
    name: str, data_dir: str | os.PathLike[str] | None, download: bool
) -> tfds.core.DatasetBuilder:
    """The tensorflow-datasets builder of a data set whose files are ready to be read.

    Args:
        name: Of the data set, as in `tfds.load`.
        data_dir: The folder that holds the folder `name`; None for `$KERAS_NAS_DATA`, or where that
            is not set for tensorflow-datasets' own (`$TFDS_DATA_DIR` or ~/tensorflow_datasets).
        download: Whether to download and prepare the data set where it is missing.

    Raises:
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
    builder = tfds.builder(name, data_dir=folder)
    if builder.is_prepared():
        return builder
    if not download:
        raise KerasNasError(
            f"`{name}` is not prepared in `{builder.data_dir}`: run `python -m apps.fetch_data "
            f"--task={name} --data_dir={folder or '…'}`, or point `data_dir` at the folder that "
            f"holds `{name}/{builder.version}`."
        )
    try:
        builder.download_and_prepare()
    except (OSError, AssertionError, tfds.download.DownloadError) as error:
        raise KerasNasError(
            f"tensorflow-datasets cannot prepare `{name}` in `{builder.data_dir}`: {error}"
        ) from error
    return builder
