"""FGNAS' settings."""

from __future__ import annotations

import dataclasses

from keras_nas.choices import RESOURCES
from keras_nas.errors import UsageError
from keras_nas.search.gated_settings import GatedSettings, alignment
from keras_nas.search.registry import register
from keras_nas.search.total_epochs import check_total
from keras_nas.settings import LATER_STAGES, check_range, setting
from keras_nas.training.train_config import TrainConfig


@register("fgnas", method="keras_nas.search.fgnas.method.Fgnas")
@dataclasses.dataclass(frozen=True)
class FgnasConfig(GatedSettings):
    """FGNAS' settings; the stages' are the paper's for CIFAR-10 (section 4.2), channels only.

    What leads the gates to the target is ours by default: they start in the order of a criterion,
    close after a plan, and leave each layer a share, on any network. The paper's way is
    `start="even", min_share=0, steer="none", lambda_unit="one", gate_optimizer="sgd"`, with a λ and
    a learning rate of the gates that suit the network.

    Example:

    ```python
    FgnasConfig(target_flops="0.35x", weights=TrainConfig(epochs=0), search=TrainConfig(epochs=3))
    ```
    """

    order: str = setting(
        "conv_bn_relu_gate",
        "Where a gate stands. Behind the activation, as in the paper, a closed gate still hears "
        "from the task and may open again; before a ReLU it hears nothing.",
        ("conv_gate_bn_relu", "conv_bn_gate_relu", "conv_bn_relu_gate"),
    )
    kernels: tuple[int, ...] = setting(
        (), "Further kernel sizes of each convolution (Tab. 2); none and no activations: FGNAS (P)."
    )
    activations: tuple[str, ...] = setting(
        (), "Further activations of each convolution, of relu, prelu and tanh (Tab. 2)."
    )
    types: tuple[str, ...] = setting(
        (), "Further types of each convolution: 'depthwise' where it fits (Tab. 2)."
    )
    mix: str = setting(
        "all", "The convolutions that get further operations.", ("all", "normal", "depthwise")
    )
    entries: bool = setting(
        False,
        "A gated 1x1 convolution before the first convolution of each residual or dense block that "
        "follows an identity connection (section 3.4).",
    )
    pretrained: str = setting(
        "auto",
        "Whether the network that is widened comes with trained weights: 'yes' multiplies its own "
        "operations by M against the 1/M of Eq. (1), so that it starts as it was; 'no' takes the "
        "plain mean, as the paper does from scratch. 'auto': yes for a .keras file, and where the "
        "weight stage has 0 epochs.",
        ("auto", "yes", "no"),
    )
    prune_channels: bool = setting(
        True, "False: every channel of a mixed layer keeps an operation (type 1 of Tab. 7)."
    )
    multiple_operations: bool = setting(
        True, "False: every channel of a mixed layer has one operation at most (type 2 of Tab. 7)."
    )
    resource: str = setting(
        "flops",
        "The resource of R(ψ) where no target names one (Eq. 8).",
        RESOURCES,
        decides=LATER_STAGES,
    )
    resource_shape: tuple[int, ...] = setting(
        (), "Input shape (without batch) that costs are counted at, where the model leaves it open."
    )
    start: str = setting(
        "l1",
        "How the gates start: 'even', all alike, as in the paper; else in the order that a "
        "criterion of channels gives the trained weights, the same share of each layer first.",
        ("even", "l1", "l2", "gamma", "taylor"),
        decides=LATER_STAGES,
    )
    lambda_r: float = setting(
        0.0, "λ of Eq. (7), times R as lambda_unit has it.", decides=LATER_STAGES
    )
    lambda_unit: str = setting(
        "full",
        "What λ is for: 'one' unit of the resource (a param, a flop, a millisecond), as in the "
        "paper; 'full', all that the full network has, which suits networks of any size.",
        ("full", "one"),
        decides=LATER_STAGES,
    )
    steer: str = setting(
        "gates",
        "How the resource is led to the target, evenly over the search's epochs: 'gates' closes, "
        "every few steps, those that are nearest to closed, as many as the plan asks for; 'lambda' "
        "moves λ; 'none' leaves λ as it is, as in the paper.",
        ("gates", "lambda", "none"),
        decides=LATER_STAGES,
    )
    steer_gain: float = setting(
        1.0,
        "With steer='lambda': log λ grows by this times (R − plan) / R at the start, in each step.",
        decides=LATER_STAGES,
    )
    gate_optimizer: str = setting(
        "adam",
        "Optimizer of the gates' logits; the paper's is sgd, under which early ones wander most.",
        ("sgd", "adam"),
        decides=LATER_STAGES,
    )
    gate_learning_rate: float = setting(
        2e-4,
        "Learning rate of the gates' logits; with sgd, the paper's is 0.01.",
        decides=LATER_STAGES,
    )
    weights: TrainConfig = setting(
        TrainConfig(
            epochs=160, learning_rate=0.01, nesterov=True, schedule="piecewise",
            boundaries=(80.0, 120.0),
        ),
        "Step 2: the weights, without gates.",
    )  # fmt: skip
    search: TrainConfig = setting(
        TrainConfig(epochs=160, learning_rate=0.01, nesterov=True),
        "Step 3: weights and gates, until the target is reached, for so many epochs at most.",
        decides=LATER_STAGES,
    )
    align: str = alignment("pad")
    finetune: TrainConfig = setting(
        TrainConfig(
            epochs=160, learning_rate=0.01, nesterov=True, schedule="piecewise",
            boundaries=(80.0, 120.0),
        ),
        "Step 4: the small network's weights, the gates being fixed.", decides=LATER_STAGES,
    )  # fmt: skip

    def __post_init__(self):
        self.check_gated(self.resource)
        check_range(self, ("lambda_r", "steer_gain", "gate_learning_rate"), 0)
        if not (self.prune_channels and self.multiple_operations) and not self.mixes:
            raise UsageError(
                "`prune_channels` and `multiple_operations` may be False with `kernels`, "
                "`activations` or `types` only. Received: none of these"
            )
        if self.streams == "groups" and self.mixes:
            raise UsageError(
                "`streams` must be 'branches' with `kernels`, `activations`, `types` or `entries`, "
                "whose operations have gates of their own. Received: streams='groups'"
            )
        if self.steer == "lambda" and not self.targets:
            raise UsageError("`steer` needs a target. Received: steer='lambda' without one")
        check_total(self.total_epochs, self.weights.epochs, self.search.epochs, self.finetune)

    @property
    def mixes(self) -> bool:
        """Whether layers get further operations, or 1×1 entries."""
        return bool(self.kernels or self.activations or self.types or self.entries)

    def takes_trained(self, from_file: bool = False) -> bool:
        """Whether the network to widen has trained weights, as `pretrained` says.

        Args:
            from_file: Whether it was read from a file, rather than made anew.
        """
        if self.pretrained == "auto":
            return from_file or not self.weights.epochs
        return self.pretrained == "yes"
