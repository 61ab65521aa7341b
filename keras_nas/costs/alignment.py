"""What surgery writes where tensors meet, as far as costs go."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The operation of a planned graph that brings a tensor to the channels a reader wants.

    Attributes:
        steps: What it is made of in order, "pad", "slice" or "gather", each with the channels that
            it writes. Empty for a tensor of constants alone.
    """

    steps: tuple[tuple[str, int], ...] = ()
    name: str = "alignment"
