"""What two operations share when their time depends on the number of channels alone."""

from __future__ import annotations

import dataclasses
import math

from keras_nas.choices import LATENCY_DTYPES
from keras_nas.errors import KerasNasError

OPERATIONS = (
    "conv",
    "depthwise_conv",
    "transposed_conv",
    "dense",
    "max_pool",
    "average_pool",
    "global_average_pool",
    "add",
    "multiply",
    "concatenate",
    "gather",
    "slice",
    "partition",
    "relu",
    "leaky_relu",
    "prelu",
    "sigmoid",
    "tanh",
    "hard_swish",
    "softmax",
    "pad",
    "resize",
    "depth_to_space",
)
DTYPES = LATENCY_DTYPES
IMAGE_CHANNELS = 4
"""The most channels of an input that is taken for an image: kernels for such are others."""
MOVES = ("gather", "slice", "pad", "partition")
"""What surgery may write where channels meet; a partition is what a gather cuts off."""
VECTOR = 4
"""Input channels that a kernel reads at once."""
_PRODUCTS = ("conv", "depthwise_conv", "transposed_conv", "dense")
_SCALING = ("resize", "transposed_conv", "depth_to_space")


@dataclasses.dataclass(frozen=True, order=True)
class Condition:
    """One kind of operation at one size (FGNAS, "Latency": the time is affine in the flops then).

    Attributes:
        operation: One of `OPERATIONS`. "gather" and "slice" choose among channels, "pad" may put
            zeros behind them, "partition" is one more part that the delegate's graph is cut in.
        height, width: Of the input; 1 and 1 for "dense".
        kernel: Height and width of the window; 1 and 1 where there is none. For "pad" one more
            than the rows and columns added.
        stride: Down the height and along the width; the factor of "resize", "transposed_conv" and
            "depth_to_space".
        groups: Of "conv".
        padding: "same" or "valid".
        dtype: One of `DTYPES`, of weights and activations.
        threads: How many threads the runtime may use.

    Raises:
        KerasNasError: `operation`, `padding` or `dtype` is none of these, or a size is below 1.
    """

    operation: str
    height: int
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    padding: str = "same"
    dtype: str = "float32"
    threads: int = 1

    def __post_init__(self) -> None:
        for name, allowed in (
            ("operation", OPERATIONS), ("padding", ("same", "valid")), ("dtype", DTYPES),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise KerasNasError(
                    f"`{name}` must be one of {', '.join(allowed)}. "
                    f"Received: {name}={getattr(self, name)!r}"
                )
        sizes = (self.height, self.width, *self.kernel, *self.stride, self.groups, self.threads)
        if min(sizes) < 1:
            raise KerasNasError(f"Every size of a condition must be 1 or more. Received: {self}")

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the output."""
        if self.operation in _SCALING:
            return self.height * self.stride[0], self.width * self.stride[1]
        if self.operation == "pad":
            return self.height + self.kernel[0] - 1, self.width + self.kernel[1] - 1
        if self.operation == "global_average_pool":
            return 1, 1
        window = self.kernel if self.padding == "valid" else (1, 1)
        return (
            (self.height - window[0]) // self.stride[0] + 1,
            (self.width - window[1]) // self.stride[1] + 1,
        )

    def flops(self, in_channels: int, out_channels: int) -> int:
        """The operation's work.

        For convolutions and "dense" twice the multiply-adds, as `costs.count` has it. The others
        have no multiply-adds there; here each value that the operation reads or writes counts one
        (the larger of the two sides), times the window of a pooling.

        Args:
            in_channels, out_channels: Channels of the input and of the output.
        """
        rows, columns = self.output_size
        if self.operation == "depthwise_conv":
            return 2 * rows * columns * math.prod(self.kernel) * out_channels
        if self.operation == "transposed_conv":
            places = self.height * self.width
            return 2 * places * math.prod(self.kernel) * in_channels * out_channels
        if self.operation in _PRODUCTS:
            window = math.prod(self.kernel)
            return 2 * rows * columns * window * (in_channels // self.groups) * out_channels
        if self.operation in ("max_pool", "average_pool"):
            return rows * columns * math.prod(self.kernel) * out_channels
        if self.operation in ("gather", "slice"):
            return rows * columns * out_channels
        return max(rows * columns * out_channels, self.height * self.width * in_channels)

    def ends(self, in_channels: int, out_channels: int, tile: int) -> int:
        """How often, at each place, a kernel has to read or write a part of a vector.

        For a depthwise convolution once, where its channels are no multiple of the tile; for other
        products once a tile of outputs, where the inputs of a group are no multiple of `VECTOR`.

        Args:
            in_channels, out_channels: Channels of the input and of the output.
            tile: Output channels that are computed at once.
        """
        if self.operation == "depthwise_conv":
            return int(out_channels % tile > 0)
        if self.operation in _PRODUCTS and (in_channels // self.groups) % VECTOR:
            return -(-out_channels // tile)
        return 0

    def weights(self, in_channels: int, out_channels: int) -> int:
        """The number of values in the operation's kernel; 0 where it has none."""
        window = math.prod(self.kernel)
        if self.operation == "depthwise_conv":
            return window * out_channels
        if self.operation in _PRODUCTS:
            return window * (in_channels // self.groups) * out_channels
        return 0

    def __str__(self) -> str:
        parts = [f"{self.operation} {self.height}×{self.width}"]
        if self.kernel != (1, 1) or self.operation in ("conv", "depthwise_conv"):
            parts.append(f"kernel {_size(self.kernel)}")
        if self.stride != (1, 1):
            parts.append(f"stride {_size(self.stride)}")
        if self.groups != 1:
            parts.append(f"{self.groups} groups")
        if self.padding != "same":
            parts.append(self.padding)
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return ", ".join([*parts, self.dtype, threads])


def _size(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}×{pair[1]}"
