"""The backbones: functional models of stock layers, by name."""

from keras_nas.models.edsr import edsr
from keras_nas.models.registry import create, names

__all__ = ["create", "edsr", "names"]
