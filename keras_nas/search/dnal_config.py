"""DNAL's settings."""

from __future__ import annotations

import dataclasses

from keras_nas.choices import PENALTIES
from keras_nas.errors import UsageError
from keras_nas.search.gated_settings import GatedSettings
from keras_nas.search.registry import register
from keras_nas.search.total_epochs import check_total
from keras_nas.settings import LATER_STAGES, check_range, setting
from keras_nas.training.train_config import TrainConfig

DELTA_SCHEDULES = ("epoch", "step", "authors")


@register("dnal", method="keras_nas.search.dnal.Dnal")
@dataclasses.dataclass(frozen=True)
class DnalConfig(GatedSettings):
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
    strategy: str = setting(
        "auto",
        "'sequential': weights, then gates while the weights are frozen (Alg. 1). 'joint': both at "
        "once, for as many epochs as the two stages together (the ablation of Fig. 5). 'fading': "
        "after the weights, channels fade on the way to a target while the weights learn on as in "
        "finetuning, along one schedule with it. 'auto': fading where there is a target, else "
        "sequential.",
        ("auto", "sequential", "joint", "fading"),
    )
    weights: TrainConfig = setting(TrainConfig(epochs=100), "Stage 1: the weights, gates off.")
    architecture: TrainConfig = setting(
        TrainConfig(epochs=20, weight_decay=0.0),
        "Stage 2: the gates, weights frozen.",
        decides=LATER_STAGES,
    )
    branches: int = setting(
        0,
        "Whole branches (residual ones, layers of dense blocks) that go at the beginning of stage "
        "2: those that are missed least for the macs that they save.",
        decides=LATER_STAGES,
    )
    gates_start: str = setting(
        "auto",
        "Where the gates begin. 'zero': s = 0, every channel halved, as in the paper. 'identity': "
        "s = start_logit, so that a trained network begins as it is, however deep. A criterion of "
        "channels: about start_logit, in the order that it gives the trained weights, the same "
        "share of each layer first; fading needs one. 'auto': l1 for fading, else zero.",
        ("auto", "zero", "identity", "l1", "l2", "gamma"),
        decides=LATER_STAGES,
    )
    start_logit: float = setting(
        6.0,
        "s of the channels at first, where they do not begin at 0 (fading has its own).",
        decides=LATER_STAGES,
    )
    stop_decided: bool = setting(
        False,
        "End stage 2 after the epoch in which every gate is within 1e-3 of 0 or 1.",
        decides=LATER_STAGES,
    )
    lambda_a: float = setting(
        1e-4, "λ_a of Eq. (4), times the sum of all gates.", decides=LATER_STAGES
    )
    penalty: str = setting(
        "channels",
        "What λ_a presses. 'channels': all alike, the plain sum of Eq. (4). A resource: each "
        "channel by what it costs of it, given how far its neighbours are open, where the mean of "
        "the full network is 1. latency_ms: by the latency table; bytes: those of the weights. "
        "Channels that fade to a target do so in proportion to it.",
        PENALTIES,
        decides=LATER_STAGES,
    )
    lambda_trials: int = setting(
        0,
        "With strategy='sequential' and a target: stage 2 is run up to so often, from the same "
        "weights, and λ_a bisected from one time to the next, until the gates by themselves come "
        "within 2 % of the target. 0: once, with λ_a as it is.",
        decides=LATER_STAGES,
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
    finetune: TrainConfig = setting(
        TrainConfig(epochs=130, schedule="piecewise", boundaries=(30.0, 80.0)),
        "Stage 3: the small network's weights.",
        decides=LATER_STAGES,
    )

    def __post_init__(self):
        self.check_gated(besides=None if self.penalty == "channels" else self.penalty)
        check_range(self, ("lambda_a",), 0)
        check_range(self, ("delta_max",), 1)
        check_range(self, ("start_logit",), 0, strict=True)
        if self.strategy == "fading" and not self.targets:
            raise UsageError(
                "strategy='fading' needs a target, such as target_macs='0.5x'. Received: none"
            )
        if self.fades and self.gates_start in ("zero", "identity"):
            raise UsageError(
                "strategy='fading' needs `gates_start` that orders the channels: auto, l1, l2 or "
                f"gamma. Received: gates_start={self.gates_start!r}"
            )

        self._check_branches()
        self._check_trials()
        check_total(self.total_epochs, self.weight_epochs, self.learning_epochs, self.finetune)

    def _check_branches(self) -> None:
        check_range(self, ("branches",), 0)
        if not self.branches:
            return
        if self.strategy == "joint" or self.streams == "groups":
            raise UsageError(
                "`branches` needs weights that are trained before, and a gate for each branch: "
                "another strategy than 'joint', and streams='branches'. Received: "
                f"strategy={self.strategy!r} and streams={self.streams!r}"
            )
        if self.order == "conv_gate_bn_relu":
            raise UsageError(
                "`branches` needs gates behind the BatchNormalization, whose shift a branch would "
                "leave behind: another `order`. Received: order='conv_gate_bn_relu'"
            )

    def _check_trials(self) -> None:
        check_range(self, ("lambda_trials",), 0)
        if not self.lambda_trials:
            return
        if self.strategy != "sequential" or not self.targets:
            raise UsageError(
                "`lambda_trials` needs strategy='sequential' and a target, such as "
                f"target_macs='0.5x'. Received: strategy={self.strategy!r} and "
                f"{'a target' if self.targets else 'no target'}"
            )
        if not self.lambda_a or not self.architecture.epochs:
            raise UsageError(
                "`lambda_trials` needs `lambda_a` above 0, to begin with, and "
                "`architecture_epochs` of 1 or more. Received: "
                f"lambda_a={self.lambda_a}, architecture_epochs={self.architecture.epochs}"
            )

    @property
    def weight_epochs(self) -> int:
        """Epochs of the weights' own stage, which strategy "joint" has not."""
        return 0 if self.strategy == "joint" else self.weights.epochs

    @property
    def learning_epochs(self) -> int:
        """Epochs of stage 2 at most."""
        if self.strategy == "joint":
            return self.weights.epochs + self.architecture.epochs
        return self.architecture.epochs * max(1, self.lambda_trials)

    @property
    def fades(self) -> bool:
        """Whether stage 2 is that of "fading"."""
        automatic = self.strategy == "auto" and bool(self.targets)
        return automatic or self.strategy == "fading"

    @property
    def first_order(self) -> str:
        """`gates_start`, "auto" being resolved."""
        if self.gates_start == "auto":
            return "l1" if self.fades else "zero"
        return self.gates_start

    def continued(self, start: int) -> TrainConfig:
        """`finetune` as a part of one schedule with a fading stage 2.

        Where `finetune` names a longer schedule (`schedule_epochs`), its `schedule_start` is the
        epoch of it with which stage 2 begins: the weights' stage may be the part before.

        Args:
            start: The epoch, counted from the beginning of stage 2, at which the part begins.
        """
        whole = self.finetune.schedule_epochs
        if whole:
            return self.finetune.part_of(whole, self.finetune.schedule_start + start)
        if self.total_epochs:
            return self.finetune.part_of(self.total_epochs - self.weight_epochs, start)
        return self.finetune.part_of(self.architecture.epochs + self.finetune.epochs, start)
