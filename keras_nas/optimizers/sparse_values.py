"""A callback that lets validation inside `Model.fit` see APG-NAG's sparse solution."""

from __future__ import annotations

import keras

from keras_nas.errors import UsageError
from keras_nas.optimizers.apg import APGNAG


class SparseValues(keras.callbacks.Callback):
    """Puts λ = S(z) into the variables while `fit` validates, and λ' back to train on.

    The model's optimizer may be an `APGNAG`, a `keras.optimizers.LossScaleOptimizer` around one, or
    a `keras.optimizers.MultiOptimizer` with one among its parts.

    Example:

    ```python
    model.compile(optimizer=keras_nas.optimizers.APGNAG(0.1, gamma=1e-3), loss=…)
    model.fit(data, validation_data=…, callbacks=[keras_nas.optimizers.SparseValues()])
    ```

    Raises:
        UsageError: When `fit` starts with a model that is not trained by APG-NAG.
    """

    def __init__(self):
        super().__init__()
        self._lookahead: list | None = None

    def on_train_begin(self, logs=None):
        if not self._optimizers():
            raise UsageError(
                "`SparseValues` needs a model whose optimizer is an APGNAG. "
                f"Received: optimizer={type(self.model.optimizer).__name__}"
            )

    def on_test_begin(self, logs=None):
        self._lookahead = [
            (optimizer, optimizer.swap_in_sparse_values())
            for optimizer in self._optimizers()
            if optimizer.built
        ]

    def on_test_end(self, logs=None):
        for optimizer, values in self._lookahead or []:
            optimizer.restore_values(values)
        self._lookahead = None

    def _optimizers(self) -> list[APGNAG]:
        outer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        return [o for o in getattr(outer, "optimizers", [outer]) if isinstance(o, APGNAG)]
