"""Small sets of one's own in tensorflow-datasets' layout, which are found by their files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write(
    folder: Path,
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    features: Any,
    supervised_keys: Any = None,
    name: str = "toys",
) -> Path:
    """Writes a set of version 1.0.0, each part's examples in the order given.

    Args:
        folder: Holds the set's folder afterwards.
        splits: The examples of each part.
        features: tfds' features of an example.
        supervised_keys: What it says is to be learned from what.
        name: Of the set, in small letters.

    Returns:
        `folder`.
    """
    import tensorflow_datasets as tfds

    def info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=features, supervised_keys=supervised_keys, disable_shuffling=True
        )

    def examples(part):
        return ((number, dict(example)) for number, example in enumerate(splits[part]))

    content = {
        "__module__": __name__,
        "VERSION": tfds.core.Version("1.0.0"),
        "_info": info,
        "_split_generators": lambda self, manager: {part: examples(part) for part in splits},
        "_generate_examples": lambda self: iter(()),
    }
    tfds.disable_progress_bar()
    with tfds.core.registered.skip_registration():
        kind = type(name.capitalize(), (tfds.core.GeneratorBasedBuilder,), content)
        kind(data_dir=folder).download_and_prepare()
    return folder
