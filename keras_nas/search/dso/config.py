"""DSO's settings."""

from __future__ import annotations

import dataclasses

from keras_nas.errors import UsageError
from keras_nas.search.gated_settings import alignment, alignment_prices
from keras_nas.search.registry import register
from keras_nas.search.total_epochs import check_total, total_epochs
from keras_nas.settings import LATER_STAGES, check_choices, check_range, setting
from keras_nas.targets import Target, is_given, parse_target
from keras_nas.training.distill_config import DistillConfig
from keras_nas.training.train_config import TrainConfig

BUDGETS = ("none", "flops", "mac", "latency")


@register("dso", method="keras_nas.search.dso.method.Dso")
@dataclasses.dataclass(frozen=True)
class DsoConfig:
    """DSO-NAS' settings; the defaults are the paper's for CIFAR-10 (section 4.2).

    Example:

    ```python
    DsoConfig(gamma=5e-3, weights=TrainConfig(epochs=5, nesterov=True), patience=3)
    ```
    """

    weights: TrainConfig = setting(
        TrainConfig(epochs=120, nesterov=True, weight_decay=3e-4),
        "Stage 1: the full network's weights, on D_w.",
    )
    architecture: TrainConfig = setting(
        TrainConfig(epochs=120, nesterov=True, weight_decay=3e-4),
        "Stage 2: edges and weights in turn (Alg. 1); its settings are the weights'.",
        decides=LATER_STAGES,
    )
    gamma: float = setting(1e-3, "γ: weight of the edges' L1 norm (Eq. 9).", decides=LATER_STAGES)
    edge_macs: float | str = setting(
        0.0,
        "Macs that the edges come down to in stage 2, or a share of the supernet's as 0.4x, γ "
        "being steered from where it begins; the epochs are as many as that may take. 0: γ as it "
        "is. (target_macs is for the widths, which are solved for after it.)",
        decides=LATER_STAGES,
    )
    gamma_0: float = setting(0.0, "γ₀ of --adaptive=latency (Eq. 19).", decides=LATER_STAGES)
    gamma_growth: float = setting(
        1.0,
        "γ is multiplied by this after each epoch; above 1 it drives a search to its end.",
        decides=LATER_STAGES,
    )
    adaptive: str = setting(
        "none", "Budget that adapts γ to each edge (Eq. 17 to 19).", BUDGETS, decides=LATER_STAGES
    )
    latency_table: str = setting(
        "", "JSON of apps.profile_latency, for --adaptive=latency.", decides=LATER_STAGES
    )
    interpolate: bool = setting(
        False, "Take the nearest condition that the table has.", decides=LATER_STAGES
    )
    edge_learning_rate: float = setting(
        0.0, "η of the edges; 0 for the weights' learning rate.", decides=LATER_STAGES
    )
    edge_momentum: float = setting(
        0.0,
        "Constant μ of APG-NAG (0.9 in the authors' code); 0 for (t − 2) / (t + 1).",
        decides=LATER_STAGES,
    )
    clip_lookahead: bool = setting(
        False, "Keep λ' at 0 or above, as the authors' code does.", decides=LATER_STAGES
    )
    split_ratio: str = setting(
        "1:1", "D_w : D_λ, in examples and in steps: 1:1 for CIFAR-10, 4:1 for ImageNet."
    )
    split: bool = setting(
        True, "Learn edges on D_λ, apart from D_w; False: both on all data (Table 7)."
    )
    stop: str = setting(
        "stable",
        "'stable': when the live edges have been the same for `patience` epochs. 'one_operation': "
        "when each block of parallel operations is down to one (section 4.3), which then stays.",
        ("stable", "one_operation"),
        decides=LATER_STAGES,
    )
    patience: int = setting(
        10,
        "Epochs of the same live edges that end stage 2; 0 for all epochs.",
        decides=LATER_STAGES,
    )
    hold_bn_scale: bool = setting(
        True, "Hold the scales of BatchNormalization (at 1 when new) in the first two stages."
    )
    align: str = alignment("auto")
    align_prices: str = alignment_prices()
    from_scratch: bool = setting(
        True,
        "Stage 3 trains from new weights, without scales; False: from the search's.",
        decides=LATER_STAGES,
    )
    target_macs: float = setting(
        0.0, "Macs that the widths are solved for before stage 3; 0: keep.", decides=LATER_STAGES
    )
    target_params: float = setting(
        0.0, "Params that the widths are solved for; 0: keep.", decides=LATER_STAGES
    )
    dropout: float = setting(
        0.6, "Dropout before the classifier in stage 3 (DSO's own spaces).", decides=LATER_STAGES
    )
    drop_path: float = setting(
        0.5, "Drop path of the blocks in stage 3 (DSO's own spaces).", decides=LATER_STAGES
    )
    auxiliary_weight: float = setting(
        0.4,
        "Weight of the auxiliary tower behind the second last stage; 0 for no tower.",
        decides=LATER_STAGES,
    )
    random_networks: int = setting(
        0,
        "Random networks of the space, of the same macs, to train like the found one.",
        decides=LATER_STAGES,
    )
    finetune: TrainConfig = setting(
        TrainConfig(
            epochs=630,
            learning_rate=0.05,
            schedule="cosine_restarts",
            final_learning_rate=0.001,
            nesterov=True,
            weight_decay=3e-4,
        ),
        "Stage 3: the found network's weights, on all data.",
        decides=LATER_STAGES,
    )
    total_epochs: int = total_epochs()
    finetune_distill: DistillConfig = setting(
        DistillConfig(),
        "What the last stage learns from the network as it was before the search.",
        decides=LATER_STAGES,
    )

    def __post_init__(self):
        check_choices(self)
        check_range(
            self,
            ("gamma", "gamma_0", "edge_learning_rate", "patience"),
            0,
        )
        check_range(self, ("edge_momentum", "dropout", "drop_path", "auxiliary_weight"), 0)
        check_range(self, ("gamma_growth",), 1)
        check_range(self, ("random_networks",), 0)
        for name in ("edge_momentum", "dropout", "drop_path"):
            if getattr(self, name) >= 1:
                raise UsageError(
                    f"`{name}` must be below 1. Received: {name}={getattr(self, name)}"
                )
        check_total(self.total_epochs, self.weights.epochs, self.architecture.epochs, self.finetune)
        if is_given(self.edge_macs):
            parse_target("edge_macs", self.edge_macs)
            if not self.gamma or not self.architecture.epochs:
                raise UsageError(
                    "`edge_macs` needs `gamma` above 0, to begin with, and `architecture_epochs` "
                    f"of 1 or more. Received: gamma={self.gamma}, "
                    f"architecture_epochs={self.architecture.epochs}"
                )
        parse_ratio(self.split_ratio)
        targets = self.targets()
        if self.adaptive == "latency" and not self.latency_table:
            raise UsageError(
                "`latency_table` must be given with adaptive='latency'. Received: latency_table=''"
            )
        if len(targets) > 1:
            raise UsageError(
                "One of `target_macs` and `target_params` may be given. Received: both"
            )

    def targets(self) -> dict[str, Target]:
        """The target that is given, by its cost; a network may grow to it."""
        values = {cost: getattr(self, f"target_{cost}") for cost in ("macs", "params")}
        return {
            cost: parse_target(f"target_{cost}", value, largest_share=float("inf"))
            for cost, value in values.items()
            if is_given(value)
        }


def parse_ratio(ratio: str) -> tuple[int, int]:
    """`"4:1"` as (4, 1), in lowest terms.

    Raises:
        UsageError: If it is not two whole numbers from 1 on.
    """
    first, _, second = str(ratio).partition(":")
    if not (first.isdecimal() and second.isdecimal() and int(first) and int(second)):
        raise UsageError(
            f"`split_ratio` must be two whole numbers such as 4:1. Received: {ratio!r}"
        )
    x, y = int(first), int(second)
    divisor = next(d for d in range(min(x, y), 0, -1) if x % d == 0 and y % d == 0)
    return x // divisor, y // divisor
