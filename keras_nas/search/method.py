"""What every search method is: four stages over a supernet, in memory or through a run's files.

`search` runs a method in memory; keras_nas/runs runs its stages through a run's files.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_nas import gates, surgery
from keras_nas.architecture import Architecture
from keras_nas.layers import Gate
from keras_nas.search.align_prices import prices_of
from keras_nas.search.dead_network import check_alive
from keras_nas.search.total_epochs import within_total
from keras_nas.settings import flatten
from keras_nas.statistics import reestimate
from keras_nas.tasks import Classification, Task
from keras_nas.training.distill_config import DistillConfig
from keras_nas.training.distillation import layer_outputs
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.session import Session
from keras_nas.training.stage import Data, MixedData, epoch_of
from keras_nas.training.trainer import TrainConfig, train

Records = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Context:
    """What a method's stages work on.

    Attributes:
        task: Loss and metrics.
        train_data: Batches to learn from; see `keras_nas.training.stage.Data`.
        validation_data: Evaluated after each epoch; None for none.
        structure_data: DSO's D_λ; None where a method learns all from `train_data`.
        session: Where to write, resuming, progress.
        teacher: The network that finetuning learns from, where `Method.distill` says how.
        learned: The epochs that `Method.learn` took, for `total_epochs`.
    """

    task: Task
    train_data: Data
    validation_data: Data | None = None
    structure_data: Data | None = None
    session: Session = dataclasses.field(default_factory=Session)
    teacher: keras.Model | None = None
    learned: int | None = None

    def all_data(self) -> Data:
        """What there is to train weights on: `train_data` and `structure_data`, evenly mixed."""
        if self.structure_data is None:
            return self.train_data
        return MixedData(self.train_data, self.structure_data)


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    Attributes:
        supernet: The gated network as the search left it, gates in mode "hard".
        architecture: What is kept, with the costs before and after.
        small: The rebuilt network of stock layers, finetuned where the method does so.
        history: One record an epoch of each stage, in order, and one for the surgery:
            `{"stage", "epoch", "loss", "top1", "val_top1", ...}`.
    """

    supernet: keras.Model
    architecture: Architecture
    small: keras.Model
    history: Records


