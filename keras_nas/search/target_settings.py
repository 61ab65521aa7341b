"""The settings of a search that is to reach a cost."""

from __future__ import annotations

import dataclasses

from keras_nas.choices import BUDGETS, FORMS_OF
from keras_nas.errors import UsageError
from keras_nas.settings import LATER_STAGES, check_range, setting
from keras_nas.targets import is_given, parse_target


@dataclasses.dataclass(frozen=True)
class TargetSettings:
    """The costs to reach, in one resource or several; the base of a method's settings.

    All that are given hold in the end, as `keras_nas.importance.prune` prices them. On the way a
    search steers by one resource; see `keras_nas.search.steering`.
    """

    target_params: float | str = setting(
        0.0, "Params to reach, or a share as 0.5x; 0 for none.", decides=LATER_STAGES
    )
    target_macs: float | str = setting(
        0.0, "Macs to reach, or a share as 0.5x; 0 for none.", decides=LATER_STAGES
    )
    target_flops: float | str = setting(
        0.0, "Flops to reach, or a share as 0.5x; 0 for none.", decides=LATER_STAGES
    )
    target_latency_ms: float | str = setting(
        0.0,
        "Milliseconds to reach by the latency table, or a share as 0.5x; 0 for none.",
        decides=LATER_STAGES,
    )
    target_bytes: float | str = setting(
        0.0,
        "Bytes of the .tflite to reach, by its format: int8:200k, float32:1M, or a share as "
        "int8:0.5x; without a format of float32; 0 for none.",
        decides=LATER_STAGES,
    )
    target_ram: float | str = setting(
        0.0,
        "Bytes to reach of the arena that the .tflite's activations take, by dtype: int8:64k, "
        "float32:1M, or a share as int8:0.5x; 0 for none.",
        decides=LATER_STAGES,
    )
    latency_table: str = setting(
        "", "JSON of apps.profile_latency, for --target_latency_ms.", decides=LATER_STAGES
    )
    interpolate: bool = setting(
        False, "Take the nearest condition that the table has.", decides=LATER_STAGES
    )

    min_share: float = setting(
        0.1,
        "The smallest share of a gate's channels that stays open on the way to a target; 0 for the "
        "papers', where a layer may go.",
        decides=LATER_STAGES,
    )

    @property
    def targets(self) -> dict[str, float | str]:
        """By resource, the targets that are given, as they are spelt."""
        values = {what: getattr(self, f"target_{what}") for what in BUDGETS}
        return {what: value for what, value in values.items() if is_given(value)}

    def forms_of(self, what: str) -> list[str]:
        """The format or dtype of the target in `what`, in a list; none where it is not given."""
        targets = self.targets
        if what not in targets:
            return []
        return [parse_target(f"target_{what}", targets[what], forms=FORMS_OF[what]).form]

    def check_targets(self, otherwise: str | None = None, besides: str | None = None) -> None:
        """Raises `UsageError` for a target that is none, no share, a table without its use.

        Args:
            otherwise: The resource that the search counts where no target is given, or None.
            besides: The one that it counts in any case, or None.
        """
        self.check_values()
        counted: list[str | None] = [*self.targets] or [otherwise]
        if besides is not None:
            counted.append(besides)
        if ("latency_ms" in counted) != bool(self.latency_table):
            raise UsageError(
                "`latency_table` must be given with a target or resource of latency_ms, and only "
                f"then. Received: {self.latency_table!r} with {', '.join(map(str, counted))}"
            )

    def check_values(self) -> None:
        """Raises `UsageError` for a target that is none, or no share."""
        check_range(self, ("min_share",), 0)
        if self.min_share > 1:
            raise UsageError(f"`min_share` must be 1 or less. Received: min_share={self.min_share}")
        for what, value in self.targets.items():
            target = parse_target(f"target_{what}", value, forms=FORMS_OF.get(what, ()))
            if what != "latency_ms" and not target.is_share and target.number < 1:
                raise UsageError(
                    f"`target_{what}` must be 1 or more, or a share of the full network's as 0.5x. "
                    f"Received: target_{what}={value!r}"
                )
