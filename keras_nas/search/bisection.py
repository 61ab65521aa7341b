"""Looking for the strength of a penalty under which a search lands on its target."""

from __future__ import annotations

import dataclasses
import math

STRIDE = 4.0
"""By how much a strength is raised or lowered while the target lies beyond all that were tried."""


@dataclasses.dataclass(frozen=True)
class Bisection:
    """Bounds of a strength, of which a greater one leaves less.

    Worked example: from 1e-3, which leaves too much, it goes to 4e-3; that leaves too little, and
    so does 2e-3, their geometric mean: then comes 1.41e-3.

    Attributes:
        strength: The one to try.
        low: The greatest that left too much; 0 where none was tried.
        high: The least that left too little; infinity where none was tried.
    """

    strength: float
    low: float = 0.0
    high: float = math.inf

    def after(self, too_much: bool) -> Bisection:
        """The next one, where the present strength left too much, or too little."""
        low, high = (self.strength, self.high) if too_much else (self.low, self.strength)
        if math.isinf(high):
            strength = low * STRIDE
        elif not low:
            strength = high / STRIDE
        else:
            strength = math.sqrt(low * high)
        return Bisection(strength, low, high)
