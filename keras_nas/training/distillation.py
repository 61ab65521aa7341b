"""Learning from a teacher: a network's outputs, and features of it, as a part of the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_nas.errors import UsageError
from keras_nas.tasks.task import Task, shown_shape
from keras_nas.training.distill_config import DistillConfig
from keras_nas.training.step import Losses, global_mean


class Distillation:
    """What a teacher adds to each training step of a network.

    The teacher runs in inference mode, outside the gradient; nothing of it is saved or changed.

    Args:
        teacher: The network to learn from, with the inputs and outputs of `model`.
        model: The network that learns; of several outputs the first counts.
        task: Its `distill_loss` is the distance of outputs.
        config: The settings, which are on.

    Raises:
        UsageError: If the two do not have the same inputs and outputs, or lack a layer of
            `config.features`.
    """

    def __init__(self, teacher: keras.Model, model: keras.Model, task: Task, config: DistillConfig):
        for what in ("inputs", "outputs"):
            _check_shapes(what, teacher, model)
        task.check_teacher(teacher, model)
        self.teacher = teacher
        self.task = task
        self.config = config
        self._teacher = _with_features(teacher, config.features)
        self._model = _with_features(model, config.features)
        for name, own, taught in zip(
            config.features, layer_outputs(model, config.features),
            layer_outputs(teacher, config.features), strict=True,
        ):  # fmt: skip
            _check_feature(name, tuple(own.shape), tuple(taught.shape))

    @classmethod
    def of(
        cls,
        teacher: keras.Model | None,
        model: keras.Model,
        task: Task,
        config: DistillConfig | None,
    ) -> Distillation | None:
        """The distillation that is asked for; None for none.

        Raises:
            UsageError: There is a teacher and nothing to learn from it, or the other way round; or
                as in the constructor.
        """
        wanted = config is not None and config.on
        if teacher is None and not wanted:
            return None
        if teacher is None or config is None or not config.on:
            raise UsageError(
                "Distillation needs a `teacher`, and a `weight` or `features` to learn from it by. "
                f"Received: teacher={teacher and teacher.name!r}, distill={config}"
            )
        return cls(teacher, model, task, config)

    def around(
        self,
        inputs: Any,
        forward: Callable[[Any], Any],
        losses: Callable[[Any, Any], Losses],
        judged: Callable[[Any], Any],
    ) -> tuple[Callable[[Any], Any], Callable[[Any, Any], Losses], Callable[[Any], Any]]:
        """A step's forward pass, losses and `judged` (see `descend`), with the teacher's part.

        Args:
            inputs: The batch's inputs; the teacher's answer to them is computed here.
            forward, losses, judged: The step's own. With features the forward pass is the plain one
                of the model in training.

        Returns:
            The three to give to `descend`. Losses have `"distill_loss"`, and `"feature_loss"` where
            there are features.
        """
        taught = self._teacher(inputs, training=False)
        outputs_of: Callable[[Any], Any] = lambda found: found  # noqa: E731
        if self.config.features:
            forward = lambda x: self._model(x, training=True)  # noqa: E731
            outputs_of = lambda found: found["outputs"]  # noqa: E731

        def distilled(targets, found):
            own = outputs_of(found)
            return self._blended(
                losses(targets, own), outputs_of(taught), judged(own), found, taught
            )

        return forward, distilled, lambda found: judged(outputs_of(found))

    def _blended(self, losses, taught_outputs, outputs, found, taught) -> Losses:
        weight, blended = self.config.weight, dict(losses)
        if weight:
            distance = self.task.distill_loss(taught_outputs, outputs, self.config.temperature)
            blended["distill_loss"] = global_mean(distance)
            change = blended["distill_loss"] - losses["task_loss"]
            blended["loss"] = blended["loss"] + weight * change
        if self.config.features:
            pairs = zip(taught["features"], found["features"], strict=True)
            distance = sum(_feature_distance(of_teacher, own) for of_teacher, own in pairs)
            blended["feature_loss"] = global_mean(distance)
            blended["loss"] = blended["loss"] + self.config.feature_weight * blended["feature_loss"]
        return blended


def layer_outputs(model: keras.Model, names: Sequence[str]) -> list[keras.KerasTensor]:
    """The outputs of a model's layers by name.

    Raises:
        UsageError: If there is no layer of a name, or it gives several tensors.
    """
    found = []
    for name in names:
        layers = [layer for layer in model.layers if layer.name == name]
        output = layers[0].output if layers else None
        if not isinstance(output, keras.KerasTensor):
            raise UsageError(
                f"`features` must name layers of both networks with one output each. Received: "
                f"{name!r}, which '{model.name}' {'gives several of' if layers else 'has not'}"
            )
        found.append(output)
    return found


def _with_features(model: keras.Model, names: Sequence[str]) -> keras.Model:
    """The model itself, or one that gives `{"outputs", "features"}` by the same layers."""
    if not names:
        return model
    made = {"outputs": model.output, "features": layer_outputs(model, names)}
    return keras.Model(model.input, made, name=f"{model.name}_features")


def _feature_distance(taught, own):
    """1 − cos of two features' attention maps, or of the features themselves: `(batch,)`."""
    return 1.0 + keras.losses.cosine_similarity(_signature(taught), _signature(own), axis=-1)


def _signature(x):
    """A feature as a vector that knows no channels, unless it has nothing else."""
    x = ops.cast(x, "float32")
    if len(x.shape) > 2:
        x = ops.mean(ops.square(x), axis=-1)
    return ops.reshape(x, (ops.shape(x)[0], -1))


def _check_shapes(what: str, teacher: keras.Model, model: keras.Model) -> None:
    given, wanted = (tuple(getattr(each, what)[0].shape)[1:] for each in (teacher, model))
    if not _agree(given, wanted):
        raise UsageError(
            f"A teacher needs the network's {what}: teacher '{teacher.name}' has "
            f"{shown_shape(given)}, '{model.name}' has {shown_shape(wanted)}."
        )


def _check_feature(name: str, own: tuple, taught: tuple) -> None:
    compared = [shape[1:-1] if len(shape) > 2 else shape[1:] for shape in (own, taught)]
    if len(own) != len(taught) or not _agree(*compared):
        raise UsageError(
            "`features` must have the same shape in both networks, apart from their channels. "
            f"Received: {name!r}, {shown_shape(taught[1:])} in the teacher and "
            f"{shown_shape(own[1:])}"
        )


def _agree(a: tuple, b: tuple) -> bool:
    return len(a) == len(b) and all(
        None in pair or pair[0] == pair[1] for pair in zip(a, b, strict=True)
    )
