"""A few pictures of a data set with their classes, to try a trained network on."""

from __future__ import annotations

import os

import numpy as np

from keras_nas.data.broken_pictures import STOP
from keras_nas.data.own_pictures import FINDERS
from keras_nas.data.registry import check_place, load, task_of
from keras_nas.errors import UsageError


def labelled_pictures(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    examples: int = 256,
    seed: int = 0,
    image_size: int | None = None,
    broken: str = STOP,
    channels: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Some of a data set's training pictures; of one's own pictures no others are read.

    Example:

    ```python
    pictures = kn.data.labelled_pictures("class_folders", "photos", image_size=64)
    print(kn.tasks.guess_pixels(model, *pictures).describe())
    ```

    Args:
        name: Of a data set for classification.
        data_dir: Where it stands.
        examples: How many pictures, the classes in equal shares; fewer where there are fewer.
        seed: Of their choice.
        image_size: The side to which pictures are brought where they are not all of one size.
        broken, channels: Of one's own pictures; see `load_own_pictures`.

    Returns:
        Images, uint8 (N, height, width, channels), and classes, int64 (N,).

    Raises:
        UsageError: The data set is for another task, or as in `load`.
        KerasNasError: As in `load`.
    """
    if task_of(name) != "classification":
        raise UsageError(
            f"`labelled_pictures` needs data with a class for each picture. Received: {name!r}, "
            f"which is for {task_of(name)}"
        )
    check_place(name, data_dir)
    if name in FINDERS:
        return (
            FINDERS[name](data_dir).sample(examples, seed).read(image_size, broken, channels).train
        )
    loaded = load(
        name, data_dir=data_dir, batch_size=examples, train_examples=examples, seed=seed,
        image_size=image_size, validation_share=0.0, augment=False,
    )  # fmt: skip
    images, labels = next(iter(loaded.train.epoch(0)))
    return loaded.normalization.undo(images), labels.numpy()
