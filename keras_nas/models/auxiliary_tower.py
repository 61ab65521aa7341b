"""A second classifier in the middle of a network, which helps it to train."""

from __future__ import annotations

import keras
from keras import layers

from keras_nas.models.conv_block import apply_conv_bn_block


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
