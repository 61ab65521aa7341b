"""What a network costs: the records that counting returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class LayerCosts:
    """What one call of a layer or op costs, at batch 1.

    Attributes:
        macs: Multiply-adds of convolutions, Dense layers and matrix products. Biases,
            normalisation (it folds into the convolution before it), activations, pooling and other
            element-wise work count 0: with this convention the DNAL and FGNAS papers' columns come
            out.
        params: Learned values: kernels, biases, scales and offsets of normalisation, whether
            frozen or not. Not moving statistics, seeds or gates.
        state: Values that are kept but not learned: moving statistics.
        activation_memory: Bytes of the tensors it writes; 0 for views such as Reshape.
        memory_access: Bytes it moves: inputs read, outputs written, params and state read. In
            elements this is hw(c₁ + c₂) + c₁c₂ for a 1×1 convolution: ShuffleNetV2's "MAC", which
            DSO-NAS weighs connections by (Eq. 18). Every operation counts as if none were fused.
        counted: False if the macs of this operation are not known (then `macs` is 0).
    """

    macs: int = 0
    params: int = 0
    state: int = 0
    activation_memory: int = 0
    memory_access: int = 0
    counted: bool = True

    @property
    def flops(self) -> int:
        """Floating point operations: two for each multiply-add."""
        return 2 * self.macs


@dataclass(frozen=True)
class Costs:
    """What a network costs, at batch 1; the totals of `by_layer`.

    Attributes:
        macs, params, state, activation_memory, memory_access: As in `LayerCosts`, summed. The
            params of a shared layer count once, its macs once a call.
        peak_activation_memory: Bytes of the most tensors alive at once, the model's inputs
            included, when operations run in graph order: a tensor lives from the operation that
            writes it to the last that reads it. Views cost nothing, and element-wise operations of
            one tensor that nobody else needs (BatchNormalization, ReLU) work in place. What a
            .tflite takes is `keras_nas.costs.arena_bytes`: 1.02 to 1.7 times as much in the zoo.
        by_layer: `LayerCosts` by name of the call, in graph order; the second call of a shared
            layer `conv` is named `conv_call1`. Gates are left out: they vanish.
        uncounted: Names of the calls whose macs are not known, and missing in the sum.

    Example:

    ```python
    costs = keras_nas.costs.count(model)
    print(costs)            # 313.46 M macs, 626.93 M flops, 14.99 M params, ...
    costs.by_layer["stage1_block1_conv"].macs
    ```
    """

    macs: int
    params: int
    state: int
    activation_memory: int
    peak_activation_memory: int
    memory_access: int
    by_layer: Mapping[str, LayerCosts] = field(repr=False)
    uncounted: tuple[str, ...] = ()

    @classmethod
    def from_layers(cls, by_layer: Mapping[str, LayerCosts], peak_activation_memory: int) -> Costs:
        """The totals over `by_layer`."""
        totals = {
            name: sum(getattr(layer, name) for layer in by_layer.values())
            for name in ("macs", "params", "state", "activation_memory", "memory_access")
        }
        return cls(
            **totals,
            peak_activation_memory=peak_activation_memory,
            by_layer=by_layer,
            uncounted=tuple(name for name, layer in by_layer.items() if not layer.counted),
        )

    @property
    def flops(self) -> int:
        """Floating point operations: two for each multiply-add."""
        return 2 * self.macs

    def as_dict(self) -> dict[str, Any]:
        """The totals, JSON-able: every attribute but `by_layer`, and `flops`."""
        totals = {
            item.name: getattr(self, item.name) for item in fields(self) if item.name != "by_layer"
        }
        return {**totals, "flops": self.flops, "uncounted": list(self.uncounted)}

    def __str__(self):
        text = (
            f"{scaled(self.macs)} macs, {scaled(self.flops)} flops, {scaled(self.params)} params, "
            f"{scaled(self.activation_memory, 'B')} activations "
            f"(peak {scaled(self.peak_activation_memory, 'B')}), "
            f"{scaled(self.memory_access, 'B')} memory access"
        )
        if self.uncounted:
            more = len(self.uncounted) - 3
            text += f"; macs not known and left out: {', '.join(self.uncounted[:3])}"
            text += f" and {more} more" if more > 0 else ""
        return text


def scaled(number: float, unit: str = "") -> str:
    """A number with two decimals, SI prefix and unit: 313463808 is "313.46 M", 512 is "512"."""
    for size, prefix in _PREFIXES:
        if number >= size:
            return f"{number / size:.2f} {prefix}{unit}"
    return f"{number:g} {unit}".rstrip()
