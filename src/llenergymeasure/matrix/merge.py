"""Many records into one view: the newest of each pinned cell, and each field's rung in each cell."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from llenergymeasure.matrix.records import CellRecord, Outcome, read
from llenergymeasure.matrix.spec import Cell, Spec

RUNGS = ("declared", "sent", "accepted", "effective", "observed")


class Shown(StrEnum):
    """What a table says of a field where it is no rung."""

    FAILED = "failed"
    ABSENT = "absent"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class FieldState:
    """One field in one cell.

    Attributes:
        shown: a rung, or failed, absent, not run.
        reason: why it is no higher, or what failed; "" where there is nothing to say.
    """

    shown: str
    reason: str = ""


@dataclass(frozen=True)
class CellView:
    """One pinned cell; without a record it is red where one is expected, else it was not run.

    Attributes:
        behind_days: how much older its record is than the newest record of the matrix.
    """

    cell: Cell
    record: CellRecord | None
    behind_days: int = 0

    @property
    def status(self) -> str:
        if self.record is None:
            return "missing" if self.cell.expected else str(Shown.NOT_RUN)
        return "failed" if self.record.status is Outcome.FAILED else str(self.record.status)

    @property
    def red(self) -> bool:
        return self.cell.expected if self.record is None else self.record.status.bad


@dataclass(frozen=True)
class Matrix:
    """The view of one matrix.

    Attributes:
        fields: field path to the cell's name to its state, both in order.
        strays: names of recorded cells that are not pinned; they are left out.
    """

    cells: tuple[CellView, ...]
    fields: Mapping[str, Mapping[str, FieldState]]
    strays: tuple[str, ...] = ()

    @property
    def red(self) -> tuple[CellView, ...]:
        return tuple(view for view in self.cells if view.red)

    @property
    def not_run(self) -> tuple[CellView, ...]:
        """Without a record, and none was expected."""
        return tuple(view for view in self.cells if view.record is None and not view.red)


def read_folder(folder: Path) -> list[CellRecord]:
    """Every record in a folder; one that cannot be read stops the merge, since leaving it out would hide it."""
    return [read(path) for path in sorted(folder.glob("*.json"))]


def merge(records: Iterable[CellRecord], spec: Spec) -> Matrix:
    newest: dict[str, CellRecord] = {}
    for record in records:
        known = newest.get(record.cell.name)
        if known is None or _time(record) > _time(known):
            newest[record.cell.name] = record
    pinned = {cell.name for cell in spec.cells}
    strays = tuple(sorted(set(newest) - pinned))
    times = [_time(record) for name, record in newest.items() if name in pinned]
    last = max(times, default=None)
    views = []
    for cell in spec.cells:
        found = newest.get(cell.name)
        behind_days = (last - _time(found)).days if found and last else 0
        views.append(CellView(cell, found, behind_days))
    return Matrix(tuple(views), _fields(views), strays)


def _time(record: CellRecord) -> datetime:
    return datetime.fromisoformat(record.ended)


def _fields(views: list[CellView]) -> dict[str, dict[str, FieldState]]:
    states = {view.cell.name: field_states(view.record) if view.record else {} for view in views}
    names: dict[str, str] = {}
    for view in views:
        names |= dict.fromkeys(states[view.cell.name], view.cell.backend)
    table: dict[str, dict[str, FieldState]] = {}
    for name in sorted(names):
        # A cell of another backend has no such field at all, which is not the same as not run.
        cells = [view.cell.name for view in views if view.cell.backend == names[name]]
        table[name] = {cell: states[cell].get(name, FieldState(Shown.NOT_RUN)) for cell in cells}
    return table


def field_states(record: CellRecord) -> dict[str, FieldState]:
    """Each field's highest rung: of the wiring audit and of the tests that prove it; a failure outweighs every rung."""
    wiring = record.audits.get("wiring")
    rows = (wiring.report or {}).get("fields", {}) if wiring else {}
    states = {name: _from_wiring(row) for name, row in rows.items()}
    for identity, case in sorted(record.tests.items()):
        for name, rung in case.proves:
            known = states.get(name, FieldState(Shown.NOT_RUN))
            states[name] = _with_test(known, rung, case.outcome, identity, case.reason)
    return states


def _from_wiring(row: Mapping[str, str]) -> FieldState:
    status, rung, reason = row.get("status", ""), row.get("rung", ""), row.get("reason") or ""
    if status == "absent":
        return FieldState(Shown.ABSENT, reason)
    if status == "passed" and rung in RUNGS:
        return FieldState(rung, reason)
    return FieldState(Shown.FAILED, reason or f"wiring audit: {status or 'no status'} at rung {rung or 'unknown'}")


def _with_test(known: FieldState, rung: str, outcome: Outcome, identity: str, reason: str) -> FieldState:
    if known.shown == Shown.FAILED:
        return known
    if outcome.bad:
        return FieldState(Shown.FAILED, f"{identity}: {reason or outcome}")
    if known.shown == Shown.ABSENT:  # a test cannot prove what the version does not have
        return known
    if outcome is not Outcome.PASSED:
        return known if known.reason else FieldState(known.shown, f"{rung}: {outcome}: {reason}")
    if known.shown in RUNGS and RUNGS.index(known.shown) >= RUNGS.index(rung):
        return known
    return FieldState(rung)
