"""DSO's budgets: a γ for each block or connection, from what it costs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from keras_nas.errors import KerasNasError, UsageError

Key = TypeVar("Key", bound=Hashable)


def adaptive_flops(
    gamma: float, kept: Mapping[Key, float], complete: Mapping[Key, float]
) -> dict[Key, float]:
    """Adaptive FLOPs: γ^t = FLOPs^t / FLOPs_block · γ for each block (Eq. 17).

    The blocks that still compute much are pressed harder, which balances them.

    >>> adaptive_flops(0.1, {"block1": 30, "block2": 0}, {"block1": 40, "block2": 40})
    {'block1': 0.07500000000000001, 'block2': 0.0}

    Args:
        gamma: γ.
        kept: Macs (or flops) of the operations that are kept now, by block.
        complete: The same of the completely connected block.

    Returns:
        γ^t by block.

    Raises:
        KerasNasError: If the keys differ, `gamma` or a cost is negative, or a block costs nothing.
    """
    _check(gamma, kept)
    if set(kept) != set(complete):
        raise UsageError(
            "`kept` and `complete` must have the same blocks. "
            f"Received: {sorted(map(str, kept))} and {sorted(map(str, complete))}"
        )
    if any(cost <= 0 for cost in complete.values()):
        raise UsageError(
            f"`complete` must hold costs greater than 0. Received: complete={dict(complete)}"
        )
    return {block: kept[block] / complete[block] * gamma for block in kept}


def adaptive_mac(gamma: float, access: Mapping[Key, float]) -> dict[Key, float]:
    """Adaptive MAC: γ^t = MAC^t / MAC_max · γ for each connection (Eq. 18).

    Args:
        gamma: γ.
        access: Memory access cost of the operation that each connection belongs to; MAC_max is
            the greatest.

    Returns:
        γ^t by connection; 0 for all where nothing costs anything.

    Raises:
        KerasNasError: If `gamma` or a cost is negative.
    """
    _check(gamma, access)
    greatest = max(access.values(), default=0.0)
    return {key: cost / greatest * gamma if greatest else 0.0 for key, cost in access.items()}


def adaptive_latency(gamma: float, gamma_0: float, saved: Mapping[Key, float]) -> dict[Key, float]:
    """Adaptive Latency: γ^t = (LAT − LAT_min) / (LAT_max − LAT_min) · γ + γ₀ (Eq. 19).

    LAT is what a connection costs: "the latency deduction of the whole network when this connection
    is removed" (section 3.4). Where all connections cost the same, each γ^t is γ₀.

    `gamma=0.5 * g, gamma_0=0.5 * g` gives the multipliers from 0.5 to 1 of the authors' code.

    Args:
        gamma: γ.
        gamma_0: γ₀, the least that a connection gets.
        saved: Milliseconds that the network gets faster by without the connection. Measured values
            may be negative.

    Returns:
        γ^t by connection.

    Raises:
        KerasNasError: If `gamma` or `gamma_0` is negative.
    """
    _check(gamma, {})
    if gamma_0 < 0:
        raise UsageError(f"`gamma_0` must be 0 or more. Received: gamma_0={gamma_0}")
    least, greatest = min(saved.values(), default=0.0), max(saved.values(), default=0.0)
    spread = greatest - least
    return {
        key: ((cost - least) / spread * gamma if spread else 0.0) + gamma_0
        for key, cost in saved.items()
    }


def _check(gamma: float, costs: Mapping) -> None:
    if gamma < 0:
        raise UsageError(f"`gamma` must be 0 or more. Received: gamma={gamma}")
    for key, cost in costs.items():
        if cost < 0:
            raise KerasNasError(f"A cost must be 0 or more. Received: {cost} for {key!r}")
