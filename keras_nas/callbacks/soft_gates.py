"""The gates that `fit` learns."""

from __future__ import annotations

import keras

from keras_nas import gates
from keras_nas.errors import UsageError
from keras_nas.gates.find import GateKind


def soft_gates(model: keras.Model, kind: type[GateKind]) -> list[GateKind]:
    """The gates of a kind in mode "soft", in graph order.

    Raises:
        KerasNasError: If the model has no gate of that kind.
        UsageError: If none of them is soft.
    """
    found = gates.learnable(model, kind, "Put them in with keras_nas.gates.insert.")
    soft = [gate for gate in found if gate.mode == "soft"]
    if not soft:
        raise UsageError(
            f"No gate of '{model.name}' is in mode 'soft', in which fit learns them: call "
            f"keras_nas.gates.set_mode(model, 'soft') first. Received: mode {found[0].mode!r}"
        )
    return soft
