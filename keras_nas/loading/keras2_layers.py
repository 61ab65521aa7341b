"""Layers of Keras 2 by their configurations, mended where Keras 3 refuses or reads otherwise."""

from __future__ import annotations

import inspect
from collections import Counter
from typing import Any

import keras
from keras.src.applications.convnext import LayerScale
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from keras_nas.errors import KerasNasError

ANY = object()
"""Stands for every value: the argument did nothing, or is found again from the shapes."""

DROPPED: dict[str, Any] = {
    "groups": 1,
    "time_major": False,
    "renorm": False,
    "fused": ANY,
    "virtual_batch_size": None,
    "adjustment": None,
    "query_shape": ANY,
    "key_shape": ANY,
    "value_shape": ANY,
    "trainable": ANY,
    "noise_shape": None,
}
"""Arguments that Keras 3 has no more, with the value at which they said nothing."""

UNUSED_OF_DEPTHWISE = frozenset(["kernel_initializer", "kernel_regularizer", "kernel_constraint"])
"""What Depthwise and Separable convolutions inherited from Conv in Keras 2, and never used."""

EVERY_LAYER = frozenset(["name", "dtype", "trainable", "autocast", "activity_regularizer"])

MOVED = {"LayerScale": LayerScale, "Custom>CustomScaleLayer": CustomScaleLayer}
"""Layers of `keras.applications` that are registered under no name in Keras 3."""

REMOVED = frozenset(
    "LocallyConnected1D LocallyConnected2D RandomHeight RandomWidth CuDNNLSTM CuDNNGRU "
    "TensorFlowOpLayer DenseFeatures SequenceFeatures RandomCrop".split()
)
"""Layers that Keras 3 lacks; its RandomCrop no longer crops at inference."""

SILENT = ("batch_input_shape", "input_length")
"""Arguments that Keras 3 knows to say nothing: inputs' shapes, written again."""

RENAMED = {("LeakyReLU", "alpha"): "negative_slope", ("ThresholdedReLU", "theta"): "threshold"}

ACTIVATIONS = ("activation", "recurrent_activation")


