"""One process, two replicas and two hosts (processes of this machine) train alike."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import keras
import pytest

from benchmarks.kill_and_resume import small_network
from tests.source_tree import ROOT

SEARCH = (
    "apps.search",
    "--method=dnal", "--stages=weights,architecture", "--data=fashion_mnist", "--seed=3",
    "--train_examples=192", "--validation_share=0.002", "--batch_size=32", "--checkpoint_every=2",
    "--notensorboard", "--progress=lines", "--weights_epochs=2", "--architecture_epochs=2",
    "--delta_schedule=step", "--delta_max=20", "--debug",
)  # fmt: skip


def start(*command, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def start_two_hosts(*command):
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in (first, second)]
    cluster = {"worker": workers}
    return [
        start(
            *command,
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]


def finish(process):
    """What the process printed, and what it said beside."""
    output, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors[-3000:]
    return output, errors


def replica_losses(process):
    return json.loads(finish(process)[0].splitlines()[-1])


@pytest.fixture(scope="module")
def one_replica():
    return replica_losses(start("tests.search.replica_losses", "none"))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, abs=1e-5), name


def test_two_replicas_give_the_losses_of_one(one_replica):
    """20 steps of each stage, ragged batches, BatchNormalization synchronised or frozen.

    DSO's stage of edges takes whole batches alone, two a step.
    """
    assert len(one_replica["weights"]) == len(one_replica["edges"]) == 4
    assert one_replica["ste_kept"] == [24, 24, 10, 10]
    assert one_replica["edges_scales"] != pytest.approx([1.0] * len(one_replica["edges_scales"]))
    assert_same(replica_losses(start("tests.search.replica_losses", "mirrored")), one_replica)


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(one_replica):
    for process in start_two_hosts("tests.search.replica_losses", "multi_worker"):
        assert_same(replica_losses(process), one_replica)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Without dropout, whose draws depend on the replica; BatchNormalization synchronised."""

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["synchronized"] = True
        if isinstance(layer, keras.layers.Dropout):
            config["rate"] = 0.0
        return type(layer).from_config(config)

    path = tmp_path_factory.mktemp("model") / "net.keras"
    keras.models.clone_model(small_network(), clone_function=clone).save(path)
    return path


def losses(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.slow
def test_two_hosts_give_the_losses_of_one_and_resume_at_a_common_step(tmp_path, model_file):
    model = f"--model={model_file}"
    finish(start(*SEARCH, model, f"--run_dir={tmp_path / 'one'}"))
    two = tmp_path / "two"
    on_two_hosts = (*SEARCH, model, f"--run_dir={two}", "--distribute=multi_worker")
    for process in start_two_hosts(*on_two_hosts):
        finish(process)
    expected = losses(tmp_path / "one")
    print("one process:", expected, "two:", losses(two))
    assert len(expected) == 4
    assert losses(two) == pytest.approx(expected, abs=1e-5)

    for number in (12, 10):  # as if the second host had been killed before it saved these
        for file in (two / "checkpoint" / "architecture.worker1").glob(f"ckpt-{number}.*"):
            file.unlink()
    for process in start_two_hosts(*on_two_hosts, "--resume"):
        assert "goes on at epoch 2, step 3" in finish(process)[1]
    assert losses(two) == pytest.approx(expected, abs=1e-5)


def newest(folder):
    return max((int(path.stem[5:]) for path in folder.glob("ckpt-*.index")), default=0)


@pytest.mark.slow
def test_sigterm_to_one_host_stops_both_at_the_same_checkpoint(tmp_path, model_file):
    flags = (f"--model={model_file}", f"--run_dir={tmp_path}", "--weights_epochs=2000")
    processes = start_two_hosts(*SEARCH, *flags, "--distribute=multi_worker")
    own = [tmp_path / "checkpoint" / name for name in ("weights", "weights.worker1")]
    began = time.monotonic()
    while newest(own[1]) < 4:
        assert time.monotonic() - began < 300
        assert processes[1].poll() is None
        time.sleep(0.1)
    processes[1].terminate()
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "was told to stop" in errors
    assert newest(own[0]) == newest(own[1])
