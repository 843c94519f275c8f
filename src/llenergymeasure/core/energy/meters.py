"""What every family of energy meters has in common: running counters, read at two moments and subtracted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

# No CPU package on the market is specified to draw more; used to tell whether a counter may have wrapped twice.
MOST_PACKAGE_W = 600


@dataclass(frozen=True)
class Count:
    """One energy counter at one moment.

    Attributes:
        value_uj: microjoules since a moment that only the hardware knows, None where it could not be read.
        reason: why it could not be read, and what to do; empty where it was.
        range_uj: where the counter starts again at 0, None where it does not within a machine's life.
    """

    value_uj: int | None
    reason: str = ""
    range_uj: int | None = None


@dataclass(frozen=True)
class Reading:
    """All counters of one meter at one moment, by the name of what they count.

    Attributes:
        reason: why there are no counters at all; empty where there are.
    """

    counts: Mapping[str, Count] = field(default_factory=dict)
    reason: str = ""


class Meter(Protocol):
    """A family of counters. Each implementation's `open` finds them, or answers with a `NoMeter`."""

    def read(self) -> Reading:
        """Every counter, now. Takes no longer than the hardware does and never raises for a counter that fails."""

    def close(self) -> None:
        """Let go of the driver. A second call does nothing."""


@dataclass(frozen=True)
class NoMeter:
    """Stands where nothing can be read, and says why."""

    reason: str

    def read(self) -> Reading:
        return Reading(reason=self.reason)

    def close(self) -> None:
        """Nothing was opened."""


def energy_between(before: Count, after: Count, duration_s: float) -> tuple[float | None, str]:
    """Joules that one counter gained over a window, or None and the reason.

    A counter with a range that went backwards started again at 0 once. It is refused where it could have done so once
    more unseen, that is where one more round would still be a plausible draw for a CPU package.
    """
    if before.value_uj is None or after.value_uj is None:
        return None, before.reason or after.reason
    used_uj = after.value_uj - before.value_uj
    if after.range_uj is not None:
        if used_uj < 0:
            used_uj += after.range_uj
        if used_uj + after.range_uj <= MOST_PACKAGE_W * 1e6 * duration_s:
            longest_s = after.range_uj / 1e6 / MOST_PACKAGE_W
            return None, (
                f"the counter starts again at {after.range_uj / 1e6:.0f} J and may have done so unseen "
                f"in {duration_s:.0f} s; measure at most {longest_s:.0f} s in one window"
            )
    if used_uj < 0:
        return None, "the counter went backwards, as after a driver reload or a GPU reset; measure again"
    if used_uj == 0:
        return None, f"the counter did not move in {duration_s:.3f} s; measure a longer window (at least 5 s)"
    return used_uj / 1e6, ""
