from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.source_tree import ROOT


def start(kind, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.search.replica_losses", kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def finish(process):
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors[-2000:]
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def one_replica():
    return finish(start("none"))


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
    assert_same(finish(start("mirrored")), one_replica)


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(one_replica):
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    workers = [f"127.0.0.1:{port}" for port in ports]
    processes = [
        start(
            "multi_worker",
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]
    for process in processes:
        assert_same(finish(process), one_replica)
