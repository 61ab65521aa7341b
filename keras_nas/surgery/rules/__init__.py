"""Which rule treats which operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import keras

from keras_nas.errors import UsageError
from keras_nas.graph import kinds
from keras_nas.graph.open import keep_shut
from keras_nas.graph.state import quantization
from keras_nas.layers import Gate
from keras_nas.surgery.rules.arrays import arrays
from keras_nas.surgery.rules.base import Call, Rule
from keras_nas.surgery.rules.convolution import (
    Convolution,
    Dense,
    GroupedConvolution,
    SeparableConvolution,
    TransposedConvolution,
)
from keras_nas.surgery.rules.depthwise import DepthwiseConvolution
from keras_nas.surgery.rules.elementwise import Elementwise, Identity, PReLU, Rescaling
from keras_nas.surgery.rules.gate import GateRule
from keras_nas.surgery.rules.merge import Concatenate, Merge
from keras_nas.surgery.rules.normalization import BatchNormalization, Normalization
from keras_nas.surgery.rules.reindex import OTHERS, SHAPES, SLICES, Reindex
from keras_nas.surgery.rules.spatial import (
    DepthToSpace,
    Pad,
    Resizing,
    Spatial,
    SpatialReduction,
    SpatialSoftmax,
)

_OPAQUE = Rule()
_GATE = GateRule()
_GROUPED = GroupedConvolution()


def _named(rule: Rule, *names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


def _ops(rule: Rule, *names: str) -> dict[str, Rule]:
    return {f"ops.{name}": rule for name in names}


RULES: dict[str, Rule] = {
    **_named(Convolution(), *kinds.CONVOLUTIONS),
    **_named(DepthwiseConvolution(), *kinds.DEPTHWISE_CONVOLUTIONS),
    **_named(SeparableConvolution(), *kinds.SEPARABLE_CONVOLUTIONS),
    **_named(TransposedConvolution(), *kinds.TRANSPOSED_CONVOLUTIONS),
    "Dense": Dense(),
    "BatchNormalization": BatchNormalization(),
    "Normalization": Normalization(),
    "Rescaling": Rescaling(),
    "PReLU": PReLU(),
    **_named(Elementwise(), "Activation", "ReLU", "LeakyReLU", "ELU"),
    **_ops(
        Elementwise(),
        *("Abs Absolute Arcsinh Arctan Cast Ceil Celu Clip Cos Cosh Elu Erf Erfc Exp Exp2 Expm1 "
          "Floor Gelu HardShrink HardSigmoid HardSilu HardTanh LeakyRelu Log Log10 Log1p Log2 "
          "LogSigmoid Mish Negative ReLU Reciprocal Relu Relu6 Round Rsqrt Selu Sigmoid Sign Silu "
          "Sin Sinh SoftShrink Softplus Softsign SparsePlus SparseSigmoid Sqrt Square Squareplus "
          "Tan Tanh TanhShrink Threshold Trunc").split(),
    ),
    **_named(
        Identity(),
        *("Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianNoise "
          "GaussianDropout AlphaDropout ActivityRegularization Identity").split(),
    ),
    **_named(
        Spatial(),
        *(f"{name}{rank}D" for rank in (1, 2, 3) for name in (
            "MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling",
            "ZeroPadding", "Cropping", "UpSampling",
        )),
    ),
    "Resizing": Resizing(),
    "Softmax": SpatialSoftmax(),
    **_ops(SpatialSoftmax(), "Softmax", "LogSoftmax"),
    **_ops(SpatialReduction(), "Mean", "Max", "Min", "Sum", "Amax", "Amin"),
    **_named(Merge(), "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"),
    **_ops(
        Merge(),
        *("Add Subtract Multiply Divide TrueDivide Maximum Minimum Power FloorDivide Mod Arctan2 "
          "Hypot Logaddexp Where").split(),
    ),
    "Concatenate": Concatenate(),
    "ops.Concatenate": Concatenate(),
    **_named(Reindex(OTHERS), "Flatten", "Permute", "RepeatVector"),
    **_ops(
        Reindex(OTHERS),
        *("BroadcastTo ExpandDims Flip Moveaxis Repeat Roll Rot90 Split Squeeze Swapaxes Take "
          "TakeAlongAxis Tile Transpose Unstack").split(),
    ),
    "Reshape": Reindex(SHAPES),
    "ops.Reshape": Reindex(SHAPES),
    "ops.GetItem": Reindex(SLICES),
    "ops.Pad": Pad(),
    "ops.DepthToSpace": DepthToSpace(),
}  # fmt: skip


_OWN: dict[type, Rule] = {}

RuleType = TypeVar("RuleType", bound=type[Rule])


def register_rule(layer_type: type[keras.layers.Layer]) -> Callable[[RuleType], RuleType]:
    """Decorator of a `Rule`'s class: it treats the user's layers of a class from now on.

    Surgery, the prediction of costs, the regularizers and the analysis of what depends on the input
    all go by it. A layer with a rule is not looked into where it is made of other layers.
    Subclasses are other layers: their `call` may do anything.

    Example:

    >>> @kn.surgery.register_rule(MyScale)
    ... class MyScaleRule(kn.surgery.SameChannels):
    ...     def build(self, call, builder): ...

    Args:
        layer_type: The layer's class, not one of Keras' own.

    Raises:
        UsageError: If it is no class of layers, one of Keras' own, or what is decorated no rule.
    """
    if not (isinstance(layer_type, type) and issubclass(layer_type, keras.layers.Layer)):
        raise UsageError(f"`layer_type` must be a class of Keras layers. Received: {layer_type!r}")
    if getattr(keras.layers, layer_type.__name__, None) is layer_type or issubclass(
        layer_type, Gate
    ):
        raise UsageError(
            f"`layer_type` must be a class of your own. Received: {layer_type.__name__}, which has "
            "its rule"
        )

    def enter(rule_type: RuleType) -> RuleType:
        if not (isinstance(rule_type, type) and issubclass(rule_type, Rule)):
            raise UsageError(
                f"A rule must be a class derived from kn.surgery.Rule. Received: {rule_type!r}"
            )
        _OWN[layer_type] = rule_type()
        keep_shut(layer_type)
        return rule_type

    return enter


def family(operation) -> Rule | None:
    """The rule of an operation's family; `None` for one that surgery does not know or cannot cut.

    Weights of integers or float8 (`model.quantize`) are not cut.
    """
    if isinstance(operation, Gate):
        return _GATE
    if quantization(operation):
        return None
    rule = _OWN.get(type(operation)) or RULES.get(kinds.kind(operation))
    if isinstance(rule, Convolution) and operation.groups > 1:
        return _GROUPED
    return rule


def rule_for(call: Call, whole: bool = False) -> Rule:
    """The rule that treats a call; the base rule, which keeps everything, where none fits.

    Args:
        call: The call, with what is known of its inputs.
        whole: Whether no rule may be used.
    """
    rule = None if whole else family(call.layer)
    if rule is None or (arrays(call.node) and not rule.takes_arrays):
        return _OPAQUE
    return rule if rule.accepts(call) else _OPAQUE


def is_opaque(rule: Rule) -> bool:
    """Whether the call keeps all its channels because no rule fits."""
    return rule is _OPAQUE
