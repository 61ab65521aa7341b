"""Sony's Model Compression Toolkit, the structured pruner that Keras 2 has, as an outside peer."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np

import keras_nas as kn
from benchmarks.rivals.contest import Start
from export.legacy_keras import rebuild
from keras_nas.errors import KerasNasError, UsageError

SCRIPT = Path(__file__).with_name("mct_script.py")
PICTURES = 16
"""Those of the first training batch that the toolkit's scores are estimated on."""


def prune_by_mct(start: Start, target: str) -> keras.Model:
    """The trained network as the toolkit prunes it, with about the macs of the target.

    It has more where the toolkit knows none that is so small: layers whose channels meet others'
    keep all of theirs.

    Raises:
        UsageError: The contest knows no environment of the toolkit.
        KerasNasError: The toolkit ends with an error, or the network has layers that tf_keras does
            not know.
    """
    python = start.contest.mct_python
    if python is None:
        raise UsageError(
            f"`mct_python` must be the Python of an environment that {SCRIPT.name} can run in, for "
            "the entrant 'mct'. Received: none"
        )
    model = start.trained()
    macs = float(target.removesuffix("x")) * kn.costs.count(model).macs
    with tempfile.TemporaryDirectory() as folder:
        network, pictures, found = (Path(folder) / name for name in ("in.h5", "in.npy", "out.h5"))
        with warnings.catch_warnings():  # Keras 2.15 reads .h5 of a later tf_keras, not its .keras
            warnings.simplefilter("ignore", UserWarning)
            rebuild(model).save(network)
        np.save(pictures, np.asarray(next(iter(start.data.train.epoch(0)))[0])[:PICTURES])
        command = [python, *map(str, (SCRIPT, network, pictures, macs, found))]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise KerasNasError(
                f"{SCRIPT.name} ended with {ended.returncode} on '{model.name}': "
                f"{ended.stderr.strip().splitlines()[-1:]}"
            )
        return kn.load_model(found)
