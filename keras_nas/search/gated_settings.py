"""The settings of every search whose gates stand in the user's network."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_nas.search.target_settings import TargetSettings
from keras_nas.search.total_epochs import total_epochs
from keras_nas.settings import LATER_STAGES, check_choices, check_range, setting
from keras_nas.training.distill_config import DistillConfig


def alignment(default: str) -> Any:
    """The setting of how surgery aligns channels at joins; each method has its own default."""
    return setting(
        default,
        "How surgery aligns channels at joins; 'never': without gathers, pads and slices.",
        ("auto", "extend", "pad", "never"),
        decides=LATER_STAGES,
    )


def alignment_prices() -> Any:
    """The setting of what align="auto" weighs by."""
    return setting(
        "",
        "The prices that align='auto' weighs by, a JSON file of your device that "
        "apps.profile_latency --align_prices writes; by default those of an x86 core.",
        decides=LATER_STAGES,
    )


@dataclasses.dataclass(frozen=True)
class GatedSettings(TargetSettings):
    """Which layers are gated, how wide what is kept may be, and what the small network begins with.

    The base of DNAL's and FGNAS' settings; see `keras_nas.search.method.GatedMethod`.
    """

    include: tuple[str, ...] = setting((), "Layers (names or patterns) to gate; all by default.")
    exclude: tuple[str, ...] = setting((), "Layers (names or patterns) not to gate.")
    streams: str = setting(
        "branches",
        "What has a gate where channels meet (additions, multiplications, depthwise convolutions). "
        "'branches': each layer its own, as in the paper; surgery aligns what they keep. 'groups': "
        "the layers that write one stream have one, and keep the same channels.",
        ("branches", "groups"),
    )
    round_to: int = setting(
        1, "Kept channels a gate become a multiple of this (1, 4 or 8).", decides=LATER_STAGES
    )
    round_streams: bool = setting(
        True,
        "round_to holds for what is left where the channels of several gates meet, too; False: for "
        "each gate by itself.",
        decides=LATER_STAGES,
    )
    align: str = alignment("auto")
    align_prices: str = alignment_prices()
    reestimate_batches: int = setting(
        20,
        "Training batches on which BatchNormalization's statistics are estimated anew after "
        "surgery, before finetuning, and at its end where they lag; 0 for none, as in the papers.",
        decides=LATER_STAGES,
    )
    total_epochs: int = total_epochs()
    finetune_distill: DistillConfig = setting(
        DistillConfig(),
        "What the last stage learns from the network as it was before the search.",
        decides=LATER_STAGES,
    )

    def check_gated(self, otherwise: str | None = None, besides: str | None = None) -> None:
        """Raises `UsageError` for what these settings, or a choice of any, may not be.

        Args:
            otherwise, besides: As in `check_targets`.
        """
        check_choices(self)
        check_range(self, ("reestimate_batches",), 0)
        check_range(self, ("round_to",), 1)
        self.check_targets(otherwise, besides)
