"""The model zoo by name."""

from __future__ import annotations

import inspect
import json

import pytest

import keras_nas.models as models
from keras_nas.errors import KerasNasError


def test_names_are_the_builders_of_the_package():
    assert models.names() == sorted(models.names())
    assert set(models.names()) <= set(models.__all__)
    for name in models.names():
        assert getattr(models, name).__name__ == name


def test_create_builds_what_the_builder_builds():
    created = models.create("small_vgg", num_classes=7, input_shape=[20, 20, 2])
    assert created.name == "small_vgg"
    assert created.input_shape == (None, 20, 20, 2)
    assert created.output_shape == (None, 7)


@pytest.mark.parametrize("name", models.names())
def test_defaults_are_json_able(name):
    parameters = inspect.signature(getattr(models, name)).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    assert list(json.loads(json.dumps(defaults))) == list(defaults)


def test_unknown_name_lists_those_allowed():
    with pytest.raises(KerasNasError) as error:
        models.create("vgg16_cifa")
    message = str(error.value)
    assert "name='vgg16_cifa'" in message
    assert "did you mean 'vgg16_cifar'?" in message
    assert all(repr(name) in message for name in models.names())


def test_unknown_argument_lists_those_allowed():
    with pytest.raises(KerasNasError, match=r"'num_classes'.*Received: classes=10"):
        models.create("small_vgg", classes=10)


def test_config_that_json_cannot_hold_is_refused():
    with pytest.raises(KerasNasError, match="must be JSON-able"):
        models.create("small_vgg", widths={1, 2})


def test_registering_a_taken_name_is_refused():
    from keras_nas.models.registry import register

    def small_vgg():
        raise AssertionError("never called")

    with pytest.raises(KerasNasError, match="taken already"):
        register(small_vgg)


def test_a_variant_has_the_defaults_and_the_docstring_of_its_own():
    parameters = inspect.signature(models.small_resnet).parameters
    assert parameters["shortcut"].default == "projection"
    assert parameters["name"].default == "small_resnet"
    assert models.arguments("small_resnet") == models.arguments("resnet56_cifar")
    assert "two blocks a stage" in models.small_resnet.__doc__
    assert "inner_widths: Channels between" in models.small_resnet.__doc__
    assert models.small_resnet((14, 14, 1), 3).output_shape == (None, 3)


def test_what_a_variant_fixes_is_no_argument():
    assert "blocks" not in models.arguments("resnet20_cifar")
    with pytest.raises(TypeError, match="blocks"):
        models.resnet20_cifar(blocks=5)
    with pytest.raises(KerasNasError, match="Received: blocks=5"):
        models.create("resnet20_cifar", blocks=5)