class Method(abc.ABC):
    """A search method with its configuration.

    To add one, give its stages here (each with `run_stage` or `train`), and enter it with its
    configuration by `keras_nas.search.registry.register`.

    Attributes:
        name: The method's name, as in `Architecture.method`.
        learns_in: The stage of `learn`, as its records name it.
        remedy: What to do about a search that left too little, for messages.
        config: A frozen dataclass of settings.
    """

    name: str
    remedy: str
    config: Any
    learns_in: str = "architecture"

    @abc.abstractmethod
    def make_supernet(self, model: keras.Model, from_file: bool = False) -> keras.Model:
        """The network that the search works on.

        Args:
            model: The network to search in; not changed, unless it was born a supernet.
            from_file: Whether it was read from a file, and so has weights that somebody trained.
        """

    def check(  # noqa: B027
        self,
        supernet: keras.Model,
        context: Context,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        """Finds out what can be known to go wrong, before any stage; changes nothing.

        Args:
            supernet: What `make_supernet` gave.
            context: What the stages will work on.
            source: Where the model comes from, as the `Architecture` will record it.

        Raises:
            KerasNasError: The settings ask for what this network or data cannot give.
        """

    def bare(self, model: keras.Model) -> keras.Model:
        """The network without gates that `make_supernet` is given: `model`, if it has none."""
        return self.original(self.make_supernet(model)) if gates.find(model) else model

    @abc.abstractmethod
    def train_weights(self, supernet: keras.Model, context: Context) -> Records:
        """Trains the weights of the full network."""

    @abc.abstractmethod
    def learn(self, supernet: keras.Model, context: Context) -> Records:
        """Learns what is kept; ends with the supernet as surgery sees it (gates hard)."""

    def summary(self, records: Records) -> dict[str, Any]:
        """What a run's results.json keeps of `learn`, given its records."""
        return {}

    @abc.abstractmethod
    def architecture(
        self,
        supernet: keras.Model,
        seed: int | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Architecture:
        """What the supernet keeps; `seed` and `source` are recorded as they are."""

    @abc.abstractmethod
    def rebuild(self, supernet: keras.Model, architecture: Architecture) -> keras.Model:
        """The small network of stock layers."""

    @abc.abstractmethod
    def original(self, supernet: keras.Model) -> keras.Model:
        """The full network with the supernet's weights, of stock layers."""

    def renew_statistics(self, small: keras.Model, context: Context) -> bool:
        """Readies the small network's moving statistics for finetuning, in place.

        Returns:
            Whether it did anything.
        """
        return False

    def retrained(self, small: keras.Model, architecture: Architecture) -> keras.Model:
        """The network that `finetune` trains: the small one, or a new one of its structure."""
        return small

    @abc.abstractmethod
    def finetune(self, small: keras.Model, context: Context, name: str = "finetune") -> Records:
        """Trains the small network, in place, in a stage of that name."""

    @property
    def distill(self) -> DistillConfig | None:
        """How `finetune` learns from the original network besides; None for not at all."""
        config = getattr(self.config, "finetune_distill", None)
        return config if config is not None and config.on else None

    def train(
        self,
        name: str,
        model: keras.Model,
        config: TrainConfig,
        context: Context,
        distill: DistillConfig | None = None,
    ) -> Records:
        """Trains all the weights of a network, in place, in a stage of that name.

        Args:
            name: The stage's name.
            model: The network.
            config: The settings.
            context: The data; its teacher counts with `distill` only.
            distill: How the network learns from the teacher; None for not at all.
        """
        return train(
            model, context.all_data(), context.validation_data, config,
            task=context.task, session=context.session, name=name,
            teacher=context.teacher if distill else None, distill=distill,
        )  # fmt: skip

    def random_baselines(
        self, small: keras.Model, architecture: Architecture, seed: int
    ) -> Iterator[tuple[str, keras.Model]]:
        """Networks to be trained as `small` was, to compare with: each with its name."""
        return iter(())


class GatedMethod(Method):
    """A method that puts gates into the user's network and finetunes what surgery leaves of it.

    Its configuration is a `GatedSettings` that has `order`, `weights` and `finetune` besides.

    Attributes:
        gate: The kind of its gates.
    """

    gate: type[Gate]

    def make_supernet(self, model, from_file=False):
        """The gated copy of `model`, gates off; `model` itself if it was born with gates."""
        born_with_gates = any(isinstance(gate, self.gate) for gate in gates.find(model))
        supernet = model if born_with_gates else self.put_gates(model, from_file)
        gates.set_mode(supernet, "off")
        return supernet

    def put_gates(self, model: keras.Model, from_file: bool = False) -> keras.Model:
        """A gated copy of a network that has no gates."""
        return gates.insert(
            model,
            self.gate,
            order=self.config.order,
            include=list(self.config.include) or None,
            exclude=list(self.config.exclude) or None,
            streams=surgery.streams(model) if self.config.streams == "groups" else (),
        )

    def train_weights(self, supernet, context):
        """The weights, with the gates off."""
        gates.set_mode(supernet, "off")
        return self.train("weights", supernet, self.config.weights, context)

    def architecture(self, supernet, seed=None, source=None):
        """What the hard gates keep; they are set to it where `round_to` changes their masks."""
        architecture = Architecture.from_gates(
            supernet,
            method=self.name,
            source=source,
            settings=flatten(self.config),
            seed=seed,
            round_to=self.config.round_to,
            round_streams=self.config.round_streams,
            align=self.config.align,
            prices=prices_of(self.config),
            formats=self.config.forms_of("bytes"),
            arenas=self.config.forms_of("ram"),
        )
        if self.config.round_to > 1:
            gates.apply(supernet, architecture)
        return architecture

    def rebuild(self, supernet, architecture):
        prices = prices_of(self.config)
        return surgery.build(supernet, architecture, align=self.config.align, prices=prices)

    def original(self, supernet):
        return surgery.build(supernet, None)

    def renew_statistics(self, small, context, lagging_after=None):
        """Re-estimates them on the first `reestimate_batches` of the training data.

        Args:
            small, context: As in `Method.renew_statistics`.
            lagging_after: As in `keras_nas.statistics.reestimate`.
        """
        batches = self.config.reestimate_batches
        if not batches:
            return False
        data = epoch_of(context.all_data(), 0)
        return bool(reestimate(small, data, batches, lagging_after=lagging_after))

    @property
    def finetuning(self) -> TrainConfig:
        """How `finetune` trains, but for the epochs that `total_epochs` leaves it."""
        return self.config.finetune

    @property
    def weight_epochs(self) -> int:
        """Epochs of `train_weights`."""
        return self.config.weights.epochs

    def finetune(self, small, context, name="finetune"):
        """Trains the small network's weights, which are the gated one's; nothing for 0 epochs.

        Where `reestimate_batches` is given, statistics that lag behind a short training (at a
        momentum of 0.999, say) are re-estimated at its end.
        """
        total, before = self.config.total_epochs, self.weight_epochs
        training = within_total(self.finetuning, total, before, context.learned)
        records = self.train(name, small, training, context, self.distill)
        steps = sum(record["steps"] for record in records)
        if steps and self.renew_statistics(small, context, lagging_after=steps):
            records[-1].update(evaluation("reestimated", small, context))
        return records


def search(
    method: Method,
    model: keras.Model,
    train_data: Data,
    *,
    validation_data: Data | None = None,
    structure_data: Data | None = None,
    task: Task | None = None,
    session: Session | None = None,
    source: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Runs a method from a model to a small network, in memory.

    Args:
        method: The method.
        model: A functional or Sequential model, or a supernet that was born with gates.
        train_data, validation_data, structure_data: As in `Context`.
        task: Loss and metrics; by default classification by the model's output.
        session: Where to write, resuming, progress; by default nothing is written. Without
            settings of its own, checkpoints are bound to the method's.
        source: Where the model comes from, for the `Architecture`.

    Raises:
        DeadNetworkError: If what the search found is no better than a constant.
    """
    session = session or Session()
    if not session.settings:
        session = dataclasses.replace(session, settings=flatten(method.config))
    task = task or Classification.of(model)
    context = Context(task, train_data, validation_data, structure_data, session)
    with tf.distribute.get_strategy().scope():
        supernet = method.make_supernet(model)
        method.check(supernet, context, source)
        check_features(method, supernet)
    history = method.train_weights(supernet, context)
    if method.distill is not None:
        with tf.distribute.get_strategy().scope():
            context = dataclasses.replace(context, teacher=method.original(supernet))
    history += (learned := method.learn(supernet, context))
    context = dataclasses.replace(context, learned=len(learned))
    architecture = method.architecture(supernet, source=source)
    with tf.distribute.get_strategy().scope():
        small = method.rebuild(supernet, architecture)
    record = surgery_record(supernet, small, context)
    value = record.get(f"val_{context.task.monitor}")
    check_result(method, supernet, architecture, context, validation_data, value, history)
    with tf.distribute.get_strategy().scope():
        if method.renew_statistics(small, context):
            record.update(evaluation("reestimated", small, context))
        small = method.retrained(small, architecture)
    history.append(record)
    history += method.finetune(small, context)
    return SearchResult(supernet, architecture, small, history)


def check_features(method: Method, supernet: keras.Model) -> None:
    """Looks for the layers that the finetuning learns from, before anything is trained.

    Raises:
        UsageError: The original network lacks one.
    """
    if method.distill is not None and method.distill.features:
        layer_outputs(method.original(supernet), method.distill.features)


def check_result(
    method: Method,
    supernet: keras.Model,
    architecture: Architecture,
    context: Context,
    held_out: Data | None,
    value: float | None,
    records: Records,
) -> None:
    """Refuses a found network that is no better than a constant; see `check_alive`."""
    check_alive(
        lambda: method.rebuild(supernet, architecture), architecture, context.task,
        context.train_data, held_out, value=value, records=records, remedy=method.remedy,
    )  # fmt: skip


def surgery_record(supernet: keras.Model, small: keras.Model, context: Context) -> dict[str, Any]:
    """The record of a surgery: the gated network's evaluation beside the small network's."""
    record: dict[str, Any] = {"stage": "surgery", "epoch": 0}
    for prefix, model in (("gated", supernet), ("val", small)):
        record.update(evaluation(prefix, model, context))
    return record


def evaluation(prefix: str, model: keras.Model, context: Context) -> dict[str, float]:
    """Loss and metrics on the validation data, their names begun with `prefix`; {} without it."""
    if context.validation_data is None:
        return {}
    values = Evaluator(model, context.task, context.validation_data)()
    return {f"{prefix}_{name}": value for name, value in values.items()}
