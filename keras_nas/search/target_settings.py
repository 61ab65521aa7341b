"""The settings of a search that is to reach a cost."""

from __future__ import annotations

import dataclasses

from keras_nas.choices import RESOURCES
from keras_nas.errors import UsageError
from keras_nas.settings import LATER_STAGES, check_range, setting
from keras_nas.targets import is_given, parse_target


@dataclasses.dataclass(frozen=True)
class TargetSettings:
    """One cost to reach, in any resource; the base of a method's settings."""

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
    def targeted(self) -> str | None:
        """The resource that a target names; None where no target is given."""
        return next(iter(self._named()), None)

    def target(self, full: float) -> float | None:
        """The target in its resource's unit, where the full network has `full`; None for none."""
        if self.targeted is None:
            return None
        name = f"target_{self.targeted}"
        return parse_target(name, getattr(self, name)).of(full)

    def _named(self) -> list[str]:
        return [name for name in RESOURCES if is_given(getattr(self, f"target_{name}"))]

    def check_targets(self, what: str | None) -> None:
        """Raises `UsageError` for two targets, one that is none, a table without its use, no share.

        Args:
            what: The resource that the search counts, or None.
        """
        check_range(self, ("min_share",), 0)
        if self.min_share > 1:
            raise UsageError(f"`min_share` must be 1 or less. Received: min_share={self.min_share}")
        named = self._named()
        if len(named) > 1:
            raise UsageError(
                f"Only one target may be given. Received: {', '.join(f'target_{n}' for n in named)}"
            )
        for name in named:
            parse_target(f"target_{name}", getattr(self, f"target_{name}"))
        if (what == "latency_ms") != bool(self.latency_table):
            raise UsageError(
                "`latency_table` must be given with a target or resource of latency_ms, and only "
                f"then. Received: {self.latency_table!r} with {what}"
            )
