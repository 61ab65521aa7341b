"""A disk that is really full: a small file system in memory, filled while a stage runs."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from keras_nas.errors import KerasNasError
from keras_nas.training.loop import run_stage
from keras_nas.training.session import Session
from tests.training.toy import ToyData, ToyStage


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user cannot mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path):
    with pytest.raises(OSError, match="No space left"), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize(("epoch", "step", "kept"), [(1, 1, "ckpt-5"), (0, 3, "ckpt-3")])
def test_the_old_checkpoint_survives_and_the_run_goes_on(small_disk, epoch, step, kept):
    """Full before a checkpoint within the epoch, and before the records at its end."""

    def on_step(e, s):
        if (e, s) == (epoch, step):
            fill(small_disk / "filler")

    stage = ToyStage(ToyData(), epochs=3)
    stage.on_step = on_step
    run = {"directory": small_disk / "run", "checkpoint_every": 1, "progress": "off"}
    with pytest.raises(KerasNasError, match=f"{kept} is kept.*space.*--resume") as error:
        run_stage(stage, Session(**run))
    assert "\n" not in str(error.value)
    (small_disk / "filler").unlink()
    resumed, unbroken = ToyStage(ToyData(), epochs=3), ToyStage(ToyData(), epochs=3)
    run_stage(resumed, Session(resume=True, **run))
    run_stage(unbroken, Session(progress="off"))
    assert resumed.weight.numpy() == unbroken.weight.numpy()
