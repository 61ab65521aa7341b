"""A second classifier in the middle of a network, which helps it to train, and training with it."""

from __future__ import annotations

import keras
from keras import layers

from keras_nas.models.conv_block import apply_conv_bn_block
from keras_nas.tasks import Task
from keras_nas.training.distillation import Distillation
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.stage import Data
from keras_nas.training.step import global_mean
from keras_nas.training.trainer import TrainConfig, TrainStage


def with_auxiliary_tower(model: keras.Model, layer_name: str, num_classes: int) -> keras.Model:
    """A model with the outputs `[the model's, the tower's logits]`, over the model's own layers.

    The tower is that of NASNet and ENAS: average pooling 5×5 of stride 3, a 1×1 convolution of 128
    channels, one of 768 channels over all that is left of height and width, a Dense layer. Train
    this model; the given one is then trained, and has no tower.

    Args:
        model: A functional model with one output.
        layer_name: The layer whose output the tower reads, `(batch, height, width, channels)`.
        num_classes: Number of the tower's outputs.

    References:
        Szegedy et al., Going Deeper with Convolutions (2015); Pham et al., Efficient Neural
        Architecture Search via Parameter Sharing (2018).
    """
    x = model.get_layer(layer_name).output
    size = min(5, x.shape[1], x.shape[2])
    x = layers.AveragePooling2D(size, strides=3, name="auxiliary_pool")(x)
    x = apply_conv_bn_block(x, 128, 1, name="auxiliary_1x1")
    x = layers.Conv2D(768, tuple(x.shape[1:3]), use_bias=False, name="auxiliary_whole_conv")(x)
    x = layers.BatchNormalization(name="auxiliary_whole_bn")(x)
    x = layers.ReLU(name="auxiliary_whole_relu")(x)
    x = layers.Flatten(name="auxiliary_flatten")(x)
    x = layers.Dense(num_classes, dtype="float32", name="auxiliary_logits")(x)
    return keras.Model(model.inputs, [model.outputs[0], x], name=f"{model.name}_with_auxiliary")


class AuxiliaryStage(TrainStage):
    """Trains a network on the task's loss at its output and, weighted, at an auxiliary output.

    Metrics and evaluation are the first output's.

    Args:
        name: The stage's name.
        model: The network.
        tower: The network with its tower: outputs `[the model's, the tower's]`.
        weight: Weight of the tower's loss; 0.4 in the paper (section 4.2).
        train_data, validation_data, task, config, distillation: As in `TrainStage`.
    """

    def __init__(
        self,
        name: str,
        model: keras.Model,
        tower: keras.Model,
        weight: float,
        train_data: Data,
        validation_data: Data | None,
        task: Task,
        config: TrainConfig,
        distillation: Distillation | None = None,
    ):
        super().__init__(name, tower, train_data, None, task, config, distillation)
        self.auxiliary_weight = weight
        if validation_data is not None:
            self._evaluator = Evaluator(model, task, validation_data)

    def judged(self, outputs):
        return outputs[0]

    def losses(self, targets, outputs):
        losses = super().losses(targets, outputs[0])
        auxiliary_loss = global_mean(self.task.loss(targets, outputs[1]))
        loss = losses["loss"] + self.auxiliary_weight * auxiliary_loss
        return {**losses, "loss": loss, "auxiliary_loss": auxiliary_loss}
