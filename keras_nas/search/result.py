"""What a search gives back."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from keras_nas.architecture import Architecture


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    Attributes:
        supernet: The gated network as the search left it, gates in mode "hard".
        architecture: What is kept, with the costs before and after.
        small: The rebuilt network of stock layers, finetuned where the method does so.
        history: One record an epoch of each stage, in order, and one for the surgery:
            `{"stage", "epoch", "loss", "top1", "val_top1", ...}`.
    """

    supernet: keras.Model
    architecture: Architecture
    small: keras.Model
    history: list[dict[str, Any]]
