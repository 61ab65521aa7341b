"""DNAL: weights first, then gates by annealing a scaled sigmoid, then surgery and finetuning."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_nas import gates, surgery
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.search.dnal_branches import check_branches, learn_shorter
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.dnal_fading import FadingStage
from keras_nas.search.dnal_penalty import make_penalty
from keras_nas.search.dnal_stages import GateStage, JointStage
from keras_nas.search.dnal_target import check_reachable, land_on_target
from keras_nas.search.dnal_trials import TrialsStage, distance
from keras_nas.search.method import GatedMethod, SearchResult, search
from keras_nas.search.steering import steering
from keras_nas.tasks import Task
from keras_nas.training.loop import run_stage
from keras_nas.training.session import Session
from keras_nas.training.stage import Data, inputs_of


class Dnal(GatedMethod):
    """DNAL's three stages (Alg. 1); lines 9 to 11 are those of `GatedMethod`.

    Args:
        config: The settings; the paper's by default.
    """

    name = "dnal"
    remedy = (
        "Give a target (`target_macs`=0.5x, say): then channels fade until it is met. Without one, "
        "lower `lambda_a`, or give the gates' stage a lower learning rate or fewer epochs."
    )
    gate = ScaledSigmoidGate

    def __init__(self, config: DnalConfig | None = None):
        self.config = config or DnalConfig()
        if self.config.strategy == "joint":
            self.learns_in = "joint"

    def check(self, supernet, context, source=None):
        """The targets can be reached, and counted while channels fade; each channel has a price."""
        make_penalty(supernet, self.config)
        if self.config.branches:
            check_branches(supernet, self)
        if self.config.targets:
            check_reachable(supernet, self.config)
            if self.config.fades:
                steering(supernet, self.config)

    def train_weights(self, supernet, context):
        """Lines 1 to 4: the weights, with the gates off; nothing with strategy "joint"."""
        if self.config.strategy == "joint":
            return []
        return super().train_weights(supernet, context)

    def learn(self, supernet, context):
        """Lines 5 to 8: the gates, which end in mode "hard".

        Under strategy "fading" the weights learn beside them; see `FadingStage`.

        A group that would lose its last channel with no way round it keeps its best, and more where
        the network would not tell the first training batch's inputs apart. With targets, the
        channels with the highest s stay, as many as all of them allow; with `lambda_trials`, those
        that a trial left which met them. With `branches`, all of this is done in the network
        without them; see `learn_shorter`.
        """
        if self.config.branches:
            return learn_shorter(self, supernet, context)
        stage = self._stage()(
            supernet, context.train_data, context.validation_data, context.task, self.config
        )
        records = run_stage(stage, context.session)
        if isinstance(stage, TrialsStage):
            stage.land()
        elif self.config.targets:
            land_on_target(supernet, self.config)
        surgery.rescue(supernet, inputs_of(context.train_data))
        gates.set_mode(supernet, "hard")
        return records

    def _stage(self) -> Callable[..., GateStage]:
        if self.config.fades:
            return FadingStage
        if self.config.lambda_trials:
            return TrialsStage
        return JointStage if self.config.strategy == "joint" else GateStage

    @property
    def weight_epochs(self):
        return self.config.weight_epochs

    @property
    def finetuning(self):
        """Under "fading" along the schedule that stage 2 began."""
        if self.config.fades:
            return self.config.continued(self.config.architecture.epochs)
        return super().finetuning

    def summary(self, records):
        """Under "gates": how many channels there are and stay, and δ at the end; of trials, those
        of the nearest."""
        if not records:
            return {}
        judged = [record for record in records if "of_target" in record]
        found = min(judged, key=lambda r: distance(r["of_target"]), default=records[-1])
        return {"gates": {name: found[name] for name in ("channels", "kept", "undecided", "delta")}}


def dnal(
    model: keras.Model,
    train_data: Data,
    *,
    validation_data: Data | None = None,
    config: DnalConfig | None = None,
    task: Task | None = None,
    session: Session | None = None,
) -> SearchResult:
    """Learns which channels a network needs, rebuilds it without the others, and finetunes it.

    The three stages of Alg. 1: weights with the gates off; gates with everything else frozen,
    while δ grows; surgery and finetuning. With a target in `config`, channels fade in stage 2
    until it is met, while the weights learn on (`FadingStage`); a trained deep network needs that.
    `model` is not changed (unless it was born with gates). Call it in a `tf.distribute` strategy's
    scope to use its replicas.

    Example:

    ```python
    from keras_nas.search import DnalConfig, TrainConfig

    config = DnalConfig(
        target_macs="0.5x",
        weights=TrainConfig(epochs=0),  # where `model` is trained
        architecture=TrainConfig(epochs=4),
        finetune=TrainConfig(epochs=4, learning_rate=0.05, schedule="cosine"),
    )
    result = keras_nas.search.dnal(
        model, train_data, validation_data=validation_data, config=config
    )
    result.small.save("small.keras")
    ```

    Args:
        model: A functional or Sequential model with one input, or a supernet with gates.
        train_data: A `tf.data.Dataset` of batches `(inputs, targets)`, or what gives one for each
            epoch; see `keras_nas.training.stage.Data`.
        validation_data: Evaluated after each epoch; None for none.
        config: The settings; the paper's by default.
        task: Loss and metrics; by default classification by the model's output.
        session: Where to write, resuming, progress; by default nothing is written.

    Returns:
        A `SearchResult`.

    Raises:
        KerasNasError: If the model cannot be gated, or as in `run_stage`.
        DeadNetworkError: If the network that is left is no better than a constant.

    References:
        Guo et al., Differentiable Neural Architecture Learning for Efficient Neural Network Design,
        Alg. 1.
    """
    return search(
        Dnal(config), model, train_data, validation_data=validation_data, task=task, session=session
    )
