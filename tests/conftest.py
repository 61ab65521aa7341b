"""What every test shares: a quiet TensorFlow, a headless matplotlib, fixed seeds."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")

import keras
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, settings

# Two CPU devices, so that tf.distribute.MirroredStrategy has two replicas to test with.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

settings.register_profile(
    "keras_nas",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("keras_nas")


@pytest.fixture(scope="module", autouse=True)
def _fresh_keras_state():
    """Every test module starts from one seed, without the layer names of the one before."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from one seed and leaves no dtype policy behind."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def mirrored():
    """A `tf.distribute.MirroredStrategy` over two CPU devices, the one of this process."""
    from keras_nas.runs.environment import make_strategy

    return make_strategy("mirrored", 2)
