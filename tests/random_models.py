"""Random functional models, and random values for every variable of a model."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def randomize(model: keras.Model, seed: int = 0):
    """Fills every variable with random numbers that keep activations near 1 in size.

    Statistics, scales and biases too: on fresh ones (0 and 1) a wrong channel goes unnoticed. What
    preprocessing was adapted to stays.
    """
    random = np.random.default_rng(seed)
    adapted = {
        id(v)
        for layer in model._flatten_layers()
        if hasattr(layer, "adapt")
        for v in layer.variables
    }
    for variable in {id(v): v for v in model.variables if id(v) not in adapted}.values():
        name, shape = variable.path.split("/")[-1], tuple(variable.shape)
        if not variable.dtype.startswith("float"):
            continue
        if "kernel" in name:
            fan_in = np.prod(shape[:2]) if "depthwise" in name else np.prod(shape[:-1])
            value = random.normal(size=shape) / np.sqrt(max(fan_in, 1))
        elif "variance" in name or name == "gamma":
            value = random.uniform(0.5, 1.5, shape)
        else:
            value = random.normal(size=shape) * 0.3
        variable.assign(value)


def random_model(seed: int, steps: int = 9) -> keras.Model:
    """A random functional model of a (8, 8, 3) input: chains, joins, branches, shared layers."""
    random = np.random.default_rng(seed)
    inputs = keras.Input((8, 8, 3))
    first = layers.Conv2D(int(random.integers(3, 8)), 3, padding="same")
    pool = [first(_preprocessed(random, inputs))]
    shared: list[tuple[layers.Layer, int]] = []
    for _ in range(steps):
        step = STEPS[random.integers(len(STEPS))]
        pool.append(step(random, pool, shared))
    pooled = [layers.GlobalAveragePooling2D()(x) for x in pool[-2:]]
    flat = layers.Flatten()(layers.AveragePooling2D(4)(pool[-1]))
    first = layers.Dense(3)(layers.Concatenate()([*pooled, flat]))
    if random.random() < 0.3:
        first = layers.Softmax()(first)
    if random.random() < 0.5:
        return keras.Model(inputs, first)
    second = layers.Conv2D(2, 1, activation="sigmoid")(pool[int(random.integers(len(pool)))])
    return keras.Model(inputs, {"label": first, "map": second})


def _preprocessed(random, inputs):
    choice = random.integers(5)
    if choice == 0:
        layer = layers.Normalization()
        layer.adapt(random.normal(0.5, 2.0, (16, 8, 8, 3)).astype("float32"))
        return layer(inputs)
    if choice == 1:
        return layers.Normalization(mean=[0.1, -0.4, 0.3], variance=[0.5, 1.5, 4.0])(inputs)
    if choice == 2:
        return layers.Rescaling(0.5, offset=[0.1, 0.0, -0.2])(inputs)
    return inputs


def _pick(random, pool):
    return pool[int(random.integers(max(0, len(pool) - 4), len(pool)))]


def _conv(random, pool, shared):
    x = _pick(random, pool)
    x = layers.Conv2D(
        int(random.integers(2, 9)),
        int(random.integers(1, 4)),
        padding="same",
        use_bias=bool(random.random() < 0.5),
        dilation_rate=int(random.integers(1, 3)),
        activation=[None, None, "relu", "sigmoid"][random.integers(4)],
    )(x)
    return _normalize(random, x)


def _normalize(random, x):
    if random.random() < 0.7:
        x = layers.BatchNormalization(scale=bool(random.random() < 0.8))(x)
    return _activate(random, x)


def _activate(random, x):
    choice = random.integers(6)
    if choice == 0:
        return layers.ReLU()(x)
    if choice == 1:
        return layers.Activation(["tanh", "sigmoid", "silu"][random.integers(3)])(x)
    if choice == 2:
        shared_axes = [[1, 2], None][random.integers(2)]
        return layers.PReLU(alpha_initializer="ones", shared_axes=shared_axes)(x)
    if choice == 3:
        return ops.relu(x) * 0.5 + 0.25
    return x


def _grouped(random, pool, shared):
    x = _pick(random, pool)
    groups = 2
    x = layers.Conv2D(4, 1, padding="same")(x)
    x = layers.Conv2D(6, 3, padding="same", groups=groups)(_normalize(random, x))
    return _activate(random, x)


def _depthwise(random, pool, shared):
    x = layers.DepthwiseConv2D(
        3, padding="same", depth_multiplier=int(random.integers(1, 3)), use_bias=False
    )(_pick(random, pool))
    return _normalize(random, x)


def _separable(random, pool, shared):
    filters = int(random.integers(2, 7))
    return layers.SeparableConv2D(filters, 3, padding="same")(_pick(random, pool))


def _transposed(random, pool, shared):
    x = layers.Conv2DTranspose(int(random.integers(2, 6)), 3, padding="same")(_pick(random, pool))
    return _normalize(random, x)


def _residual(random, pool, shared):
    x = _pick(random, pool)
    y = layers.Conv2D(x.shape[-1], 3, padding="same", use_bias=False)(x)
    y = _normalize(random, y)
    join = [layers.Add, layers.Average, layers.Maximum, layers.Subtract, layers.Multiply]
    choice = random.integers(7)
    if choice == 5:
        return x + y
    if choice == 6:
        return ops.maximum(x, y)
    return join[choice]()([x, y])


def _concatenate(random, pool, shared):
    x = layers.Concatenate()([_pick(random, pool), _pick(random, pool)])
    return layers.Conv2D(int(random.integers(3, 8)), 1)(_normalize(random, x))


def _squeeze_and_excite(random, pool, shared):
    x = _pick(random, pool)
    s = layers.GlobalAveragePooling2D()(x)
    s = layers.Reshape((1, 1, x.shape[-1]))(s)
    s = layers.Conv2D(2, 1, activation="relu")(s)
    s = layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(s)
    return layers.Multiply()([x, s])


def _shared(random, pool, shared):
    x = _pick(random, pool)
    for layer, width in shared:
        if width == x.shape[-1]:
            return layers.ReLU()(layer(x))
    layer = layers.Conv2D(x.shape[-1], 3, padding="same")
    shared.append((layer, x.shape[-1]))
    return layers.ReLU()(layer(layer(x)))


def _space(random, pool, shared):
    x = _pick(random, pool)
    choice = random.integers(3)
    if choice == 0:
        return layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x))
    if choice == 1:
        return layers.Cropping2D(1)(layers.ZeroPadding2D(1)(x))
    return layers.AveragePooling2D(3, strides=1, padding="same")(x)


def _slice(random, pool, shared):
    x = _pick(random, pool)
    half = max(1, x.shape[-1] // 2)
    return layers.Concatenate()([x[..., half:], x[..., :half]])


def _padded_shortcut(random, pool, shared):
    x = _pick(random, pool)
    y = layers.Conv2D(x.shape[-1] + 3, 3, padding="same", use_bias=False)(x)
    x = ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 2]])
    return layers.ReLU()(layers.Add()([_normalize(random, y), x]))


def _array(random, pool, shared):
    """An array as an operand: of any shape that broadcasts, on either side."""
    x = _pick(random, pool)
    sizes = x.shape[1:]
    lengths = [size if random.random() < 0.5 else 1 for size in sizes]
    array = random.normal(size=lengths[random.integers(3) :]).astype("float32")
    choice = random.integers(7)
    if choice == 0:
        return ops.subtract(array, x)
    if choice == 1:
        return ops.where(array > 0, x, array * 0.5)
    if choice == 2:
        bounds = np.abs(random.normal(size=sizes[-1:])).astype("float32")
        return ops.clip(x, -0.5 * bounds, bounds)
    if choice == 3:
        return layers.Rescaling(np.abs(array), array)(x)
    return (ops.add, ops.multiply, ops.maximum)[choice - 4](x, array)


def _index(random, pool, shared):
    """Indexing that picks, drops, splits, turns or repeats; back to four axes."""
    x = _pick(random, pool)
    width = x.shape[-1]
    picked = int(random.integers(width))
    choice = random.integers(8)
    if choice == 0:
        return ops.expand_dims(x[..., picked], -1)
    if choice == 1:
        return ops.take(x, [picked, 0, picked], axis=-1)
    if choice == 2:
        return x - ops.expand_dims(x[:, picked % 8], 1)
    if choice == 3:
        return layers.Concatenate()(ops.split(x, [width // 2 or 1], axis=-1)[::-1])
    if choice == 4:
        return ops.flip(ops.roll(x, 1, axis=2), axis=-1)
    if choice == 5:
        parts = ops.unstack(x, axis=-1)
        return ops.stack([parts[picked], parts[0]], axis=-1)
    if choice == 6:
        return ops.repeat(x, 2, axis=-1)
    return ops.swapaxes(ops.relu(ops.swapaxes(x, 1, 3)), 1, 3)


def half_hard_swish(x):
    return x * ops.relu6(x + 3.0) / 12.0


def squashed(x):
    """Mixes channels."""
    return x / (1.0 + ops.mean(ops.abs(x), axis=-1, keepdims=True))


OWN_ACTIVATIONS = (half_hard_swish, squashed, ops.relu, layers.LeakyReLU(), tf.nn.relu6)


def _own_activation(random, pool, shared):
    """A function as the activation of a layer, or a softmax over space."""
    x = _pick(random, pool)
    choice = random.integers(len(OWN_ACTIVATIONS) + 1)
    if choice == len(OWN_ACTIVATIONS):
        return layers.Softmax(axis=1)(x)
    activation = OWN_ACTIVATIONS[choice]
    if random.random() < 0.5:
        return layers.Activation(activation)(layers.Conv2D(x.shape[-1], 1)(x))
    return layers.Conv2D(int(random.integers(2, 7)), 3, padding="same", activation=activation)(x)


def _folded(random, pool, shared):
    """Space folded into the batch and back, or the batch on the second axis."""
    x = _pick(random, pool)
    width = x.shape[-1]
    if random.random() < 0.3:
        y = ops.transpose(ops.reshape(x, (-1, 64, width)), (1, 0, 2))
        y = ops.transpose(layers.Dense(width, activation="relu")(y), (1, 0, 2))
        return ops.reshape(y, (-1, 8, 8, width))
    y = ops.transpose(ops.reshape(x, (-1, 2, 4, 2, 4, width)), (0, 1, 3, 2, 4, 5))
    y = ops.reshape(y, (-1, 16, width))
    y = y + layers.Conv1D(width, 3, padding="same", activation="relu")(y)
    y = ops.transpose(ops.reshape(y, (-1, 2, 2, 4, 4, width)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(y, (-1, 8, 8, width))


def _masked(random, pool, shared):
    """Places hidden by a Keras mask, and a layer that minds it."""
    x = _pick(random, pool)
    width = x.shape[-1]
    y = layers.Masking()(layers.ReLU()(layers.Reshape((64, width))(x)))
    y = layers.Dense(width, activation="tanh")(y)
    choice = random.integers(3)
    if choice == 0:
        y = layers.BatchNormalization()(y)
    elif choice == 1:
        y = layers.MultiHeadAttention(1, 2)(y, y)
    last = layers.SimpleRNN(width)(y)  # a mean over no place at all would not be a number
    return layers.Multiply()([x, layers.Reshape((1, 1, width))(last)])


STEPS = (
    _conv, _conv, _conv, _residual, _residual, _concatenate, _depthwise, _separable, _grouped,
    _transposed, _squeeze_and_excite, _shared, _space, _slice, _padded_shortcut, _array, _index,
    _own_activation, _folded, _masked,
)  # fmt: skip
