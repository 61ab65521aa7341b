"""The settings of distillation."""

from __future__ import annotations

import dataclasses

from keras_nas.errors import UsageError
from keras_nas.settings import check_range, setting


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """How a network learns from another's outputs beside its own task.

    The loss is (1 − w) · task + w · distance, plus the features' distance. The distance is the
    task's: T² KL of the classes softened by T (of each pixel's in segmentation), or the mean
    absolute difference of images.

    Example:

    ```python
    DnalConfig(finetune_distill=DistillConfig(weight=0.5, temperature=4.0))
    ```

    References:
        Hinton et al., Distilling the Knowledge in a Neural Network (2015), section 2.
        Zagoruyko and Komodakis, Paying More Attention to Attention (2017), section 3.1.
    """

    weight: float = setting(
        0.0, "w: share of the loss that is the distance from the teacher's outputs; 0 for none."
    )
    temperature: float = setting(
        4.0, "T: what the logits of both networks are divided by; images know none."
    )
    features: tuple[str, ...] = setting(
        (),
        "Layers of both networks whose outputs are drawn together too: by their attention maps "
        "(means of squares over the channels), or as vectors where they have no positions.",
    )
    feature_weight: float = setting(1.0, "Weight of each of the features' distances.")

    def __post_init__(self):
        check_range(self, ("weight", "feature_weight"), 0)
        check_range(self, ("temperature",), 0, strict=True)
        if self.weight > 1:
            raise UsageError(f"`weight` must be from 0 to 1. Received: weight={self.weight}")

    @property
    def on(self) -> bool:
        """Whether there is anything to learn from a teacher."""
        return bool(self.weight or self.features)
