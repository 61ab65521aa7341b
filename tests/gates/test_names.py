"""Gates in a user's composite layers have the same names at each reading of the model."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import keras
import numpy as np
from keras import layers

import keras_nas as kn


@keras.saving.register_keras_serializable("tests.names")
class Inner(layers.Layer):
    """Layers without names, an operation, and a layer that is called twice."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = layers.Conv2D(4, 1), layers.Conv2D(4, 3, padding="same")
        self.norm = layers.BatchNormalization()

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 4))
        self.norm.build((*shape[:-1], 4))

    def call(self, x):
        x = keras.ops.relu(self.norm(self.first(x)) * 0.5)
        return self.second(self.second(x)) + x


@keras.saving.register_keras_serializable("tests.names")
class Block(layers.Layer):
    """A composite of composites and of a layer with a name."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = [Inner(), Inner()]
        self.last = layers.Conv2D(4, 1, name="last")

    def build(self, shape):
        self.inner[0].build(shape)
        self.inner[1].build((*shape[:-1], 4))
        self.last.build((*shape[:-1], 4))

    def call(self, x):
        return self.last(self.inner[1](self.inner[0](x)))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 4)


def make():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 1, name="conv2d")(inputs)
    x = Block(name="b")(Block(name="a")(x))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


NAMES = [
    "conv2d_gate",
    "a_inner_conv2d_gate",
    "a_inner_conv2d_1_gate",
    "a_inner_1_conv2d_gate",
    "a_inner_1_conv2d_1_gate",
    "last_gate",
    "b_inner_conv2d_gate",
    "b_inner_conv2d_1_gate",
    "b_inner_1_conv2d_gate",
    "b_inner_1_conv2d_1_gate",
    "b_last_gate",
]


def gate_names(model):
    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate)
    return [gate.name for gate in kn.gates.find(supernet)]


def test_each_reading_and_each_file_gives_the_same_names(tmp_path):
    model = make()
    assert gate_names(model) == NAMES
    assert gate_names(model) == NAMES
    model.save(tmp_path / "model.keras")
    layers.Conv2D(3, 1)
    assert gate_names(kn.load_model(tmp_path / "model.keras")) == NAMES
    assert gate_names(make()) == NAMES


def test_an_architecture_fits_the_next_reading_in_another_process(tmp_path):
    model = make()
    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate)
    random = np.random.default_rng(0)
    for gate in kn.gates.find(supernet):
        gate.set_mask(random.random(gate.channels) > 0.4)
    kn.Architecture.from_gates(supernet).save(tmp_path / "architecture.json")
    model.save(tmp_path / "model.keras")
    x = random.normal(size=(2, 6, 6, 3)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    script = """
        import numpy as np
        import keras_nas as kn
        from keras import layers
        import tests.gates.test_names
        [layers.Conv2D(2, 1) for _ in range(3)]
        supernet = kn.gates.insert(kn.load_model("model.keras"), kn.layers.ScaledSigmoidGate)
        architecture = kn.Architecture.load("architecture.json")
        kn.gates.apply(supernet, architecture)
        np.save("y.npy", kn.surgery.build(supernet, architecture)(np.load("x.npy")))
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    root = kn.__path__[0].rsplit("/", 1)[0]
    subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        env={"PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": "-1", "PATH": ""},
    )
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), supernet(x), atol=1e-6)
