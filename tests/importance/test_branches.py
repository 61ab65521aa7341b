"""Taking whole branches out: which may go, which does, and what is left."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.errors import KerasNasError, UsageError

IMAGES = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 4, 64).astype("int32")
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def batches(images=IMAGES, labels=LABELS, size=16):
    return [(images[i : i + size], labels[i : i + size]) for i in range(0, len(images), size)]


def convolution(x, name, width=8, normalized=True, **options):
    x = layers.Conv2D(width, 3, padding="same", name=f"{name}_conv", **options)(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x) if normalized else x


def residual_net(blocks=3, normalized=True, seed=0):
    """A stem, blocks of two convolutions beside a shortcut, and a head."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(convolution(inputs, "stem", normalized=normalized))
    for number in range(blocks):
        inner = layers.ReLU()(convolution(x, f"block{number}_1", normalized=normalized))
        outer = convolution(inner, f"block{number}_2", normalized=normalized)
        x = layers.ReLU()(layers.Add(name=f"add{number}")([x, outer]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x), name="residual")


def convolutions(model):
    return [layer.name for layer in model.layers if isinstance(layer, layers.Conv2D)]


def without_branch(model, number):
    """By hand: the block's last convolution makes nothing but zeros."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    layer = copy.get_layer(f"block{number}_2_conv")
    layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    return copy


def loss_of(model):
    return float(CROSS_ENTROPY(LABELS, model(IMAGES, training=False)))


def test_the_branch_goes_that_is_missed_least_and_the_rest_is_exact():
    model = residual_net(normalized=False)
    before = model.get_weights()
    losses = [loss_of(without_branch(model, number)) for number in range(3)]
    best = int(np.argmin(losses))
    found = kn.importance.shorten(model, batches(), CROSS_ENTROPY)
    (branch,) = found.branches
    assert branch.layer == f"block{best}_2_conv"
    assert branch.loss == pytest.approx(losses[best], rel=1e-5)
    assert found.loss == pytest.approx(loss_of(model), rel=1e-5)
    gone = [f"block{best}_1_conv", f"block{best}_2_conv"]
    assert convolutions(found.model) == [n for n in convolutions(model) if n not in gone]
    macs = kn.costs.count(model).macs - 2 * 8 * 8 * 9 * 8 * 8
    assert branch.macs == kn.costs.count(found.model).macs == macs
    np.testing.assert_allclose(
        found.model.predict(IMAGES, verbose=0),
        without_branch(model, best).predict(IMAGES, verbose=0),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_second_branch_is_chosen_among_what_the_first_left():
    model = residual_net(normalized=False, seed=3)
    both = kn.importance.shorten(model, batches(), CROSS_ENTROPY, branches=2)
    first, second = both.branches
    numbers = [int(branch.layer[5]) for branch in both.branches]
    (other,) = {0, 1, 2} - {numbers[0], numbers[1]}
    short = without_branch(model, numbers[0])
    losses = {n: loss_of(without_branch(short, n)) for n in (numbers[1], other)}
    assert second.loss == pytest.approx(losses[numbers[1]], rel=1e-5)
    assert losses[numbers[1]] < losses[other]
    assert second.macs < first.macs
    assert len(convolutions(both.model)) == len(convolutions(model)) - 4


def test_what_counts_is_the_rise_of_the_loss_for_the_macs_saved():
    """Of h + h/2 = 1.5 h, and 1.5 h + 1.5 h: without the first branch 2 h are left, without the
    second 1.5 h. The squared error is h² without the one, 2.25 h² without the other of nine times
    its macs."""
    inputs = keras.Input((8, 8, 3))
    stem = convolution(inputs, "stem", normalized=False)
    x = layers.Add()([stem, layers.Conv2D(8, 1, use_bias=False, name="cheap")(stem)])
    x = layers.Add()([x, convolution(x, "dear", normalized=False, use_bias=False)])
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))
    model.get_layer("cheap").set_weights([0.5 * np.eye(8)[None, None]])
    kernel = np.zeros((3, 3, 8, 8))
    kernel[1, 1] = np.eye(8)
    model.get_layer("dear_conv").set_weights([kernel])
    targets = model.predict(IMAGES, verbose=0)
    found = kn.importance.shorten(model, batches(labels=targets), keras.losses.MeanSquaredError())
    assert found.loss == pytest.approx(0, abs=1e-9)
    assert found.branches[0].layer == "dear_conv"
    dear = found.branches[0].loss
    model.get_layer("cheap").set_weights([np.zeros((1, 1, 8, 8))])
    cheap = np.mean((model.predict(IMAGES, verbose=0) - targets) ** 2)
    assert dear / cheap == pytest.approx(2.25, rel=1e-3)


def test_statistics_behind_the_branch_are_those_of_the_shorter_network():
    model = residual_net()
    model.compile("sgd", CROSS_ENTROPY)
    model.fit(IMAGES, LABELS, epochs=2, verbose=0)
    found = kn.importance.shorten(model, batches(), CROSS_ENTROPY, batches=2)
    again = keras.models.clone_model(found.model)
    again.set_weights(found.model.get_weights())
    kn.statistics.reestimate(again, batches(), 2)
    for kept, anew in zip(found.model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(kept, anew, rtol=1e-5, atol=1e-6)
    judged = [
        float(CROSS_ENTROPY(y, kn.statistics.by_batch(found.model)(x))) for x, y in batches()[:2]
    ]
    assert found.branches[0].loss == pytest.approx(np.mean(judged), rel=1e-4)


def dense_net():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    x = convolution(x, "stem")
    for number in range(3):
        x = layers.Concatenate()([x, convolution(layers.ReLU()(x), f"layer{number}", 4)])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(4)(x))


def inverted_net():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    x = convolution(x, "stem")
    for number in range(2):
        y = layers.ReLU(6.0)(layers.Conv2D(24, 1, name=f"expand{number}")(x))
        y = layers.DepthwiseConv2D(3, padding="same", name=f"depthwise{number}")(y)
        y = layers.Conv2D(8, 1, name=f"project{number}")(layers.ReLU(6.0)(y))
        x = layers.Add()([x, y])
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    ("make", "gone"), [(dense_net, {"layer{}_conv"}), (inverted_net, {"expand{}", "project{}"})]
)
def test_layers_of_dense_blocks_and_inverted_residuals_go_whole(make, gone, tmp_path):
    model = make()
    found = kn.importance.shorten(model, batches(), CROSS_ENTROPY)
    number = next(c for c in found.branches[0].layer if c.isdigit())
    left = [layer.name for layer in found.model.layers]
    assert {name.format(number) for name in gone}.isdisjoint(left)
    assert f"depthwise{number}" not in left
    lost = set(convolutions(model)) - set(convolutions(found.model))
    assert lost == {name.format(number) for name in gone}
    found.model.save(tmp_path / "shorter.keras")
    again = keras.models.load_model(tmp_path / "shorter.keras")
    np.testing.assert_array_equal(again(IMAGES[:2]), found.model(IMAGES[:2]))


def test_what_is_left_can_be_searched():
    found = kn.importance.shorten(residual_net(), batches(), CROSS_ENTROPY)
    supernet = kn.gates.insert(found.model, kn.layers.ScaledSigmoidGate)
    scores = kn.importance.score(supernet, "l1")
    macs = found.branches[0].macs
    architecture = kn.importance.prune(supernet, scores, target_macs=macs // 2)
    assert kn.costs.count(kn.surgery.build(supernet, architecture)).macs <= macs // 2


def test_the_loss_may_be_a_name_or_a_function_of_examples():
    model = residual_net(normalized=False)
    softmax = keras.Model(model.inputs, layers.Softmax()(model.outputs[0]))
    by_name = kn.importance.shorten(softmax, batches(), "sparse_categorical_crossentropy")

    def by_example(targets, outputs):
        return keras.losses.sparse_categorical_crossentropy(targets, outputs, from_logits=True)

    by_function = kn.importance.shorten(model, batches(), by_example)
    assert by_name.branches[0].layer == by_function.branches[0].layer
    assert by_name.loss == pytest.approx(by_function.loss, rel=1e-4)


def test_the_network_is_traced_once(monkeypatch):
    traces = []

    def loss(targets, outputs):
        traces.append(targets)
        return CROSS_ENTROPY(targets, outputs)

    kn.importance.shorten(residual_net(), batches(), loss, branches=3)
    assert len(traces) == 1


def chain():
    inputs = keras.Input((8, 8, 3))
    x = convolution(convolution(inputs, "first"), "second")
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)), name="chain")


@pytest.mark.parametrize(
    ("model", "data", "options", "message"),
    [
        (chain, batches(), {}, "`model` must have a branch that may go"),
        (
            residual_net,
            batches(),
            {"branches": 4},
            "`branches` must be 3 or less: no more of 'residual'",
        ),
        (residual_net, batches(), {"branches": 0}, "`branches` must be 1 or more"),
        (residual_net, batches(), {"batches": 0}, "`batches` must be 1 or more"),
        (residual_net, [], {}, "`data` must have a batch or more"),
    ],
)
def test_what_cannot_be_is_said(model, data, options, message):
    with pytest.raises(UsageError, match=message):
        kn.importance.shorten(model(), data, CROSS_ENTROPY, **options)


def test_a_network_without_channels_to_gate_is_refused():
    inputs = keras.Input((4,))
    with pytest.raises(KerasNasError):
        kn.importance.shorten(
            keras.Model(inputs, layers.Dense(2)(inputs)),
            [(np.ones((2, 4), "float32"), np.zeros(2, "int32"))],
            CROSS_ENTROPY,
        )
