"""What every backbone promises: stock layers, names that last, save and load, widths as lists."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas.models as models
from keras_nas.errors import KerasNasError

LIGHT = {
    "densenet40_cifar": {},
    "edsr": {"blocks": 2, "filters": 8, "input_shape": [8, 8, 3]},
    "efficientnet_b0": {"input_shape": [32, 32, 3], "num_classes": 10},
    "mobilenet_v2": {"input_shape": [32, 32, 3], "num_classes": 10},
    "mobilenet_v2_cifar": {},
    "resnet18": {"input_shape": [32, 32, 3], "stage_widths": [8, 16, 32, 64], "num_classes": 10},
    "resnet18_cifar": {"stage_widths": [8, 16, 32, 64]},
    "resnet20_cifar": {},
    "resnet50": {"input_shape": [32, 32, 3], "stage_widths": [16, 32, 48, 64], "num_classes": 10},
    "resnet56_cifar": {},
    "small_resnet": {},
    "small_vgg": {},
    "vgg16": {
        "input_shape": [32, 32, 3],
        "widths": [[8] * 2, [8] * 2, [8] * 3, [8] * 3, [8] * 3],
        "hidden_widths": [16, 16],
        "num_classes": 10,
    },
    "vgg16_cifar": {"widths": [[8] * 2, [8] * 2, [8] * 3, [8] * 3, [8] * 3]},
    "vgg19_cifar": {"widths": [[8] * 2, [8] * 2, [8] * 4, [8] * 4, [8] * 4]},
}


@pytest.fixture(scope="module")
def zoo():
    return {name: models.create(name, **config) for name, config in LIGHT.items()}


def test_the_zoo_holds_these_backbones():
    assert set(LIGHT) <= set(models.names())


@pytest.mark.parametrize("name", LIGHT)
def test_layers_are_stock_and_named_in_snake_case(zoo, name):
    operations = zoo[name].operations
    assert all(type(operation).__module__.startswith("keras.") for operation in operations)
    names = [operation.name for operation in operations]
    assert len(set(names)) == len(names)
    assert [found for found in names if not re.fullmatch(r"[a-z][a-z0-9_]*", found)] == []


@pytest.mark.parametrize("name", ["densenet40_cifar", "edsr", "resnet20_cifar", "small_resnet"])
def test_a_second_build_has_the_same_names(zoo, name):
    config = json.loads(json.dumps(LIGHT[name]))
    again = models.create(name, **config)
    assert [o.name for o in again.operations] == [o.name for o in zoo[name].operations]


@pytest.mark.parametrize("name", LIGHT)
def test_convolutions_and_normalisation_are_separate_layers(zoo, name):
    operations = [o for o in zoo[name].operations if isinstance(o, layers.Layer)]
    convolutions = [o for o in operations if isinstance(o, (layers.Conv2D, layers.DepthwiseConv2D))]
    assert all(keras.activations.serialize(o.activation) == "linear" for o in convolutions)
    free_of_bias = [o for o in convolutions if not o.use_bias]
    if name == "edsr":
        assert not free_of_bias
    elif name == "efficientnet_b0":
        assert len(convolutions) - len(free_of_bias) == 2 * 16
    else:
        assert free_of_bias == convolutions


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2_cifar", "resnet50", "vgg16"])
def test_save_and_load(zoo, name, tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    path = tmp_path / "model.keras"
    zoo[name].save(path)
    loaded = keras.saving.load_model(path)
    np.testing.assert_array_equal(loaded(images), zoo[name](images))


def test_op_layers_load_in_a_process_without_this_package(zoo, tmp_path):
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    for name, image in (("edsr", images[:, :8, :8]), ("resnet20_cifar", images)):
        zoo[name].save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", x=image, y=zoo[name](image))
    code = """
import keras, numpy as np, sys
for name in ("edsr", "resnet20_cifar"):
    model = keras.saving.load_model(f"{sys.argv[1]}/{name}.keras")
    data = np.load(f"{sys.argv[1]}/{name}.npz")
    np.testing.assert_allclose(model(data["x"]), data["y"], rtol=1e-5, atol=1e-5)
assert not any(module.startswith("keras_nas") for module in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["edsr", "efficientnet_b0", "resnet20_cifar", "vgg16"])
def test_mixed_precision_ends_in_float32_for_classifiers(name):
    keras.config.set_dtype_policy("mixed_float16")
    model = models.create(
        name, **LIGHT[name], **({} if name == "edsr" else {"classifier_activation": "softmax"})
    )
    shape = (2, *model.input_shape[1:])
    outputs = model(np.random.default_rng(0).uniform(size=shape).astype("float32"))
    assert outputs.dtype == ("float16" if name == "edsr" else "float32")
    assert np.isfinite(np.asarray(outputs)).all()


