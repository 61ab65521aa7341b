"""The settings of a training stage."""

from __future__ import annotations

import dataclasses

from keras_nas.errors import UsageError
from keras_nas.settings import check_choices, check_range, setting

SCHEDULES = ("constant", "piecewise", "cosine", "cosine_restarts", "linear")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How one stage is trained. Every field's meaning stands in its help text."""

    epochs: int = setting(100, "Passes over the training data.")
    optimizer: str = setting("sgd", "Optimizer of the stage.", ("sgd", "adam"))
    learning_rate: float = setting(0.1, "Learning rate (the first one, with a schedule).")
    schedule: str = setting("constant", "Learning-rate schedule.", SCHEDULES)
    boundaries: tuple[float, ...] = setting(
        (), "Epochs after which a piecewise learning rate is multiplied by the factor."
    )
    factor: float = setting(0.1, "Factor of a piecewise learning rate.")
    final_learning_rate: float = setting(0.0, "Last learning rate of a cosine or linear schedule.")
    warmup_epochs: float = setting(0.0, "Epochs of linear warm-up before a cosine schedule.")
    restart_epochs: float = setting(10.0, "Epochs of the first cycle of cosine restarts (T0).")
    restart_factor: float = setting(2.0, "Growth of each further cycle (Tmul).")
    schedule_epochs: float = setting(
        0.0, "Epochs that the schedule spans, this stage being a part of it; 0: the stage's own."
    )
    schedule_start: float = setting(
        0.0, "Epoch of the schedule with which the stage begins: it goes on where another stopped."
    )
    clip_norm: float = setting(0.0, "Global norm that gradients are clipped to; 0 for none.")
    accumulate_steps: int = setting(
        1, "Batches whose gradients are averaged for one step of the optimizer."
    )
    rematerialize: bool = setting(
        False, "Compute activations again for the gradients: less memory, more time."
    )
    momentum: float = setting(0.9, "Momentum of SGD.")
    nesterov: bool = setting(False, "Nesterov's form of the momentum.")
    epsilon: float = setting(1e-7, "ε of Adam, whose β are 0.9 and 0.999.")
    weight_decay: float = setting(
        1e-4, "λ_w: the loss gains λ_w / 2 · Σ‖W‖² over the kernels (or λ_w ‖W‖, see weight_norm)."
    )
    weight_norm: str = setting(
        "squared",
        "'squared': λ_w / 2 · Σ‖W‖², whose gradient λ_w W is SGD's usual weight decay. 'norm': "
        "λ_w ‖W‖₂ over all kernels as one vector, as DNAL's Alg. 1 prints it.",
        ("squared", "norm"),
    )

    def part_of(self, epochs: float, start: float = 0.0) -> TrainConfig:
        """The same with a schedule that spans several stages.

        Args:
            epochs: Of the whole schedule.
            start: The epoch of it with which this stage begins.
        """
        return dataclasses.replace(self, schedule_epochs=epochs, schedule_start=start)

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("epochs", "learning_rate", "momentum", "weight_decay", "clip_norm"), 0)
        check_range(self, ("accumulate_steps",), 1)
        check_range(self, ("schedule_epochs", "schedule_start"), 0)
        check_range(self, ("restart_epochs", "restart_factor", "epsilon"), 0, strict=True)
        if self.schedule == "piecewise" and not self.boundaries:
            raise UsageError(
                "`boundaries` must be given with schedule='piecewise'. Received: boundaries=()"
            )
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise UsageError(f"`boundaries` must rise. Received: boundaries={self.boundaries}")
