"""FGNAS: weights, then weights and gates under a resource budget, then surgery and finetuning."""

from __future__ import annotations

import dataclasses

import keras

from keras_nas import gates, surgery
from keras_nas.architecture import Architecture
from keras_nas.errors import KerasNasError
from keras_nas.layers import STEGate
from keras_nas.search.fgnas_config import FgnasConfig
from keras_nas.search.fgnas_stage import FgnasStage
from keras_nas.search.loop import run_stage
from keras_nas.search.method import Context, Method, search
from keras_nas.search.result import SearchResult
from keras_nas.search.session import Session
from keras_nas.search.settings import flatten
from keras_nas.search.stage import Data
from keras_nas.search.training import train
from keras_nas.tasks import Classification, Task


class Fgnas(Method):
    """FGNAS' four steps (section 4.2).

    Args:
        config: The settings; the paper's for CIFAR-10 by default.
    """

    name = "fgnas"

    def __init__(self, config: FgnasConfig | None = None):
        self.config = config or FgnasConfig()

    def make_supernet(self, model):
        """Step 1: a gated copy of `model`, widened as the settings say, gates off.

        It is `model` itself if that was born with gates.
        """
        supernet = model
        born_with_gates = any(isinstance(gate, STEGate) for gate in gates.find(model))
        if self.config.mixes and not born_with_gates:
            supernet = gates.widen(
                model,
                self.config.kernels,
                self.config.activations,
                self.config.types,
                mix=self.config.mix,
                entries=self.config.entries,
                include=list(self.config.include) or None,
                exclude=list(self.config.exclude) or None,
            )
        elif not born_with_gates:
            supernet = gates.insert(
                model,
                STEGate,
                order=self.config.order,
                include=list(self.config.include) or None,
                exclude=list(self.config.exclude) or None,
            )
        gates.set_mode(supernet, "off")
        return supernet

    def train_weights(self, supernet, context):
        """Step 2: the weights, with the gates off."""
        gates.set_mode(supernet, "off")
        return self._train("weights", supernet, self.config.weights, context)

    def learn(self, supernet, context):
        """Step 3: weights and gates together; the gates end in mode "hard".

        Raises:
            KerasNasError: If the target is out of reach, or the epochs end before it is reached.
        """
        stage = FgnasStage(supernet, context.train, context.validation, context.task, self.config)
        records = run_stage(stage, context.session)
        surgery.rescue(supernet)
        gates.set_mode(supernet, "hard")
        if stage.target is not None and not stage.is_met():
            what = stage.resource.what
            raise KerasNasError(
                f"`target_{what}`={stage.target:,.6g} was not reached in "
                f"{stage.epochs} epochs of the search: {stage.measured():,.6g} are left. "
                "Raise `lambda_r`, "
                "`gate_learning_rate` or `search_epochs`, or let `steer` find λ."
            )
        return records

    def architecture(self, supernet, seed=None, source=None):
        """What the hard gates keep; they are set to it where `round_to` changes their masks."""
        architecture = Architecture.from_gates(
            supernet,
            method=self.name,
            source=source,
            settings=flatten(self.config),
            seed=seed,
            round_to=self.config.round_to,
            align=self.config.align,
        )
        if self.config.round_to > 1:
            gates.apply(supernet, architecture)
        return architecture

    def rebuild(self, supernet, architecture):
        return surgery.build(supernet, architecture, align=self.config.align)

    def original(self, supernet):
        return surgery.build(supernet, None)

    def finetune(self, small, context, name="finetune"):
        """Step 4: the small network's weights, which is the gated one's with its gates fixed."""
        return self._train(name, small, self.config.finetune, context)

    def _train(self, name, model, config, context):
        return train(
            model, context.train, context.validation, config,
            task=context.task, session=context.session, name=name,
        )  # fmt: skip


def fgnas(
    model: keras.Model,
    train_data: Data,
    validation_data: Data | None = None,
    config: FgnasConfig | None = None,
    *,
    task: Task | None = None,
    session: Session | None = None,
) -> SearchResult:
    """Learns which channels (or operations) a network needs under a budget, and rebuilds it.

    The steps of section 4.2: weights without gates; weights and gates together until the target is
    reached; surgery and finetuning. `model` is not changed (unless it was born with gates). Call it
    in a `tf.distribute` strategy's scope to use its replicas.

    Example:

    ```python
    config = keras_nas.search.FgnasConfig(target_flops="0.5x", lambda_r=1e-8)
    result = keras_nas.search.fgnas(model, train_data, validation_data, config)
    result.small.save("small.keras")
    ```

    Args:
        model: A functional or Sequential model with one input, or a supernet with `STEGate`s, such
            as `keras_nas.gates.widen` makes.
        train_data: A `tf.data.Dataset` of batches `(inputs, targets)`, or what gives one for each
            epoch; see `keras_nas.search.stage.Data`.
        validation_data: Evaluated after each epoch; None for none.
        config: The settings.
        task: Loss and metrics; by default classification by the model's output.
        session: Where to write, resuming, progress; by default nothing is written.

    Returns:
        A `SearchResult`.

    Raises:
        KerasNasError: If the model cannot be gated, the target is out of reach or not reached, or
            as in `run_stage`.

    References:
        Kim et al., Fine-Grained Neural Architecture Search, section 4.2.
    """
    method = Fgnas(config)
    session = session or Session()
    if not session.settings:
        session = dataclasses.replace(session, settings=flatten(method.config))
    context = Context(
        task or Classification.of(model), train_data, validation_data, session=session
    )
    return search(method, model, context)
