"""Which operations to measure for a latency table, and with how many channels.

Two things keep a lone operation from being as slow as it is inside a network, and are met here:

- Kernels work on blocks of 8 to 64 channels, and 48 channels may cost as much as 64. Round widths
  only would flatter the widths that a search comes to, so the grid takes widths from a quarter of
  the full one up as a low-discrepancy sequence has them (or multiples of `round_to`).
- A network's weights do not stay in the caches from one run to the next. A file holds so many
  copies of the operation, each with its own weights, that they are together as large as the
  network's (up to a limit); with a share of the channels on either side, this shrinks as the
  weights of the pruned network do.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from keras_nas.costs.latency_condition import IMAGE_CHANNELS, Condition
from keras_nas.costs.latency_operations import CUT_CHANNELS, TimedOperation, timed_operations
from keras_nas.errors import UsageError
from keras_nas.graph import Graph, read
from keras_nas.loading import load_model

_PRODUCTS = ("conv", "transposed_conv", "dense")
_POOLS = ("max_pool", "average_pool")
_JOINS = ("add", "multiply", "concatenate")
_LEAST_SHARE = 0.25
_MOST_COPIES = 32
_MOST_FLOPS = 1_000_000_000
_COPIES_WITHOUT_WEIGHTS = 8


@dataclasses.dataclass(frozen=True, order=True)
class GridPoint:
    """A condition with the channels of one measurement.

    `copies` tells how often the operation stands in the measured file; points that differ in it
    alone are equal.
    """

    condition: Condition
    in_channels: int
    out_channels: int
    copies: int = dataclasses.field(default=1, compare=False)

    @property
    def flops(self) -> int:
        """Its work; see `Condition.flops`."""
        return self.condition.flops(self.in_channels, self.out_channels)


def grid_of_operations(
    operations: Iterable[TimedOperation], points: int = 16, round_to: int = 1
) -> list[GridPoint]:
    """Returns the points that a network and its pruned forms need.

    A condition's widest operation is taken at its full width, and all are narrowed to between a
    quarter and the whole on either side, each differently, since many may have the same width; an
    input of up to 4 channels is an image and keeps them.

    Args:
        operations: What the full network runs (`keras_nas.costs.timed_operations`).
        points: How many points to take for each condition; its operations share them.
        round_to: Widths are multiples of this, as the pruned network's will be.
    """
    operations = list(operations)
    weights = sum(op.condition.weights(op.in_channels, op.out_channels) for op in operations)
    found: dict[Condition, dict[tuple[int, int], TimedOperation]] = {}
    for op in operations:
        found.setdefault(op.condition, {})[op.in_channels, op.out_channels] = op
    grid: list[GridPoint] = []
    for condition in sorted(found):
        widest = [found[condition][key] for key in sorted(found[condition], reverse=True)]
        chosen: dict[GridPoint, None] = {}
        for number in range(max(points, 1)):
            step, place = divmod(number, len(widest))
            op, shares = widest[place], _shares(step + place)
            chosen[_narrowed(op, *shares, round_to, _copies(op, weights))] = None
        grid += chosen
    return grid


def grid_of_moves(
    graph: Graph, operations: Iterable[TimedOperation], points: int = 3
) -> list[GridPoint]:
    """Returns the points of what surgery may write where channels meet.

    Gathers, slices and pads of the largest tensor that is joined (added, multiplied or put beside
    others), gathers of the smallest too, and a partition. Nothing where there is no join.

    Args:
        graph: The full network's.
        operations: What it runs.
        points: Widths of each.
    """
    meeting = {node.name for node in graph.nodes if len(node.inputs) > 1}
    joins = [
        op
        for op in operations
        if op.name in meeting
        and op.condition.operation in _JOINS
        and op.condition.height * op.condition.width > 1
    ]
    if not joins:
        return []
    joins.sort(key=lambda op: (op.condition.height * op.condition.width, op.out_channels))
    grid: dict[GridPoint, None] = {}
    for op, kinds in ((joins[-1], ("gather", "slice", "pad")), (joins[0], ("gather",))):
        for kind, share in itertools.product(kinds, range(points)):
            condition = dataclasses.replace(op.condition, operation=kind)
            width = max(1, round(op.out_channels * (points - share) / points))
            held = width + 1 if kind == "slice" else max(1, width - (kind == "pad"))
            grid[GridPoint(condition, held, width, _COPIES_WITHOUT_WEIGHTS)] = None
    known = joins[0].condition
    cut = Condition("partition", 1, 1, dtype=known.dtype, threads=known.threads)
    grid[GridPoint(cut, CUT_CHANNELS, CUT_CHANNELS, _MOST_COPIES)] = None
    return list(grid)


def grid_of_models(
    paths: Sequence[str],
    size: Sequence[int] = (),
    dtypes: Sequence[str] = ("float32",),
    threads: Sequence[int] = (1,),
    points: int = 16,
    round_to: int = 1,
) -> list[GridPoint]:
    """Returns `grid_of_operations` and `grid_of_moves` of the networks in these .keras files.

    Args:
        paths: The files of the full networks.
        size: Height and width for inputs that leave them open.
        dtypes, threads: Each is measured.
        points, round_to: As in `grid_of_operations`.

    Raises:
        KerasNasError: A file is no functional model, a size is open, or an operation is not known.
    """
    grid: dict[GridPoint, None] = {}
    for path in paths:
        model = load_model(path)
        shapes = [_closed(tensor.shape, size, path) for tensor in model.inputs]
        for dtype, count in itertools.product(dtypes, threads):
            graph = read(model, shapes)
            operations = timed_operations(graph, dtype, count)
            grid |= dict.fromkeys(grid_of_operations(operations, points, round_to))
            grid |= dict.fromkeys(grid_of_moves(graph, operations))
    return list(grid)


def grid_of_sizes(
    operations: Sequence[str],
    sizes: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    groups: Sequence[int],
    channels: Sequence[int],
    dtypes: Sequence[str],
    threads: Sequence[int],
) -> list[GridPoint]:
    """Returns every combination of the settings that makes sense for its operation.

    Kernels matter to convolutions and poolings only, groups to "conv". Each operation with a free
    number of output channels is taken with each pair of `channels`.

    Raises:
        UsageError: A list is empty.
    """
    settings = {
        "operations": operations, "sizes": sizes, "kernels": kernels, "strides": strides,
        "groups": groups, "channels": channels, "dtypes": dtypes, "threads": threads,
    }  # fmt: skip
    for name, values in settings.items():
        if not values:
            raise UsageError(f"`{name}` must hold a value or more. Received: {name}=[]")
    points: set[GridPoint] = set()
    for operation in operations:
        for size, kernel, stride, group, dtype, count in itertools.product(
            *_choices(operation, sizes, kernels, strides, groups), dtypes, threads
        ):
            condition = Condition(
                operation, size, size, (kernel, kernel), (stride, stride), group,
                dtype=dtype, threads=count,
            )  # fmt: skip
            points.update(_with_channels(condition, channels))
    return sorted(points)


def _closed(shape: Sequence[int | None], size: Sequence[int], path: str) -> tuple[int, ...]:
    closed = [1, *shape[1:]]
    if len(closed) == 4 and None in closed[1:3] and len(size) == 2:
        closed[1:3] = size
    if None in closed:
        raise UsageError(
            f"`size` must be a height and a width for {path!r}, whose input is {tuple(shape)}. "
            f"Received: size={tuple(size)}"
        )
    return tuple(int(length) for length in closed if length is not None)


def _choices(
    operation: str,
    sizes: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    groups: Sequence[int],
) -> tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]]:
    windowed = operation in ("conv", "depthwise_conv", *_POOLS)
    larger = [stride for stride in strides if stride > 1] or [2]
    return (
        [1] if operation == "dense" else sizes,
        kernels if windowed else [2 * larger[0] if operation == "transposed_conv" else 1],
        strides if windowed else ([1], larger)[_scales(operation)],
        groups if operation == "conv" else [1],
    )


def _scales(operation: str) -> bool:
    return operation in ("resize", "transposed_conv", "depth_to_space")


def _with_channels(condition: Condition, channels: Sequence[int]) -> Iterable[GridPoint]:
    if condition.operation in _PRODUCTS:
        pairs = itertools.product(channels, channels)
        multiple = condition.groups
        points = [
            GridPoint(condition, *p) for p in pairs if not (p[0] % multiple or p[1] % multiple)
        ]
    else:
        points = [_fitting(condition, count, count, 1) for count in channels]
    for point in points:
        copies = max(1, min(_COPIES_WITHOUT_WEIGHTS, _MOST_FLOPS // point.flops))
        yield dataclasses.replace(point, copies=copies)


def _shares(step: int) -> tuple[float, float]:
    """The full width first, then the Halton sequence between the least share and 1."""
    if step == 0:
        return 1.0, 1.0
    free = 1 - _LEAST_SHARE
    return _LEAST_SHARE + free * _radical_inverse(step, 2), (
        _LEAST_SHARE + free * _radical_inverse(step, 3)
    )


def _radical_inverse(number: int, base: int) -> float:
    """The digits of `number` behind the point, in reverse."""
    value, digit = 0.0, 1.0 / base
    while number:
        value += digit * (number % base)
        number //= base
        digit /= base
    return value


def _copies(op: TimedOperation, weights: int) -> int:
    own = op.condition.weights(op.in_channels, op.out_channels)
    wanted = round(weights / own) if own else _COPIES_WITHOUT_WEIGHTS
    return max(1, min(wanted, _MOST_COPIES, _MOST_FLOPS // max(1, op.flops)))


def _narrowed(
    op: TimedOperation, in_share: float, out_share: float, round_to: int, copies: int
) -> GridPoint:
    condition = op.condition
    if condition.operation not in _PRODUCTS:
        out_channels = _share(op.out_channels, out_share, round_to)
        return _fitting(
            condition, _share(op.in_channels, out_share, round_to), out_channels, copies
        )
    multiple = max(round_to, condition.groups)
    in_channels = op.in_channels
    if in_channels > IMAGE_CHANNELS:
        in_channels = _share(in_channels, in_share, multiple)
    return GridPoint(condition, in_channels, _share(op.out_channels, out_share, multiple), copies)


def _fitting(condition: Condition, in_channels: int, out_channels: int, copies: int) -> GridPoint:
    """The point whose channels on both sides go together."""
    if condition.operation == "concatenate":
        half = max(1, out_channels // 2)
        return GridPoint(condition, half, 2 * half, copies)
    if condition.operation == "depth_to_space":
        block = condition.stride[0] ** 2
        out_channels = max(1, in_channels // block)
        return GridPoint(condition, out_channels * block, out_channels, copies)
    return GridPoint(condition, out_channels, out_channels, copies)


def _share(channels: int, share: float, multiple: int) -> int:
    """A share of the channels, as a multiple where the whole is one."""
    if channels % multiple:
        multiple = 1
    return max(1, round(channels * share / multiple)) * multiple
