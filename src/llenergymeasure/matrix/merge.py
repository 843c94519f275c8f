"""Many records into one view: the newest of each pinned cell, each field's rung in it, and how its runs went on."""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import islice
from pathlib import Path

from llenergymeasure.matrix.records import Case, CellRecord, Outcome, counts, read
from llenergymeasure.matrix.spec import Cell, Spec

RUNGS = ("declared", "sent", "accepted", "effective", "observed")

_BAD_KEPT = 20  # where everything breaks, the first tests say why


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
        bad: the first tests that ended badly, by identity, and why; `counts` says how many there were.
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
        record: the newest, without its audits' reports: `coverage` and the matrix's fields have what counts of them.
        behind_days: how much older its record is than the newest record of the matrix.
        coverage: how many parameters the coverage audit counts as what, in its words.
        runs: all that is known of it, the oldest first; the last is that of `record`.
    """

    cell: Cell
    record: CellRecord | None
    behind_days: int = 0
    coverage: Mapping[str, int] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()

    @cached_property
    def not_passed(self) -> tuple[tuple[str, Case], ...]:
        """The tests that have something to say, by identity; several tables ask for them."""
        tests = self.record.tests.items() if self.record else ()
        return tuple((name, case) for name, case in tests if case.outcome is not Outcome.PASSED)

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


@contextmanager
def without_collector() -> Iterator[None]:
    """While many records are read: they are a million small objects without a cycle, to be gone through in vain."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def merge(records: Iterable[CellRecord], spec: Spec, history: Iterable[Run] = ()) -> Matrix:
    """Of each cell the newest record is held, of all others what the trend needs.

    Args:
        history: earlier runs, whose records are gone.
    """
    newest: dict[str, _Read] = {}
    runs: dict[str, dict[str, Run]] = {}
    for run in history:
        runs.setdefault(run.cell, {})[run.started] = run
    for record in records:
        name = record.cell.name
        states = field_states(record)
        run = reduced(record, states)
        runs.setdefault(name, {})[run.started] = run
        if name not in newest or _time(run) > _time(newest[name].record):
            newest[name] = _Read(_without_reports(record), states, _coverage(record))
    found = {cell.name: newest[cell.name] for cell in spec.cells if cell.name in newest}
    last = max((_time(part.record) for part in found.values()), default=None)
    views = []
    for cell in spec.cells:
        of_cell = tuple(sorted(runs.get(cell.name, {}).values(), key=_time))
        part = found.get(cell.name)
        if part is None or last is None:
            views.append(CellView(cell, None, runs=of_cell))
        else:
            behind_days = (last - _time(part.record)).days
            views.append(CellView(cell, part.record, behind_days, part.coverage, of_cell))
    fields = _fields(views, {name: part.states for name, part in found.items()})
    return Matrix(tuple(views), fields, tuple(sorted(newest.keys() - found.keys())))


@dataclass(frozen=True)
class _Read:
    record: CellRecord
    states: Mapping[str, FieldState]
    coverage: Mapping[str, int]


def _without_reports(record: CellRecord) -> CellRecord:
    """A report is half of a record, and of many records it would fill the memory."""
    audits = {name: replace(audit, report=None) for name, audit in record.audits.items()}
    return replace(record, audits=audits)


def _coverage(record: CellRecord) -> dict[str, int]:
    audit = record.audits.get("coverage")
    # The audit reports a list of versions; in a cell that is the installed one.
    reports = (audit.report or {}).get("versions", []) if audit else []
    return dict(reports[0].get("counts", {})) if len(reports) == 1 else {}


def reduced(record: CellRecord, states: Mapping[str, FieldState]) -> Run:
    """`states` are those of the record's own fields."""
    bad = ((name, case.reason) for name, case in record.tests.items() if case.outcome.bad)
    return Run(
        cell=record.cell.name,
        runner=record.runner,
        status=record.status,
        reason=record.reason,
        counts={outcome: number for outcome, number in counts(record).items() if number},
        fields=dict(Counter(str(state.shown) for state in states.values())),
        bad=dict(islice(bad, _BAD_KEPT)),
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
