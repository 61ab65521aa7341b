"""The backbones: functional models of stock layers, by name."""

from keras_nas.models.deeplab import deeplab_dso, deeplab_mobilenet_v2, segmentation_space
from keras_nas.models.densenet import densenet40_cifar
from keras_nas.models.dso import dso_cifar, dso_imagenet, dso_network
from keras_nas.models.dso_space import DsoSpace
from keras_nas.models.edsr import edsr
from keras_nas.models.efficientnet import efficientnet_b0
from keras_nas.models.found_network import FoundNetwork
from keras_nas.models.mobilenet_v2 import mobilenet_v2, mobilenet_v2_cifar
from keras_nas.models.proxyless import proxyless
from keras_nas.models.registry import arguments, create, names
from keras_nas.models.resnet import (
    resnet18,
    resnet18_cifar,
    resnet20_cifar,
    resnet50,
    resnet56_cifar,
    small_resnet,
)
from keras_nas.models.vgg import small_vgg, vgg16, vgg16_cifar, vgg19_cifar

__all__ = [
    "DsoSpace",
    "FoundNetwork",
    "arguments",
    "create",
    "deeplab_dso",
    "deeplab_mobilenet_v2",
    "densenet40_cifar",
    "dso_cifar",
    "dso_imagenet",
    "dso_network",
    "edsr",
    "efficientnet_b0",
    "mobilenet_v2",
    "mobilenet_v2_cifar",
    "names",
    "proxyless",
    "resnet18",
    "resnet18_cifar",
    "resnet20_cifar",
    "resnet50",
    "resnet56_cifar",
    "segmentation_space",
    "small_resnet",
    "small_vgg",
    "vgg16",
    "vgg16_cifar",
    "vgg19_cifar",
]
