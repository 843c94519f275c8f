"""Two records held side by side by identity, so that one test breaking and another healing never cancel out."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.merge import RUNGS, FieldState, Shown, field_states
from llenergymeasure.matrix.records import CellRecord, Outcome

_T = TypeVar("_T")


class Kind(StrEnum):
    REGRESSED = "regressed"
    DISAPPEARED = "disappeared"
    IMPROVED = "improved"
    APPEARED = "appeared"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Change:
    """One identity; `old` or `new` is "" where it was not there, or not run.

    Attributes:
        reason: why the new one is not `passed`.
    """

    identity: str
    kind: Kind
    old: str
    new: str
    reason: str = ""


def diff(old: CellRecord, new: CellRecord, renames: Mapping[str, str] | None = None) -> list[Change]:
    """Every test and every field of either record, regressions first.

    A test that was not run (skipped) counts as not there: evidence that is gone has disappeared, whatever the reason.

    `renames` takes an old identity to its new one; a key that ends in `::` or `[` renames all identities that begin so.
    """
    renames = renames or {}
    _check(renames)
    tests = _pair({renamed(name, renames): case for name, case in old.tests.items()}, new.tests)
    changes = []
    for name, (before, after) in tests.items():
        was = before.outcome if before and before.outcome is not Outcome.SKIPPED else None
        now = after.outcome if after and after.outcome is not Outcome.SKIPPED else None
        gain = was.rank - now.rank if was and now else 0
        reason = after.reason if after else ""
        changes.append(Change(name, _kind(was, now, gain), was or "", now or "", reason))
    changes += _fields(old, new, renames)
    order = list(Kind)
    return sorted(changes, key=lambda change: (order.index(change.kind), change.identity))


def _fields(old: CellRecord, new: CellRecord, renames: Mapping[str, str]) -> list[Change]:
    before = {renamed(name, renames): state for name, state in field_states(old).items()}
    changes = []
    for name, (was, now) in _pair(before, field_states(new)).items():
        first, second = _rung(was), _rung(now)
        gain = second - first if first is not None and second is not None else 0
        kind = _kind(first, second, gain)
        text = (was.shown if was and first is not None else "", now.shown if now and second is not None else "")
        changes.append(Change(f"field {name}", kind, *text, now.reason if now else ""))
    return changes


def _rung(state: FieldState | None) -> int | None:
    """None where the field is not there or nothing was run; a failure stands below every rung."""
    if state is None or state.shown in (Shown.ABSENT, Shown.NOT_RUN):
        return None
    return RUNGS.index(state.shown) if state.shown in RUNGS else -1


def _kind(was: object | None, now: object | None, gain: int) -> Kind:
    if was is None or now is None:
        return Kind.UNCHANGED if was is now else Kind.APPEARED if was is None else Kind.DISAPPEARED
    return Kind.IMPROVED if gain > 0 else Kind.REGRESSED if gain < 0 else Kind.UNCHANGED


def _pair(old: Mapping[str, _T], new: Mapping[str, _T]) -> dict[str, tuple[_T | None, _T | None]]:
    return {name: (old.get(name), new.get(name)) for name in sorted({*old, *new})}


def renamed(name: str, renames: Mapping[str, str]) -> str:
    """What an old identity is called now."""
    if name in renames:
        return renames[name]
    for old, new in renames.items():
        if old.endswith(("::", "[")) and name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _check(renames: Mapping[str, str]) -> None:
    targets: dict[str, str] = {}
    for old, new in renames.items():
        if new in targets:
            raise RequestError(f"renames: {targets[new]!r} and {old!r} both become {new!r}", "keep one of the two")
        targets[new] = old
