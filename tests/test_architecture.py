from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.layers import ScaledEdge, ScaledSigmoidGate
from keras_nas.record import ArchitectureRecord
from tests.source_tree import ROOT


def gated() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="a")(inputs)
    x = ScaledSigmoidGate(name="gate")(x)
    y = ScaledEdge(name="edge")(layers.Conv2D(8, 1, name="b")(x))
    x = layers.Flatten()(layers.Add()([x, y]))
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    model.get_layer("gate").set_mask([1, 1, 0, 0, 1, 0, 0, 0])
    model.get_layer("edge").scale.assign([0.25])
    return model


def test_from_gates_reads_masks_edges_and_costs():
    architecture = kn.Architecture.from_gates(gated(), method="by hand", seed=3, align="pad")
    assert architecture.kept_channels == {"gate": [0, 1, 4]}
    assert architecture.channels == {"gate": 8}
    assert architecture.kept_edges == {"edge": 0.25}
    assert architecture.kept_share() == 3 / 8
    before = 64 * (27 * 8 + 8 * 8) + 64 * 8 * 2
    assert architecture.costs["before"]["macs"] == before
    assert architecture.costs["after"]["macs"] < before
    assert (architecture.method, architecture.seed) == ("by hand", 3)


def test_saved_and_loaded_record_is_the_same(tmp_path):
    architecture = kn.Architecture.from_gates(
        gated(), method="dnal", settings={"lambda_a": 1e-4}, source={"path": "supernet.keras"}
    )
    architecture.save(tmp_path / "a.json")
    assert kn.Architecture.load(tmp_path / "a.json") == architecture


def test_the_same_small_model_from_a_loaded_record(tmp_path):
    supernet = gated()
    kn.gates.set_mode(supernet, "hard")
    kn.Architecture.from_gates(supernet).save(tmp_path / "a.json")
    small = kn.surgery.build(supernet, kn.Architecture.load(tmp_path / "a.json"))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(small(x), supernet(x), atol=1e-5)


def test_rounded_architecture_equals_the_gated_model_after_apply():
    supernet = gated()
    architecture = kn.Architecture.from_gates(supernet, round_to=4)
    assert len(architecture.kept_channels["gate"]) == 4
    kn.gates.apply(supernet, architecture)
    small = kn.surgery.build(supernet, architecture)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    kn.gates.set_mode(supernet, "hard")
    np.testing.assert_allclose(small(x), supernet(x), atol=1e-5)


def test_gates_that_are_off_keep_everything():
    """Masks set by hand on some gates: the others, still off, are identities and stay whole."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="a")(inputs)
    x = layers.Conv2D(6, 3, name="b")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    supernet = kn.gates.insert(model, ScaledSigmoidGate)
    supernet.get_layer("a_gate").set_mask([1, 0] * 4)
    architecture = kn.Architecture.from_gates(supernet)
    assert architecture.kept_channels == {"a_gate": [0, 2, 4, 6], "b_gate": [0, 1, 2, 3, 4, 5]}
    small = kn.surgery.build(supernet, architecture)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(small(x), supernet(x), atol=1e-5)


def test_refusals():
    inputs = keras.Input((4,))
    with pytest.raises(kn.KerasNasError, match="has no gates"):
        kn.Architecture.from_gates(keras.Model(inputs, layers.Dense(2)(inputs)))
    with pytest.raises(kn.KerasNasError, match="`round_to` must be 1 or more"):
        kn.Architecture.from_gates(gated(), round_to=0)


def test_a_saved_record_is_read_as_itself_and_as_an_architecture(tmp_path):
    record = ArchitectureRecord(
        {"gate": [0, 2]},
        {"gate": 4},
        kept_operations={"mixed": ["conv3x3"]},
        kept_edges={"edge": 0.25},
        costs={"after": {"macs": 12.0}},
        kernel_sizes={"mixed": [3, 3]},
    )
    record.save(tmp_path / "a.json")
    assert ArchitectureRecord.load(tmp_path / "a.json") == record
    loaded = kn.Architecture.load(tmp_path / "a.json")
    assert isinstance(loaded, kn.Architecture)
    assert loaded.to_json() == record.to_json() == (tmp_path / "a.json").read_text("utf-8")


def test_files_that_are_no_record_are_refused(tmp_path):
    with pytest.raises(kn.KerasNasError, match=r"Cannot read the architecture .*missing.json"):
        ArchitectureRecord.load(tmp_path / "missing.json")
    (tmp_path / "torn.json").write_text('{"kept')
    with pytest.raises(kn.KerasNasError, match="is not JSON"):
        ArchitectureRecord.load(tmp_path / "torn.json")
    record = {"schema_version": 1, "kept_channels": {"gate": [-1]}, "channels": {"gate": 8}}
    (tmp_path / "odd.json").write_text(json.dumps(record))
    with pytest.raises(
        kn.KerasNasError, match=r"odd.json is no architecture: at kept_channels/gate/0"
    ):
        ArchitectureRecord.load(tmp_path / "odd.json")


def test_a_record_is_read_without_tensorflow(tmp_path):
    ArchitectureRecord({"gate": [1]}, {"gate": 2}).save(tmp_path / "a.json")
    code = (
        "import sys\n"
        "from keras_nas.record import ArchitectureRecord\n"
        f"print(ArchitectureRecord.load({str(tmp_path / 'a.json')!r}).kept_share())\n"
        "print(sorted({'keras', 'tensorflow'} & sys.modules.keys()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "KERAS_NAS_DEFER": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["0.5", "[]"]