@keras.saving.register_keras_serializable(package="keras_nas")
def keras2_hard_sigmoid(x):
    """Keras 2's hard sigmoid, min(max(0.2 x + 0.5, 0), 1); Keras 3's has slope 1/6."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


class LayerReader:
    """Makes layers from Keras 2's configurations, and keeps account of what it mends.

    Attributes:
        mended: How often each thing was mended, by a short description of it.
    """

    def __init__(self, custom_objects: dict[str, Any] | None):
        self.custom_objects = custom_objects or {}
        self.mended: Counter[str] = Counter()

    def read(self, class_name: str, config: dict[str, Any]) -> list[keras.layers.Layer]:
        """The layers that do what one of Keras 2 did: itself, with its hard sigmoid behind it.

        Raises:
            KerasNasError: If Keras 3 has no such layer, or the configuration asks for what it
                cannot do; names the layer.
        """
        name = str(config.get("name", class_name))
        cls = self._class_of(class_name, name)
        config = self._mended(cls, class_name, dict(config), name)
        behind: list[keras.layers.Layer] = []
        if config.get("activation") is keras2_hard_sigmoid and "recurrent_activation" not in config:
            config["activation"] = "linear"
            behind = [
                keras.layers.Rescaling(0.2, 0.5, name=f"{config['name']}_slope"),
                keras.layers.ReLU(1.0, name=f"{config['name']}_clip"),
            ]
        try:
            with keras.saving.custom_object_scope(self.custom_objects):
                return [cls.from_config(config), *behind]
        except Exception as error:
            raise KerasNasError(
                f"Layer '{name}' ({class_name}) of Keras 2 cannot be made in Keras "
                f"{keras.__version__}: {str(error).strip().splitlines()[-1]}"
            ) from error

    def free_name(self, name: str) -> str:
        """The name as Keras 3 takes it: without slashes."""
        if "/" not in name:
            return name
        self.mended["'/' in a name is now '_'"] += 1
        return name.replace("/", "_")

    def _class_of(self, class_name: str, name: str) -> Any:
        if class_name == "Lambda":
            raise KerasNasError(
                f"Layer '{name}' is a Lambda, whose function is stored as code, and code from "
                "files is not run: rebuild the model with a layer or operation of Keras."
            )
        if class_name == "ThresholdedReLU":
            return keras.layers.ReLU
        if class_name in REMOVED and class_name not in self.custom_objects:
            raise KerasNasError(
                f"Layer '{name}' is a {class_name}, which Keras 3 has no more as it was: rebuild "
                "the model without it."
            )
        found = keras.saving.get_registered_object(class_name, self.custom_objects)
        found = found or getattr(keras.layers, class_name, None) or MOVED.get(class_name)
        if found is None:
            raise KerasNasError(
                f"Layer '{name}' is of class '{class_name}', which neither Keras "
                f"{keras.__version__} nor this program knows: import the module that registers it "
                "(keras.saving.register_keras_serializable), or pass it in `custom_objects`."
            )
        return found

    def _mended(self, cls: Any, class_name: str, config: dict, name: str) -> dict[str, Any]:
        config["name"] = self.free_name(name)
        config = {RENAMED.get((class_name, key), key): v for key, v in config.items()}
        for key in SILENT:
            config.pop(key, None)
        config["dtype"] = self._policy(config.get("dtype"))
        if class_name == "ThresholdedReLU":
            self._note(class_name, "is now a ReLU with a threshold")
        if class_name == "GRU" and "reset_after" not in config:
            config["reset_after"] = False
        axis = config.get("axis")
        if isinstance(axis, (list, tuple)) and len(axis) < 2:
            config["axis"] = axis[0] if axis else None
        for key in ACTIVATIONS:
            if config.get(key) == "hard_sigmoid":
                config[key] = keras2_hard_sigmoid
                self._note(class_name, "keeps Keras 2's hard_sigmoid (slope 0.2)")
        for key, value in list(config.items()):
            if key.endswith("_initializer"):
                _mend_initializer(value)
            elif isinstance(value, (dict, list)):
                config[key] = self._mend_parts(value, name)
        return self._without_strangers(cls, class_name, config, name)

    def _mend_parts(self, value: Any, name: str) -> Any:
        """The same for layers and cells in a layer's configuration."""
        if isinstance(value, list):
            return [self._mend_parts(part, name) for part in value]
        if not (isinstance(value, dict) and isinstance(value.get("config"), dict)):
            return value
        class_name = value.get("class_name", "")
        if class_name != "Lambda" and getattr(keras.layers, class_name, None) is None:
            return value
        if class_name in ("Functional", "Model", "Sequential"):
            raise KerasNasError(
                f"Layer '{name}' holds a whole model, which is not read from files of Keras 2: "
                "load it with TensorFlow 2.15 and save it as .keras."
            )
        cls = self._class_of(class_name, name)
        config = dict(value["config"])
        part = {"class_name": class_name, "module": "keras.layers", "registered_name": None}
        part["config"] = self._mended(cls, class_name, config, str(config.get("name", class_name)))
        for key in ACTIVATIONS:
            if part["config"].get(key) is keras2_hard_sigmoid:
                part["config"][key] = keras.saving.serialize_keras_object(keras2_hard_sigmoid)
        return part

    def _policy(self, dtype: Any) -> Any:
        if not isinstance(dtype, dict):
            return dtype
        name = dtype.get("config", {}).get("name")
        self.mended[f"the dtype policy {name} is read by its name"] += 1
        return name

    def _without_strangers(self, cls, class_name: str, config: dict, name: str) -> dict[str, Any]:
        known = _arguments(cls)
        if known is None:
            return config
        dropped = dict(DROPPED)
        if class_name.startswith(("Depthwise", "Separable")):
            dropped.update(dict.fromkeys(UNUSED_OF_DEPTHWISE, ANY))
        for key in [key for key in config if key in dropped and key not in known]:
            value = config.pop(key)
            if dropped[key] is not ANY and value != dropped[key]:
                raise KerasNasError(
                    f"Layer '{name}' ({class_name}) has {key}={value!r}, which Keras "
                    f"{keras.__version__} cannot do: rebuild the model without it."
                )
            if key != "trainable":
                self._note(class_name, f"without {key}")
        return config

    def _note(self, class_name: str, what: str):
        self.mended[f"{class_name} {what}"] += 1


def _mend_initializer(value: Any):
    """Drops the dtype that TensorFlow 2.0 to 2.3 wrote, and old names of distributions."""
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        value["config"].pop("dtype", None)
        if value["config"].get("distribution") == "normal":
            value["config"]["distribution"] = "truncated_normal"


def _arguments(cls: Any) -> frozenset[str] | None:
    """The names that a layer's constructor takes; `None` for a user's, which may take anything."""
    if not cls.__module__.startswith("keras."):
        return None
    found: set[str] = set()
    for ancestor in cls.__mro__:
        if ancestor is keras.layers.Layer:
            return frozenset(found | EVERY_LAYER)
        own = inspect.signature(ancestor.__init__).parameters
        found.update(own)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
            return frozenset(found)
    return frozenset(found)
