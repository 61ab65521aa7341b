"""Trained, exported models on ARM kernels under qemu."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.arm_environment import missing_tools, prepare
from benchmarks.arm_parity import Difference, compare, trained_files
from export.latency.single_op import build
from keras_nas.costs import Condition

REASON = "needs Debian's qemu-user-static and debootstrap: apt-get install them"
needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=REASON)


@pytest.fixture(scope="module")
def environment():
    return prepare()


@pytest.mark.slow
@needs_tools
def test_trained_models_give_the_same_outputs_on_arm(environment, tmp_path):
    files, held_out = trained_files(tmp_path)
    found = list(compare(files, held_out[:60], environment))
    assert [difference.model for difference in found] == [path.name for path in files]
    assert {difference.quantized for difference in found} == {False, True}
    assert [difference for difference in found if not difference.good] == []


@pytest.mark.slow
@needs_tools
def test_arm_runs_arm_kernels(environment):
    assert environment.run(["-c", "import platform; print(platform.machine())"]) == "aarch64\n"


@pytest.mark.slow
@needs_tools
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("operation", ["conv", "depthwise_conv", "max_pool", "average_pool"])
def test_single_operations_give_the_same_outputs_on_arm(environment, tmp_path, operation, dtype):
    condition = Condition(operation, 9, 9, (3, 3), (2, 2), dtype=dtype)
    path = Path(tmp_path / "op.tflite")
    path.write_bytes(build(condition, 24, 24))
    inputs = np.random.default_rng(0).normal(size=(4, 9, 9, 24)).astype("float32")
    (found,) = compare([path], inputs, environment)
    assert found.worst <= (1e-4 if dtype == "float32" else 1)
    assert found.spread > 0.1


def test_a_difference_is_judged_by_its_format():
    def judged(**changes) -> bool:
        same = {"worst": 1e-6, "mean": 0.0, "agreement": 1.0, "quantized": False, "spread": 0.3}
        return Difference("m", **{**same, **changes}).good

    assert judged()
    assert not judged(worst=1e-3)
    assert judged(worst=2, quantized=True, spread=20)
    assert not judged(worst=3, quantized=True, spread=20)
    assert not judged(agreement=0.9)
    assert not judged(spread=1e-7)  # constant outputs agree whatever the kernels do
