"""Many records into one view: the newest of each pinned cell, each field's rung in it, and how its runs went on."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from llenergymeasure.matrix.records import CellRecord, Outcome, counts, read
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
class Run:
    """What stays of one run of a cell once a newer record has taken its place.

    Attributes:
        cell: the cell's name.
        counts: how many tests ended each way; a kind that none did may be left out.
        fields: how many fields stood at each rung, or failed, absent, not run.
        bad: the tests that ended badly, by identity, and why.
        started: UTC, ISO 8601; so is `ended`.
    """

    cell: str
    runner: str
    status: Outcome
    reason: str
    counts: Mapping[Outcome, int]
    fields: Mapping[str, int]
    bad: Mapping[str, str]
    commit: str | None
    dirty: bool | None
    started: str
    ended: str
    duration_s: float

    @property
    def not_run(self) -> int:
        return self.counts.get(Outcome.SKIPPED, 0)

    @property
    def failed(self) -> int:
        return sum(number for outcome, number in self.counts.items() if outcome.bad)


@dataclass(frozen=True)
class CellView:
    """One pinned cell; without a record it is red where one is expected, else it was not run.

    Attributes:
        behind_days: how much older its record is than the newest record of the matrix.
        runs: all that is known of it, the oldest first; the last is that of `record`.
    """

    cell: Cell
    record: CellRecord | None
    behind_days: int = 0
    runs: tuple[Run, ...] = ()

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


def read_folder(folder: Path) -> Iterator[CellRecord]:
    """Every record in a folder; one that cannot be read stops the merge, since leaving it out would hide it."""
    return (read(path) for path in sorted(folder.glob("*.json")))


def merge(records: Iterable[CellRecord], spec: Spec, history: Iterable[Run] = ()) -> Matrix:
    """Of each cell the newest record is held, of all others what the trend needs.

    Args:
        history: earlier runs, whose records are gone.
    """
    newest: dict[str, CellRecord] = {}
    runs: dict[str, dict[str, Run]] = {cell.name: {} for cell in spec.cells}
    for run in history:
        runs.setdefault(run.cell, {})[run.started] = run
    for record in records:
        name = record.cell.name
        known = newest.get(name)
        older, newer = (known, record) if known is None or _time(record) > _time(known) else (record, known)
        newest[name] = newer
        if older is not None:
            runs.setdefault(name, {})[older.started] = reduced(older)
    states = {cell.name: field_states(newest[cell.name]) for cell in spec.cells if cell.name in newest}
    last = max((_time(newest[name]) for name in states), default=None)
    views = []
    for cell in spec.cells:
        found = newest.get(cell.name)
        behind_days = (last - _time(found)).days if found and last else 0
        if found:
            runs[cell.name][found.started] = reduced(found, states[cell.name])
        views.append(CellView(cell, found, behind_days, tuple(sorted(runs[cell.name].values(), key=_time))))
    return Matrix(tuple(views), _fields(views, states), tuple(sorted(newest.keys() - states.keys())))


def reduced(record: CellRecord, states: Mapping[str, FieldState] | None = None) -> Run:
    """`states` are the record's own, where they are known already."""
    shown = (field_states(record) if states is None else states).values()
    return Run(
        cell=record.cell.name,
        runner=record.runner,
        status=record.status,
        reason=record.reason,
        counts={outcome: number for outcome, number in counts(record).items() if number},
        fields=dict(Counter(str(state.shown) for state in shown)),
        bad={name: case.reason for name, case in record.tests.items() if case.outcome.bad},
        commit=record.commit,
        dirty=record.dirty,
        started=record.started,
        ended=record.ended,
        duration_s=record.duration_s,
    )


def _time(run: CellRecord | Run) -> datetime:
    return datetime.fromisoformat(run.ended)


def _fields(views: list[CellView], states: Mapping[str, Mapping[str, FieldState]]) -> dict[str, dict[str, FieldState]]:
    backends: dict[str, set[str]] = {}
    for view in views:
        for name in states.get(view.cell.name, ()):
            backends.setdefault(name, set()).add(view.cell.backend)
    nothing: Mapping[str, FieldState] = {}
    table: dict[str, dict[str, FieldState]] = {}
    for name in sorted(backends):
        # A cell of another backend has no such field at all, which is not the same as not run.
        cells = [view.cell.name for view in views if view.cell.backend in backends[name]]
        table[name] = {cell: states.get(cell, nothing).get(name, FieldState(Shown.NOT_RUN)) for cell in cells}
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
