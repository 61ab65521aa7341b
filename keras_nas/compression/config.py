"""What a compression is asked for; needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from keras_nas.choices import BUDGETS, FORMS_OF
from keras_nas.errors import UsageError
from keras_nas.search.target_settings import TargetSettings
from keras_nas.settings import check_choices, check_range, setting
from keras_nas.targets import is_given, parse_target

METHODS = ("auto", "dnal", "fgnas")
OPTIMIZERS = ("auto", "sgd", "adam")
EPOCHS = 10
"""How many epochs a compression has where nothing is said."""
ROUND_TO = 4
"""What widths are multiples of where nothing is said, but for budgets of RAM alone."""
WHOLE = ("epochs", "round_to", "branches")
NUMBERS = (*WHOLE, "minutes", "learning_rate", "weight_decay", "distill_weight")


@dataclasses.dataclass(frozen=True)
class CompressConfig(TargetSettings):
    """A budget, and what may be said of the way to it; the rest follows the recipe's rules.

    Example:

    ```python
    CompressConfig(target_macs="0.5x", minutes=30)
    ```
    """

    latency_table: str = setting(
        "", "JSON of apps.profile_latency, for --target_latency_ms; apps.compress makes it itself."
    )
    method: str = setting("auto", "The search; 'auto' is what measured best, 'dnal'.", METHODS)
    epochs: int = setting(
        0,
        f"Epochs in all, search and finetuning; 0: {EPOCHS}, or as many as `minutes` allow.",
    )
    minutes: float = setting(0.0, "The most that all may take; 0 for no limit.")
    optimizer: str = setting(
        "auto",
        "'auto': SGD for networks with BatchNormalization, Adam for others.",
        OPTIMIZERS,
    )
    learning_rate: float = setting(
        0.0, "The first of a cosine over all epochs; 0: 0.05 with SGD, 0.001 with Adam."
    )
    weight_decay: float = setting(1e-4, "λ_w of Σ‖W‖² / 2 over the kernels.")
    distill_weight: float = setting(
        0.5,
        "Share of the finetuning's loss that comes from the network as it was; 0 for none.",
    )
    branches: int = setting(
        0,
        "Whole branches (residual ones, layers of dense blocks) that go before channels do, those "
        "that are missed least: fewer layers at the same macs, which are faster. DNAL's.",
    )
    round_to: int = setting(
        0,
        f"Kept channels of a layer become a multiple of this; 0: {ROUND_TO}, which kernels like, "
        "or 1 where RAM alone is asked for, which comes in large steps.",
    )

    def __post_init__(self):
        check_choices(self)
        for name in NUMBERS:
            self._check_number(name)
        check_range(self, ("epochs", "minutes", "learning_rate", "weight_decay"), 0)
        check_range(self, ("round_to", "branches", "distill_weight"), 0)
        if self.distill_weight > 1:
            raise UsageError(
                f"`distill_weight` must be from 0 to 1. Received: {self.distill_weight}"
            )
        self.check_values()
        if self.epochs == 1:
            raise UsageError(
                "`epochs` must be 2 or more: one for the search, one for the finetuning, at least. "
                "Received: epochs=1"
            )

    def _check_number(self, name: str) -> None:
        value = getattr(self, name)
        if name in WHOLE:
            kind, right = "a whole number", isinstance(value, Integral)
        else:
            kind, right = "a number", isinstance(value, Real) and math.isfinite(value)
        if not right or isinstance(value, bool):
            raise UsageError(f"`{name}` must be {kind}. Received: {name}={value!r}")

    @property
    def multiple(self) -> int:
        """What the widths are multiples of."""
        return self.round_to or (1 if list(self.targets) == ["ram"] else ROUND_TO)

    def check_budget(self) -> None:
        """Raises `UsageError` where no budget is given, or a latency table without its use."""
        if not self.targets:
            raise UsageError(
                "A budget must be given: one or more of "
                + ", ".join(f"`target_{what}`" for what in BUDGETS)
                + ", such as target_macs=0.5x. Received: none"
            )
        if self.latency_table and "latency_ms" not in self.targets:
            raise UsageError(
                "`latency_table` must be given with `target_latency_ms` only. "
                f"Received: {self.latency_table!r} with {', '.join(self.targets)}"
            )

    def asked_of(self, what: str, form: str, full: float) -> float | None:
        """The most bytes that the small network's file of a format may take, itself or its arena.

        Args:
            what: "bytes" or "ram".
            form: The format.
            full: The bytes of the full network's.

        Returns:
            None where nothing is asked for of that format.
        """
        if form not in self.forms_of(what):
            return None
        return parse_target(f"target_{what}", self.targets[what], forms=FORMS_OF[what]).of(full)


def with_budget(config: Any, budget: Any) -> CompressConfig:
    """The settings with a budget that is given apart from them, as `compress` takes it.

    Raises:
        UsageError: One of them is of another kind, or the budget none.
    """
    if config is None:
        config = CompressConfig()
    if not isinstance(config, CompressConfig):
        raise UsageError(
            "`config` must be a keras_nas.CompressConfig, such as CompressConfig(epochs=20). "
            f"Received: {type(config).__name__}"
        )
    if not isinstance(budget or {}, Mapping):
        raise UsageError(
            f"`budget` must be a dict, such as {{'macs': '0.5x'}}. Received: budget={budget!r:.80}"
        )
    given = (budget or {}).items()
    asked = {f"target_{name}": _checked(name, value, config) for name, value in given}
    return dataclasses.replace(config, **asked)


def _checked(name: Any, value: Any, config: CompressConfig) -> Any:
    """What is asked for of one cost."""
    if name not in BUDGETS:
        near = difflib.get_close_matches(str(name).lower().removeprefix("target_"), BUDGETS, 1)
        advice = f". Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"`budget` must be of {BUDGETS}. Received: {name!r}{advice}")
    if not is_given(value):
        raise UsageError(
            f"`budget` must have a number above 0, or a share as 0.5x, for {name!r}. Received: "
            f"{value!r}"
        )
    if name in config.targets and config.targets[name] != value:
        raise UsageError(
            f"`budget` must not be given twice: `config` has target_{name}="
            f"{config.targets[name]!r}. Received: {value!r} for {name!r}"
        )
    return value
