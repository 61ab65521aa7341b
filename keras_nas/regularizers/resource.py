"""FGNAS' resource regulariser: what the network that the gates describe would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas import gates, surgery
from keras_nas.choices import RESOURCES
from keras_nas.costs import LatencyTable
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.graph import Node, read
from keras_nas.layers import Gate
from keras_nas.layers.ste_gate import all_straight_through
from keras_nas.regularizers.amounts import weighed
from keras_nas.regularizers.exact_counts import ExactCounts
from keras_nas.regularizers.prices import Price, counted_prices, timed_prices
from keras_nas.regularizers.relaxed_counts import RelaxedCounts, binary
from keras_nas.surgery.analysis import analyse
from keras_nas.surgery.plan import Plan


class Resource:
    """R(ψ) of FGNAS, Eq. (7) to (10): params, macs, flops or milliseconds, differentiable.

    The value is exact: that of `surgery.predict_costs(supernet, Architecture.from_gates(supernet),
    align="pad")` under the gates' present masks, with branches that die behind other branches,
    constants that fold and channels that nobody reads. With a latency table it is the sum of the
    fitted lines over the operations that are left, at the channels that are left; gathers at joins
    and the tiles of kernels are for `importance.Budget` to count.

    The gradient is the paper's: that of Σ φ(γ_in, γ_out), with γ_out = ‖G‖₁ and γ_in = ‖h(Σ G)‖₁
    (see `RelaxedCounts`), φ the same formulas, and G with the gates' own gradients.

    It belongs into the same `tf.function` as the training step. There, what no gate decides leaves
    nothing, and the counts of all layers are summed and priced together.

    Example:

    ```python
    resource = keras_nas.regularizers.Resource(supernet, "flops")
    with tf.GradientTape() as tape:
        loss = task_loss + 1e-9 * tf.cast(resource(), tf.float32)
    ```

    Args:
        model: A functional model with gates (all of whose modes count as on).
        what: `"params"`, `"macs"`, `"flops"` or `"latency_ms"`.
        input_shapes: Shapes to read the model at (batch axis included) where it leaves them open.
        table: Measured latencies, for `"latency_ms"`.
        dtype, threads, interpolate: Of the latencies; see `LatencyTable.predict`.

    Attributes:
        gates: The model's gates, in graph order.

    Raises:
        UsageError: If `what` is unknown, or a table lacks or is not asked for.
        KerasNasError: If the model has no gates or a layer with weights that is called several
            times, a size is open, or the table lacks a condition.

    References:
        Kim et al., Fine-Grained Neural Architecture Search, section 3.3.
    """

    def __init__(
        self,
        model: keras.Model,
        what: str,
        *,
        input_shapes: Any = None,
        table: LatencyTable | None = None,
        dtype: str = "float32",
        threads: int = 1,
        interpolate: bool = False,
    ):
        if what not in RESOURCES:
            raise UsageError(f"`what` must be one of {RESOURCES}. Received: what={what!r}")
        if (what == "latency_ms") != (table is not None):
            raise UsageError(
                "`table` must be given with what='latency_ms', and only then. "
                f"Received: what={what!r}, table={table!r}"
            )
        self.what = what
        graph = read(model, input_shapes)
        self._gate_of = _gates_by_name(graph, gates.find(model), model.name)
        self.gates = list(self._gate_of.values())
        plan = analyse(
            graph, {name: np.ones(gate.channels) for name, gate in self._gate_of.items()}, "pad"
        )
        _refuse_shared(plan)
        self._prices = self._priced(plan, model, input_shapes, table, dtype, threads, interpolate)
        self._exact = ExactCounts(plan, self._prices)
        self._relaxed = RelaxedCounts(plan, self._prices)
        self._function = tf.function(self._counted, autograph=False)

    @tf.autograph.experimental.do_not_convert
    def __call__(self, value: tf.Tensor | None = None) -> tf.Tensor:
        """R under the gates' present logits: a float64 scalar.

        Args:
            value: R, where it is known already: then only what the gradient needs is computed.
        """
        factors = all_straight_through(self.gates)
        return self.of(dict(zip(self._gate_of, factors, strict=True)), value)

    @tf.autograph.experimental.do_not_convert
    def of(self, factors: Mapping[str, tf.Tensor], value: tf.Tensor | None = None) -> tf.Tensor:
        """R for factors G by the gate's name, float32 `(channels,)` of zeros and ones."""
        if value is None:
            joined = tf.concat([factors[name] for name in self._gate_of], axis=0)
            value = self._counted(tf.stop_gradient(joined) > 0.5)
        relaxed = self.relaxed(factors)
        return tf.stop_gradient(value) + (relaxed - tf.stop_gradient(relaxed))

    @tf.autograph.experimental.do_not_convert
    def exact(self, masks: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The cost of the network under `masks`, bool by the gate's name; without gradient."""
        return self.exact_of_all(tf.concat([masks[name] for name in self._gate_of], axis=0))

    def exact_of_all(self, joined: tf.Tensor) -> tf.Tensor:
        """The same of the masks of `gates`, one behind the other: bool `(channels of all,)`."""
        return self._function(joined)

    def cost(self, masks: Mapping[str, np.ndarray]) -> float:
        """`exact` of masks as arrays; a gate that has none among them counts by its present one."""
        every = [masks[n] if n in masks else gate.mask() for n, gate in self._gate_of.items()]
        return float(self.exact_of_all(tf.constant(np.concatenate(every))))

    def _counted(self, joined: tf.Tensor) -> tf.Tensor:
        """The cost under the masks of all gates, one behind the other."""
        widths = [gate.channels for gate in self.gates]
        masks = dict(zip(self._gate_of, tf.split(joined, widths), strict=True))
        return weighed(self._prices, self._exact(masks))

    @tf.autograph.experimental.do_not_convert
    def relaxed(self, factors: Mapping[str, tf.Tensor], h=binary) -> tf.Tensor:
        """Σ φ(γ_in, γ_out) of Eq. (8) as printed, whose gradient `of` has; `h` as in Eq. (10)."""
        return weighed(self._prices, self._relaxed(factors, h))

    @tf.autograph.experimental.do_not_convert
    def marginal(self, factors: Sequence[tf.Tensor], h=binary) -> list[tf.Tensor]:
        """What each channel adds to `relaxed`, given the others: its gradient in the factors.

        Args:
            factors: G of each of `gates`, float32 `(channels,)`.
            h: As in `relaxed`.

        Returns:
            By gate as in `gates`, float32 `(channels,)`.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(factors)
            total = self.relaxed(dict(zip(self._gate_of, factors, strict=True)), h)
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(total, list(factors), unconnected_gradients=zero)

    def full(self) -> float:
        """R with every gate open."""
        channels = sum(gate.channels for gate in self.gates)
        return float(self._counted(tf.ones(channels, tf.bool)))

    def _priced(
        self, plan, model, input_shapes, table, dtype, threads, interpolate
    ) -> dict[Node, Price]:
        if self.what != "latency_ms":
            return counted_prices(plan, self.what)
        original = read(surgery.build(model, None), input_shapes)
        return timed_prices(plan, original, table, dtype, threads, interpolate)


def _gates_by_name(graph, found: Sequence[Gate], model_name: str) -> dict[str, Gate]:
    by_name = {
        node.operation_name: node.operation
        for node in graph.nodes
        if isinstance(node.operation, Gate)
    }
    if not by_name or len(by_name) != len(found):
        raise KerasNasError(
            f"Model '{model_name}' has {len(found)} gates, {len(by_name)} of them in its graph: a "
            "resource can only be counted over gates that keras_nas.gates.insert put there."
        )
    return by_name


def _refuse_shared(plan: Plan) -> None:
    for name, nodes in plan.graph.calls().items():
        if len(nodes) > 1 and plan.rules[nodes[0]].stateful:
            raise KerasNasError(
                f"Layer '{name}' is called {len(nodes)} times: the resource regulariser counts "
                "networks whose layers with weights are called once each."
            )