def test_a_small_resnet_learns():
    keras.utils.set_random_seed(1)
    model = models.small_resnet(input_shape=(8, 8, 1), num_classes=2, stage_widths=[4, 8, 8])
    images = np.random.default_rng(0).normal(size=(64, 8, 8, 1)).astype("float32")
    labels = (images.mean((1, 2, 3)) > 0).astype("int32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    history = model.fit(images, labels, epochs=15, batch_size=32, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]


class TestWidths:
    def test_vgg_takes_a_width_for_each_convolution(self):
        widths = [[3, 5], [7, 9], [11, 13]]
        model = models.small_vgg(widths=widths, hidden_width=6)
        assert _filters(model) == [3, 5, 7, 9, 11, 13]
        assert model.get_layer("hidden_dense").units == 6

    def test_resnet_takes_stream_and_inner_widths(self):
        model = models.small_resnet(stage_widths=[4, 6, 8], inner_widths=[[1, 2], [3, 4], [5, 6]])
        found = {
            f"stage{stage}_block{block}": [
                model.get_layer(f"stage{stage}_block{block}_{index}_conv").filters
                for index in (1, 2)
            ]
            for stage in (1, 2, 3)
            for block in (1, 2)
        }
        assert found == {
            "stage1_block1": [1, 4], "stage1_block2": [2, 4],
            "stage2_block1": [3, 6], "stage2_block2": [4, 6],
            "stage3_block1": [5, 8], "stage3_block2": [6, 8],
        }  # fmt: skip

    def test_resnet50_takes_pairs(self):
        inner = [[[2, 3]] * 3, [[4, 5]] * 4, [[6, 7]] * 6, [[8, 9]] * 3]
        model = models.resnet50((32, 32, 3), 10, stage_widths=[8, 8, 8, 8], inner_widths=inner)
        convolutions = [model.get_layer(f"stage3_block6_{index}_conv") for index in (1, 2, 3)]
        assert [layer.filters for layer in convolutions] == [6, 7, 8]
        assert [layer.kernel_size[0] for layer in convolutions] == [1, 3, 1]

    def test_mobilenet_takes_expansions_outputs_and_kernels(self):
        expanded, widths = list(range(20, 37)), [8] * 8 + [12] * 9
        kernels = [5, 3] * 8 + [5]
        model = models.mobilenet_v2(
            (32, 32, 3), 10, expanded_widths=expanded, block_widths=widths, kernel_sizes=kernels
        )
        for index in range(17):
            assert model.get_layer(f"block{index + 1}_project_conv").filters == widths[index]
            depthwise = model.get_layer(f"block{index + 1}_depthwise_conv")
            assert depthwise.output.shape[-1] == expanded[index]
            assert depthwise.kernel_size == (kernels[index],) * 2

    def test_densenet_takes_growth_rates(self):
        rates = [[2] * 12, [3] * 12, [4] * 12]
        model = models.densenet40_cifar(stem_width=5, growth_rates=rates, transition_widths=[6, 7])
        assert model.get_layer("transition1_relu").output.shape[-1] == 5 + 24
        assert model.get_layer("transition2_relu").output.shape[-1] == 6 + 36
        assert model.get_layer("head_relu").output.shape[-1] == 7 + 48

    @pytest.mark.parametrize(
        ("widths", "found"),
        [
            ([[3, 5], [7, 9]], r"widths is a list of 3"),
            ([[3, 5], [7, 9], [11]], r"widths\[2\] is a list of 2.*\[11\]"),
            ([[3, 5], [7, 0], [1, 1]], r"widths\[1\]\[1\]=0"),
            ([[3, 5], [7, 2.5], [1, 1]], r"widths\[1\]\[1\]=2.5"),
        ],
    )
    def test_lists_that_do_not_fit_are_refused(self, widths, found):
        with pytest.raises(KerasNasError, match=found):
            models.small_vgg(widths=widths)

    def test_padded_shortcuts_cannot_drop_channels(self):
        with pytest.raises(KerasNasError, match="must not fall"):
            models.resnet20_cifar(stage_widths=[16, 12, 64])

    def test_shortcut_must_be_known(self):
        with pytest.raises(KerasNasError, match="`shortcut` must be one of"):
            models.resnet20_cifar(shortcut="none")


def test_padded_shortcut_picks_every_second_pixel_and_appends_zeros():
    from keras_nas.models.resnet import apply_basic_block

    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, apply_basic_block(inputs, 3, 5, 2, shortcut="pad", name="block"))
    model.get_layer("block_2_conv").set_weights([np.zeros((3, 3, 3, 5), "float32")])
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype("float32")
    expected = np.maximum(np.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(0, 3)]), 0)
    np.testing.assert_allclose(model(x), expected, atol=1e-6)


def _filters(model):
    return [layer.filters for layer in model.layers if type(layer) is layers.Conv2D]
