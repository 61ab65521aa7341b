from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import keras_nas as kn
from keras_nas.record import ArchitectureRecord
from tests.source_tree import ROOT


def test_saved_and_loaded_record_is_the_same(tmp_path):
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
