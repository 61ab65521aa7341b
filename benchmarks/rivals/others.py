"""Networks that others trained, as the contest's full networks."""

from __future__ import annotations

import keras

import keras_nas as kn
from keras_nas.data import TaskData
from keras_nas.errors import UsageError


def of_pixels(data: TaskData, model_file: str | None) -> keras.Model:
    """A classifier of raw pixels, 0 to 255, with the weights of its file, for the data's batches.

    In front of it stands a layer that undoes the standardisation of the data. Penalties on its
    weights are left out: everybody has the contest's.

    Args:
        data: Whose batches it will be given.
        model_file: Its `.keras` or `.h5` file.

    Raises:
        UsageError: No file is given, or the network does not fit the data.
    """
    if not model_file:
        raise UsageError("`model_file` must name the file of the trained network. Received: none")
    model = kn.load_model(model_file)
    found, wanted = (*model.input_shape[1:], model.output_shape[-1]), (*data.image_shape,)
    if found != (*wanted, data.num_classes):
        raise UsageError(
            f"`model_file` must hold a network for {data.num_classes} classes of pictures of shape "
            f"{wanted}. Received: {model_file}, from {found[:-1]} to {found[-1]} classes"
        )
    for layer in model.layers:
        if getattr(layer, "kernel_regularizer", None) is not None:
            layer.kernel_regularizer = None
    scale, offset = data.normalization.scale, data.normalization.offset
    inputs = keras.Input(data.image_shape, name="standardized")
    pixels = keras.layers.Rescaling((1 / scale).tolist(), (-offset / scale).tolist(), name="pixels")
    nested = keras.Model(inputs, model(pixels(inputs)), name=model.name)
    return kn.surgery.build(nested, None)  # the same without nesting
