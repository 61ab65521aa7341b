"""FGNAS: weights, then weights and gates under a resource budget, then surgery and finetuning."""

from __future__ import annotations

import logging

import keras

from keras_nas import gates
from keras_nas.errors import UsageError
from keras_nas.layers import STEGate
from keras_nas.search.fgnas.config import FgnasConfig
from keras_nas.search.fgnas.stage import FgnasStage
from keras_nas.search.method import GatedMethod, SearchResult, search
from keras_nas.tasks import Task
from keras_nas.training.loop import run_stage
from keras_nas.training.session import Session
from keras_nas.training.stage import Data

logger = logging.getLogger(__name__)


class Fgnas(GatedMethod):
    """FGNAS' four steps (section 4.2); 2, the weights, and 4, finetuning, are `GatedMethod`'s.

    Args:
        config: The settings; the paper's for CIFAR-10 by default.
    """

    name = "fgnas"
    remedy = (
        "Take a milder target, or lower `lambda_r` and `gate_learning_rate` so that the weights "
        "keep up with the gates."
    )
    gate = STEGate

    def __init__(self, config: FgnasConfig | None = None):
        self.config = config or FgnasConfig()

    def put_gates(self, model, from_file=False):
        """Step 1: gates in `model`, which is widened first as the settings say."""
        if not self.config.mixes:
            return super().put_gates(model, from_file)
        return gates.widen(
            model,
            self.config.kernels,
            self.config.activations,
            self.config.types,
            mix=self.config.mix,
            entries=self.config.entries,
            pretrained=self.config.takes_trained(from_file),
            include=list(self.config.include) or None,
            exclude=list(self.config.exclude) or None,
        )

    def check(self, supernet, context, source=None):
        """The latency table has every condition; the target can be reached, and is one."""
        stage = FgnasStage(supernet, context.train_data, None, context.task, self.config)
        stage.check_reachable()
        if stage.target is not None and not stage.epochs:
            names = " and ".join(f"`target_{what}`" for what in self.config.targets)
            raise UsageError(
                f"{names} needs `search_epochs` of 1 or more. Received: search_epochs=0"
            )

    def learn(self, supernet, context):
        """Step 3: weights and gates together; the gates end in mode "hard", within the target."""
        stage = FgnasStage(
            supernet, context.train_data, context.validation_data, context.task, self.config
        )
        records = run_stage(stage, context.session)
        stage.mend()
        gates.set_mode(supernet, "hard")
        if stage.target is None:
            return records
        if not stage.is_met():
            what, left, target = stage.excess()
            logger.warning(
                "The search left %s of `target_%s`=%s, %.1f %% more: the channels nearest to "
                "closed are closed too. (A greater `lambda_r` or `gate_learning_rate`, more "
                "`search_epochs` or steer='gates' lets the search close them.)",
                f"{left:,.6g}", what, f"{target:,.6g}", 100 * (left / target - 1),
            )  # fmt: skip
            stage.land()
        elif self.config.steer == "gates":
            stage.land()
        return records


def fgnas(
    model: keras.Model,
    train_data: Data,
    *,
    validation_data: Data | None = None,
    config: FgnasConfig | None = None,
    task: Task | None = None,
    session: Session | None = None,
) -> SearchResult:
    """Learns which channels (or operations) a network needs under a budget, and rebuilds it.

    The steps of section 4.2: weights without gates; weights and gates together until the target is
    reached; surgery and finetuning. `model` is not changed (unless it was born with gates). Call it
    in a `tf.distribute` strategy's scope to use its replicas.

    Example:

    ```python
    config = keras_nas.search.FgnasConfig(target_flops="0.5x")
    result = keras_nas.search.fgnas(
        model, train_data, validation_data=validation_data, config=config
    )
    result.small.save("small.keras")
    ```

    Args:
        model: A functional or Sequential model with one input, or a supernet with `STEGate`s, such
            as `keras_nas.gates.widen` makes. Where the configuration widens it, `config.pretrained`
            says whether its weights are trained ("auto": if there is no weight stage).
        train_data: A `tf.data.Dataset` of batches `(inputs, targets)`, or what gives one for each
            epoch; see `keras_nas.training.stage.Data`.
        validation_data: Evaluated after each epoch; None for none.
        config: The settings.
        task: Loss and metrics; by default classification by the model's output.
        session: Where to write, resuming, progress; by default nothing is written.

    Returns:
        A `SearchResult`.

    Raises:
        KerasNasError: If the model cannot be gated, the target is out of reach, or as in
            `run_stage`.
        DeadNetworkError: If the network that is left is no better than a constant.

    References:
        Kim et al., Fine-Grained Neural Architecture Search, section 4.2.
    """
    return search(
        Fgnas(config), model, train_data, validation_data=validation_data, task=task,
        session=session,
    )  # fmt: skip
