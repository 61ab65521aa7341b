"""DNAL's settings."""

from __future__ import annotations

import dataclasses

from keras_nas.search.registry import register
from keras_nas.search.target_settings import TargetSettings
from keras_nas.settings import LATER_STAGES, check_choices, check_range, setting
from keras_nas.training.distill_config import DistillConfig
from keras_nas.training.train_config import TrainConfig

DELTA_SCHEDULES = ("epoch", "step", "authors")


@register("dnal", method="keras_nas.search.dnal.Dnal")
@dataclasses.dataclass(frozen=True)
class DnalConfig(TargetSettings):
    """DNAL's settings; the defaults are the paper's for VGG16 on CIFAR-10 (section V-B).

    Example:

    ```python
    DnalConfig(lambda_a=1e-4, weights=TrainConfig(epochs=10), finetune=TrainConfig(epochs=10))
    ```
    """

    order: str = setting(
        "conv_bn_gate_relu",
        "Where a gate stands (Fig. 4).",
        ("conv_gate_bn_relu", "conv_bn_gate_relu", "conv_bn_relu_gate"),
    )
    include: tuple[str, ...] = setting((), "Layers (names or patterns) to gate; all by default.")
    exclude: tuple[str, ...] = setting((), "Layers (names or patterns) not to gate.")
    strategy: str = setting(
        "sequential",
        "'sequential': weights, then gates (Alg. 1). 'joint': both at once, for as many epochs as "
        "the two stages together (the ablation of Fig. 5).",
        ("sequential", "joint"),
    )
    weights: TrainConfig = setting(TrainConfig(epochs=100), "Stage 1: the weights, gates off.")
    architecture: TrainConfig = setting(
        TrainConfig(epochs=20, weight_decay=0.0),
        "Stage 2: the gates, weights frozen.",
        decides=LATER_STAGES,
    )
    gates_start: str = setting(
        "zero",
        "Where the gates begin. 'zero': s = 0, every channel halved, as in the paper. 'identity': "
        "s = start_logit, so that a trained network begins as it is, however deep. A criterion of "
        "channels: about start_logit, in the order that it gives the trained weights, the same "
        "share of each layer first.",
        ("zero", "identity", "l1", "l2", "gamma"),
        decides=LATER_STAGES,
    )
    start_logit: float = setting(
        6.0, "s of the channels at first, where they do not begin at 0.", decides=LATER_STAGES
    )
    stop_decided: bool = setting(
        False,
        "End stage 2 after the epoch in which every gate is within 1e-3 of 0 or 1.",
        decides=LATER_STAGES,
    )
    lambda_a: float = setting(
        1e-4, "λ_a of Eq. (4), times the plain sum of all gates.", decides=LATER_STAGES
    )
    delta_max: float = setting(1e4, "Last δ of the annealing, from 1.", decides=LATER_STAGES)
    delta_schedule: str = setting(
        "epoch",
        "When δ moves from 1 to its last value: with each epoch (Alg. 1) or each step; 'authors': "
        "with each epoch from delta_max^(1/n) on, as in the authors' code.",
        DELTA_SCHEDULES,
        decides=LATER_STAGES,
    )
    penalty_scaled: bool = setting(
        True,
        "λ_a Σ sigmoid(δ s), as in Eq. (4); False: λ_a Σ sigmoid(s), as the authors' code.",
        decides=LATER_STAGES,
    )
    reset_momentum: bool = setting(
        False,
        "Start the gates' optimizer anew in each epoch, as the authors' code does.",
        decides=LATER_STAGES,
    )
    round_to: int = setting(
        1, "Kept channels a gate become a multiple of this (1, 4 or 8).", decides=LATER_STAGES
    )
    align: str = setting(
        "auto",
        "How surgery aligns channels at joins.",
        ("auto", "extend", "pad"),
        decides=LATER_STAGES,
    )
    reestimate_batches: int = setting(
        20,
        "Training batches on which BatchNormalization's statistics are estimated anew after "
        "surgery, before finetuning, and at its end where they lag; 0 for none, as in the papers.",
        decides=LATER_STAGES,
    )
    finetune: TrainConfig = setting(
        TrainConfig(epochs=130, schedule="piecewise", boundaries=(30.0, 80.0)),
        "Stage 3: the small network's weights.",
        decides=LATER_STAGES,
    )
    finetune_distill: DistillConfig = setting(
        DistillConfig(),
        "What the last stage learns from the network as it was before the search.",
        decides=LATER_STAGES,
    )

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("lambda_a", "reestimate_batches"), 0)
        check_range(self, ("delta_max", "round_to"), 1)
        check_range(self, ("start_logit",), 0, strict=True)
        self.check_targets(self.targeted)
