"""What newcomers do wrong with keras_nas.compress: one line each, before any training."""

from __future__ import annotations

import re
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_nas as kn
from keras_nas.compression import plan
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.search import DnalConfig, Session
from keras_nas.tasks import Classification, Regression, Segmentation, SuperResolution
from tests.training.nets import MadeData, arrays, random_images

X, Y = next(random_images(96, batch=96).as_numpy_iterator())
ONE_HOT = np.eye(4)[Y]
TEXTS = np.array(["a", "b", "c", "d"])[Y]


def batches(x=X, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(32)


def by_numpy(x, y):
    """The same, of shapes that TensorFlow does not know."""
    return tf.numpy_function(lambda x: x, [x], X.dtype), y


def changed(array, place, value):
    array = np.copy(array)
    array[place] = value
    return array


def with_data(x=X, y=Y):
    """Training and validation data of the same kind."""
    return {"train": (x, y), "validation": (x, y)}


class Pictures(keras.utils.PyDataset):
    """Batches of 32."""

    def __init__(self, steps, x=X, y=Y):
        super().__init__()
        self.steps, self.x, self.y = steps, x, y

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        part = slice(32 * index, 32 * index + 32)
        return self.x[part], self.y[part]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.pool, self.head = layers.GlobalAveragePooling2D(), layers.Dense(4)

    def call(self, x):
        return self.head(self.pool(x))


def quadrants(inputs, x, outputs=lambda x: x, features=8):
    """A network that tells the quadrants by the means of its features, the channels in turns."""
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    head = layers.Dense(4, name="head")
    model = keras.Model(inputs, outputs(head(pooled)), name="quadrants")
    signs = np.array([[2 * (k % 2) - 1, 2 * (k // 2) - 1] for k in range(4)]).T
    weights = np.tile(signs, (features // 2, 1))
    head.set_weights([weights, -0.75 * weights.sum(axis=0)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def repeat_channels(x):
    """A convolution to eight channels, which are those of the input in turns."""
    conv = layers.Conv2D(8, 1, use_bias=False, name="conv")
    outputs = conv(x)
    conv.set_weights([np.tile(np.eye(2), (1, 4))[None, None]])
    return outputs


def good_net(shape=(8, 8, 2)):
    inputs = keras.Input(shape)
    return quadrants(inputs, repeat_channels(inputs))


def bare_net():
    inputs = keras.Input((8, 8, 2))
    return quadrants(inputs, inputs, features=2)


def grey_net():
    """Takes pictures of one channel: the first half of the rows is channel 0, the rest 1."""
    inputs = keras.Input((16, 8, 1))
    x = layers.Concatenate()([inputs[:, :8], inputs[:, 8:]])
    return quadrants(inputs, repeat_channels(x))


def untrained_net():
    return keras.models.clone_model(good_net())


def unbuilt_net():
    return keras.Sequential([layers.Flatten(), layers.Dense(4)])


def two_inputs():
    first, second = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    x = layers.Concatenate()([first, second])
    return quadrants([first, second], repeat_channels(x))


def two_outputs():
    inputs = keras.Input((8, 8, 2))
    return quadrants(inputs, repeat_channels(inputs), lambda x: [x, layers.Dense(4)(x)])


def subclassed_net():
    model = Subclassed()
    model(X[:1])
    return model


def loaded_module():
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(tf.Module(), folder)
        return tf.saved_model.load(folder)


MODELS = {
    "a path": (lambda: "net.keras", UsageError, r"load it by keras_nas.load_model.*'net.keras'"),
    "no model": (lambda: None, UsageError, "`model` must be a keras.Model. Received: None"),
    "a layer": (lambda: layers.Dense(4), UsageError, "Received: Dense"),
    "a class": (lambda: Subclassed, UsageError, "make one of the class. Received: the class Sub"),
    "a function": (lambda: tf.function(lambda x: x), UsageError, "Received: Function"),
    "what TensorFlow loads": (loaded_module, UsageError, "has no layers, load the .keras file"),
    "a Sequential that is not built": (unbuilt_net, KerasNasError, r"start it with keras.Input"),
    "a subclassed model": (
        subclassed_net, KerasNasError,
        r"subclassed type Subclassed.*rebuild it with keras.Model\(inputs, outputs\)",
    ),
    "two outputs": (two_outputs, UsageError, r"one output \(batch, classes\): give `task`"),
    "two inputs and arrays": (two_inputs, UsageError, r"`train` must give 2 inputs.*Received: 1"),
    "a regression": (
        lambda: keras.Sequential([keras.Input((8, 8, 2)), layers.Flatten(), layers.Dense(1)]),
        UsageError, "no probability: end it with activation='sigmoid'.*or give `task`",
    ),
    "no channel to remove": (
        bare_net, KerasNasError,
        "No layer of 'quadrants' can be gated.*needs a convolution or Dense layer",
    ),
    "untrained": (untrained_net, KerasNasError, "is no better than a constant.*Train it first"),
}  # fmt: skip
"""What is given instead of a trained model: how it is made, the error, the line."""

KINDS = r"arrays \(x, y\), a tf.data.Dataset of batches or a keras.utils.PyDataset"
SHAPE = "`train` must give inputs of 8×8×2, as model 'quadrants' takes. Received: "
LABELS = "must have whole numbers from 0 to 3 as labels, since the task has 4 classes. Received: "

MISTAKES = {
    "no training data": ({"train": None}, UsageError, f"`train`: Data must be {KINDS}.*NoneType"),
    "pictures alone": ({"train": X}, UsageError, r"`train` must be .*labels are missing, give"),
    "held-out pictures alone": ({"validation": X}, UsageError, "`validation` must.*are missing"),
    "a dataset of pictures alone": (
        {"train": tf.data.Dataset.from_tensor_slices(X).batch(32)}, UsageError,
        r"labels are missing, give batches \(x, y\)",
    ),
    "a share to validate on": (
        {"validation": 0.2}, UsageError,
        r"keras_nas.data.from_arrays\(x, y, validation_share=0.1\). Received: 0.2",
    ),
    "a folder's name": ({"train": "photos"}, UsageError, "read its files first.*'photos'"),
    "a loaded data set whole": ({"train": MadeData()}, UsageError, "`data.train` and `data.val"),
    "a class of data": ({"train": Pictures}, UsageError, "make one of the class.*Pictures"),
    "a function without an argument": (
        {"train": lambda: batches()}, UsageError,
        "a function must take the epoch's number. Received: function",
    ),
    "a function that gives arrays": (
        {"train": lambda epoch: (X, Y)}, UsageError,
        "`train` must give a tf.data.Dataset of batches for an epoch. Received: tuple",
    ),
    "a dictionary": ({"train": {"x": X, "y": Y}}, UsageError, f"`train`: .*{KINDS}.*dict"),
    "other lengths": (
        {"train": (X, Y[:50])}, KerasNasError,
        "`train`: .*same number of examples.* Received: 96 and 50",
    ),
    "empty arrays": ({"train": (X[:0], Y[:0])}, KerasNasError, "not be empty. Received: 0 and 0"),
    "sample weights": (
        {"train": (X, Y, np.ones(96))}, UsageError,
        r"`train` must be pairs \(x, y\): sample weights are not supported, leave them out",
    ),
    "sample weights in a dataset": (
        {"train": tf.data.Dataset.from_tensor_slices((X, Y, np.ones(96))).batch(32)}, UsageError,
        "sample weights are not supported, leave them out. Received: 3 parts",
    ),
    "one example": ({"train": (X[0], Y[0])}, UsageError, r"`train`: `y` must be one array"),
    "no axis of examples": (
        {"train": (X[0], np.zeros(8, int)), "batch_size": 4}, UsageError,
        SHAPE + "8×2",
    ),
    "examples one by one": (
        {"train": tf.data.Dataset.from_tensor_slices((X, Y))}, UsageError,
        r"`train`: A tf.data.Dataset must give batches \(x, y\): call `dataset.batch\(32\)`",
    ),
    "one example as a batch": (
        {"train": tf.data.Dataset.from_tensors((X[0], Y[:8]))}, UsageError,
        r"Received: 8×2 \(the axis of examples lacks: x\[None\]\)",
    ),
    "an empty dataset": (
        {"train": batches().take(0)}, KerasNasError,
        "`train` must have one batch or more. Received: none .*drop_remainder",
    ),
    "an empty held-out dataset": (
        {"validation": batches().filter(lambda x, y: False)}, KerasNasError,
        "`validation` must have one batch or more",
    ),
    "a dataset for ever": (
        {"train": batches().repeat()}, UsageError,
        r"`train`: Data must end: .* repeats for ever.*dataset.take\(steps\)",
    ),
    "a PyDataset of no batch": (
        {"train": Pictures(0)}, UsageError,
        "`train`: A keras.utils.PyDataset must have a length of one batch or more",
    ),
    "another size": (
        with_data(X[:, :7]), UsageError,
        SHAPE + r"7×8×2 \(keras.layers.Resizing\(8, 8\) resizes pictures\)",
    ),
    "another size to validate on": (
        {"validation": (X[:, :7], Y)}, UsageError,
        "`validation` must give inputs of 8×8×2.*Received: 7×8×2",
    ),
    "another size in a PyDataset": ({"train": Pictures(3, X[:, :7])}, UsageError, SHAPE + "7×8×2"),
    "other channels": (with_data(X[..., :1]), UsageError, SHAPE + "8×8×1"),
    "channels first": (
        with_data(X.transpose(0, 3, 1, 2)), UsageError,
        SHAPE + r"2×8×8 \(channels come last: x.transpose\(0, 2, 3, 1\)\)",
    ),
    "no channels": (with_data(X[..., 0]), UsageError, SHAPE + "8×8$"),
    "labels and pictures swapped": ({"train": (Y, X)}, UsageError, SHAPE + "no axis"),
    "pictures as texts": ({"train": (X.astype(str), Y)}, UsageError, "`x` must be one array"),
    "paths instead of pictures": (
        {"train": batches(TEXTS)}, UsageError,
        r"`train` must give numbers.* Received: texts \(paths\?\): read the files by `dataset.map`",
    ),
    "shapes that are not known": (
        {"train": batches().map(by_numpy)}, UsageError,
        r"`train` must say the shapes of its batches: `tf.ensure_shape\(x, ...\)`",
    ),
    "bytes to train on, standardized to validate on": (
        {"train": (np.clip(99 * X + 60, 0, 255).astype("uint8"), Y)}, KerasNasError,
        "`train` must be made as `validation` is: .* the same range",
    ),
    "NaN pixels": (
        {"train": (changed(X, (7, 0, 0, 0), np.nan), Y)}, KerasNasError,
        "`train`: `x` must be finite. Received: NaN or infinity in example 7",
    ),
    "infinite pixels in a dataset": (
        {"validation": batches(changed(X, (40, 0, 0, 0), np.inf))}, KerasNasError,
        "`validation` must be finite. Received: NaN or infinity in batch 1: mend or leave out",
    ),
    "NaN pixels in a PyDataset": (
        {"train": Pictures(3, changed(X, (90, 0, 0, 0), np.nan))}, KerasNasError,
        "`train`: `x` must be finite. Received: NaN or infinity in example 26$",
    ),
    "a label too many": ({"train": (X, changed(Y, 5, 4))}, UsageError, f"`train` {LABELS}4$"),
    "a label too many in a dataset": (
        {"validation": batches(X, changed(Y, 90, 10))}, UsageError,
        f"`validation` {LABELS}10$",
    ),
    "a negative label": ({"train": (X, changed(Y, 5, -1))}, UsageError, f"`train` {LABELS}-1$"),
    "labels from 1": (with_data(y=Y + 1), UsageError, LABELS + "4 and no 0: count from 0, as y"),
    "labels from 1 in a PyDataset": (
        {"train": Pictures(3, y=Y + 1)}, UsageError,
        f"`train` {LABELS}4 and no 0",
    ),
    "labels that are no whole numbers": (
        {"train": (X, changed(Y.astype("float32"), 3, 1.5))}, UsageError,
        LABELS + "1.5",
    ),
    "labels as texts": ({"train": (X, TEXTS)}, UsageError, "`train`: `y` must be one array of num"),
    "labels as texts in a dataset": (
        {"train": batches(X, TEXTS)}, UsageError,
        r"labels that are numbers, such as np.unique\(y, return_inverse=True\)\[1\]",
    ),
    "one-hot labels of ten classes": (
        {"train": (X, np.eye(10)[Y])}, UsageError,
        "`train` must have one-hot labels of 4 columns.*Received: 10",
    ),
    "one-hot labels of three classes in a dataset": (
        {"train": batches(X, np.eye(3)[np.minimum(Y, 2)])}, UsageError,
        "one-hot labels of 4 columns.*Received: 3",
    ),
    "several classes at once": (
        {"train": (X, np.ones((96, 4)))}, UsageError,
        "add up to 1 .* Received: from 1 to 1, rows adding up to 4 to 4; .*sigmoid",
    ),
    "numbers as targets": (
        {"train": (X, 3 * ONE_HOT - 1)}, UsageError,
        r"Received: from -1 to 2.*other numbers task=Regression\(\)",
    ),
    "a label for each pixel": (
        {"train": (X, np.zeros((96, 8, 8), int))}, UsageError,
        r"`train` must have labels \(batch,\) or \(batch, 4\).*Received: 8×8 an example",
    ),
    "one class": (
        {"train": batches(X[Y == 1], Y[Y == 1]), "validation": None}, KerasNasError,
        "cannot be judged on these data, whose first batches are all of one class",
    ),
    "a batch of nothing": ({"batch_size": 0}, UsageError, "`batch_size` must be 1 or more"),
    "half a batch": ({"batch_size": 1.5}, UsageError, "`batch_size` must be a whole number.*1.5"),
    "a batch larger than the data": ({"batch_size": 200}, UsageError, "at most the number.* 96"),
    "no budget": ({"budget": None}, UsageError, "A budget must be given: .*such as target_macs="),
    "an empty budget": ({"budget": {}}, UsageError, "A budget must be given"),
    "a misspelt budget": ({"budget": {"mac": "0.5x"}}, UsageError, "'mac'. Did you mean 'macs'?"),
    "a flag as budget": ({"budget": {"target_ram": 1e3}}, UsageError, "Did you mean 'ram'?"),
    "a budget of something else": ({"budget": {"size": 1e3}}, UsageError, r"'ram'\). .*: 'size'$"),
    "a set": (
        {"budget": {"macs"}}, UsageError,
        r"`budget` must be a dict, such as {'macs': '0.5x'}. Received: budget={'macs'}",
    ),
    "a share alone": ({"budget": 0.5}, UsageError, "`budget` must be a dict.*budget=0.5"),
    "a share above one": ({"budget": {"macs": "1.5x"}}, UsageError, "`target_macs` must.*'1.5x'"),
    "a share without its x": ({"budget": {"macs": 0.5}}, UsageError, "a share .* as 0.5x.*=0.5$"),
    "half": ({"budget": {"macs": "half"}}, UsageError, "full network's as 0.5x.*'half'"),
    "a percentage": ({"budget": {"macs": "50%"}}, UsageError, "full network's as 0.5x.*'50%'"),
    "a budget of 0": ({"budget": {"macs": 0}}, UsageError, "above 0.* 'macs'. Received: 0"),
    "one of two of 0": ({"budget": {"macs": "0.5x", "ram": 0}}, UsageError, "for 'ram'. Received"),
    "a negative budget": ({"budget": {"macs": -5}}, UsageError, "a number above 0.*=-5$"),
    "no number": ({"budget": {"macs": float("nan")}}, UsageError, "a number above 0.*=nan$"),
    "more than there is": (
        {"budget": {"macs": 1e12}}, UsageError,
        r"must be below what model 'quadrants' costs \(macs 1,056\)",
    ),
    "all of it": ({"budget": {"bytes": "1x"}}, UsageError, "must be below .*Received: bytes='1x'"),
    "less than can be": ({"budget": {"macs": 10}}, UsageError, "`target_macs` must be 528 or more"),
    "another format": ({"budget": {"bytes": "int4:2k"}}, UsageError, "of one of .*'int4:2k'"),
    "kilobytes": ({"budget": {"bytes": "200KB"}}, UsageError, "200k and 1.5M are .*'200KB'"),
    "a budget twice": (
        {"config": kn.CompressConfig(target_macs="0.8x")}, UsageError,
        "`config` has target_macs='0.8x'. Received: '0.5x' for 'macs'",
    ),
    "settings as a dictionary": (
        {"config": {"epochs": 2}}, UsageError,
        r"`config` must be a keras_nas.CompressConfig, such as .*Received: dict",
    ),
    "another's settings": ({"config": DnalConfig()}, UsageError, "`config` must be.*DnalConfig"),
    "a task's name": (
        {"task": "classification"}, UsageError,
        "`task` must be one of keras_nas.tasks.*'classification'",
    ),
    "a loss as task": ({"task": keras.losses.MeanSquaredError()}, UsageError, "MeanSquaredError"),
    "a task's class": ({"task": Regression}, UsageError, "Received: the class Regression"),
    "segmentation": (
        {"task": Segmentation(4)}, UsageError,
        r"segmentation has \(height, width, 4\) for 4 classes. Received: 4",
    ),
    "super-resolution": ({"task": SuperResolution(2)}, UsageError, "super-resolution has .*: 4"),
    "classification of ten": (
        {"task": Classification(10)}, UsageError,
        r"as Classification.of\(model\) is. Received: 10 classes for outputs of 4",
    ),
    "regression of classes": (
        {"task": Regression()}, UsageError,
        "`train` must have numbers of 4 an example as targets.*Received: no axis of int64",
    ),
    "a folder as session": ({"session": "out"}, UsageError, r"such as Session\('folder'\)"),
}  # fmt: skip
"""The arguments beside the right ones, the error, the line."""

SETTINGS = {
    "negative epochs": ({"epochs": -1}, "`epochs` must be 0 or more. Received: epochs=-1"),
    "one epoch": ({"epochs": 1}, "`epochs` must be 2 or more"),
    "epochs in words": ({"epochs": "ten"}, "`epochs` must be a whole number.*'ten'"),
    "epochs of None": ({"epochs": None}, "`epochs` must be a whole number.*epochs=None"),
    "half an epoch": ({"epochs": 2.5}, "`epochs` must be a whole number.*epochs=2.5"),
    "negative minutes": ({"minutes": -1}, "`minutes` must be 0 or more"),
    "minutes in words": ({"minutes": "5 min"}, "`minutes` must be a number.*'5 min'"),
    "endless minutes": ({"minutes": float("inf")}, "`minutes` must be a number.*=inf"),
    "a learning rate of NaN": ({"learning_rate": float("nan")}, "`learning_rate` must be a num"),
    "a method that is none": ({"method": "best"}, "`method` must be one of .*'best'"),
}
"""Settings that are none, and the line."""


class BegunError(Exception):
    """Training would begin."""


@pytest.fixture(autouse=True)
def _no_training(monkeypatch):
    def begin(*_):
        raise BegunError

    monkeypatch.setattr(plan, "find_rate", begin)


@pytest.fixture(scope="module")
def net():
    return good_net()


@pytest.fixture(scope="module")
def as_it_was(net):
    return arrays(net)


def compress(model, **arguments):
    given = {"train": (X, Y), "validation": (X, Y), "budget": {"macs": "0.5x"}, **arguments}
    train, validation = given.pop("train"), given.pop("validation")
    given = {"batch_size": 32, "session": Session(progress="off"), **given}
    return kn.compress(model, train, validation, **given)


def check(caught, kind, message):
    assert type(caught.value) is kind
    line = str(caught.value)
    assert re.search(message, line), line
    assert "\n" not in line


def check_unchanged(model, before):
    after = arrays(model)
    assert all((after[path] == before[path]).all() for path in before)
    assert model.compiled


@pytest.mark.parametrize("name", MODELS)
def test_what_is_no_trained_model_is_one_line(name):
    make, kind, message = MODELS[name]
    with pytest.raises(KerasNasError) as caught:
        compress(make())
    check(caught, kind, message)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name, net, as_it_was):
    arguments, kind, message = MISTAKES[name]
    with pytest.raises(KerasNasError) as caught:
        compress(net, **arguments)
    check(caught, kind, message)
    check_unchanged(net, as_it_was)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_none_is_one_line(name):
    settings, message = SETTINGS[name]
    with pytest.raises(KerasNasError) as caught:
        kn.CompressConfig(**settings)
    check(caught, UsageError, message)


@pytest.mark.parametrize(
    "arguments",
    [
        {"train": (X, ONE_HOT), "validation": (X[Y < 3], list(Y[Y < 3]))},
        {"train": Pictures(3, y=ONE_HOT), "validation": lambda epoch: batches()},
        {
            "train": (X, Y.astype("float32")[:, None]),
            "validation": None,
            "budget": {"macs": "0.6x", "bytes": "1G"},
        },
    ],
    ids=["one-hot, fewer classes", "PyDataset, function", "a column of floats, one is met"],
)
def test_what_is_right_comes_to_its_training(net, as_it_was, arguments):
    with pytest.raises(BegunError):
        compress(net, **arguments)
    check_unchanged(net, as_it_was)


def own_loss(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)


def test_a_loss_of_ones_own_is_left_as_it_is(net):
    model = keras.models.clone_model(net)
    model.set_weights(net.get_weights())
    model.compile("adam", own_loss)
    with pytest.raises(BegunError):
        compress(model)
    assert model.loss is own_loss


def test_a_network_of_open_size_is_counted_at_its_data():
    with pytest.raises(BegunError):
        compress(good_net((None, None, 2)))
    with pytest.raises(UsageError, match=r"costs \(macs 1,056\)"):
        compress(good_net((None, None, 2)), budget={"macs": 1e12})


def test_grey_pictures_may_lack_their_channel():
    grey = np.concatenate([X[..., 0], X[..., 1]], axis=1)
    with pytest.raises(BegunError):
        compress(grey_net(), **with_data(grey))


def test_several_inputs_come_from_a_dataset():
    data = batches((X[..., :1], X[..., 1:]))
    with pytest.raises(BegunError):
        compress(two_inputs(), train=data, validation=data)


def test_a_late_mistake_is_named_where_tensorflow_fails(net, monkeypatch):
    late = tf.data.Dataset.from_tensor_slices((X, changed(Y, 95, 4))).batch(4)
    with pytest.raises(UsageError, match=f"`validation` {LABELS}4"):
        compress(net, validation=late)

    def fail(*_):
        raise tf.errors.InvalidArgumentError(None, None, "Received a label value of 4")

    monkeypatch.setattr(plan, "find_rate", fail)
    with pytest.raises(UsageError, match=f"`train` {LABELS}4"):
        compress(net, train=late)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a label value of 4"):
        compress(net)
