"""What the matrix says, in the order in which people want it: what is red, what stands low, what was not run."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from packaging.utils import canonicalize_name

from llenergymeasure.matrix.merge import RUNGS, CellView, FieldState, Matrix, Shown
from llenergymeasure.matrix.records import CellRecord, Outcome
from llenergymeasure.matrix.spec import Cell

SYMBOLS = {
    "declared": "○",
    "sent": "◔",
    "accepted": "◑",
    "effective": "◕",
    "observed": "●",
    Shown.FAILED: "✗",
    Shown.ABSENT: "—",
    Shown.NOT_RUN: "?",
}


@dataclass(frozen=True)
class Finding:
    """Something to know of one or several cells.

    Attributes:
        outcome: an outcome of a test or audit, or what a table shows of a field.
        what: a test's identity, a field, an audit, or the cell itself.
    """

    outcome: str
    what: str
    reason: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class BackendView:
    """One backend's cells side by side.

    Attributes:
        columns: its cells' names without the backend.
        rows: each field and its state in each column.
        totals: how many fields show what, in each column, the best first.
        proven: the share of fields that a running model proves, "" where nothing was run.
    """

    backend: str
    cells: tuple[CellView, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[FieldState, ...]], ...]
    totals: tuple[tuple[str, tuple[int, ...]], ...]
    proven: tuple[str, ...]

    @cached_property
    def low(self) -> tuple[Finding, ...]:
        """Fields below `accepted`, each once for each reason."""
        return tuple(_low(self.rows, [view.cell.name for view in self.cells]))

    @cached_property
    def parameters(self) -> tuple[tuple[str, tuple[int | None, ...]], ...]:
        """How many parameters the coverage audit counts as what, None in a column without its report."""
        numbers = [view.coverage for view in self.cells]
        words = dict.fromkeys(word for number in numbers for word in number)
        return tuple((word, tuple(number.get(word) for number in numbers)) for word in words)

    @cached_property
    def not_run(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Why tests were not run, and how many in each column."""
        return _not_run(self.cells)


def backends(matrix: Matrix) -> list[BackendView]:
    """In the order of the pinned cells."""
    return [_backend(matrix, name) for name in dict.fromkeys(view.cell.backend for view in matrix.cells)]


def _backend(matrix: Matrix, backend: str) -> BackendView:
    views = tuple(view for view in matrix.cells if view.cell.backend == backend)
    names = [view.cell.name for view in views]
    rows = tuple(
        (field, tuple(states[name] for name in names)) for field, states in matrix.fields.items() if names[0] in states
    )
    numbers = [Counter(states[column].shown for _, states in rows) for column in range(len(names))]
    return BackendView(
        backend=backend,
        cells=views,
        columns=tuple(name.removeprefix(f"{backend}-") for name in names),
        rows=rows,
        totals=tuple((str(word), tuple(number[word] for number in numbers)) for word in (*reversed(RUNGS), *Shown)),
        proven=tuple(_proven(number) for number in numbers),
    )


def _proven(number: Counter[str]) -> str:
    present = number.total() - number[Shown.ABSENT]
    if present == number[Shown.NOT_RUN]:
        return ""
    return f"{(number['effective'] + number['observed']) / present:.0%}"


def _low(rows: Iterable[tuple[str, tuple[FieldState, ...]]], names: list[str]) -> Iterator[Finding]:
    low = RUNGS[: RUNGS.index("accepted")]
    for field, states in rows:
        cells: dict[tuple[str, str], list[str]] = {}
        for name, state in zip(names, states, strict=True):
            if state.shown in low:
                cells.setdefault((state.shown, state.reason or "no reason given"), []).append(name)
        for (shown, reason), found in cells.items():
            yield Finding(shown, field, reason, tuple(found))


def _not_run(views: tuple[CellView, ...]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Reasons that differ only in the details behind the first colon count as one."""
    whole: dict[str, str] = {}
    numbers = []
    for view in views:
        number: Counter[str] = Counter()
        for _, case in view.not_passed:
            if case.outcome is Outcome.SKIPPED:
                reason = case.reason or "no reason given"
                head = reason.partition(": ")[0]
                number[head] += 1
                if whole.setdefault(head, reason) != reason:
                    whole[head] = head
        numbers.append(number)
    rows = [(reason, tuple(number[head] for number in numbers)) for head, reason in whole.items()]
    return tuple(sorted(rows, key=lambda row: (-sum(row[1]), row[0])))


def red(matrix: Matrix) -> list[Finding]:
    """Everything that makes a cell red, and every field that a failure spoils."""
    return [finding for view in matrix.red for finding in _red(matrix, view)]


def _red(matrix: Matrix, view: CellView) -> Iterator[Finding]:
    cell, record = (view.cell.name,), view.record
    if record is None:
        yield Finding(view.status, view.cell.name, no_record(view.cell), cell)
        return
    if record.reason:
        yield Finding(str(record.status), view.cell.name, record.reason, cell)
    for name, audit in record.audits.items():
        if audit.outcome.bad:
            yield Finding(str(audit.outcome), f"audit {name}", audit.reason, cell)
    for name, case in view.not_passed:
        if case.outcome.bad:
            yield Finding(str(case.outcome), name, case.reason, cell)
    for name, states in matrix.fields.items():
        if (state := states.get(view.cell.name)) and state.shown == Shown.FAILED:
            yield Finding(str(state.shown), f"field {name}", state.reason, cell)


def expected_failures(matrix: Matrix) -> list[Finding]:
    """Each once, with the cells that have it; those that are upstream's first."""
    cells: dict[tuple[Outcome, str, str], list[str]] = {}
    for view in matrix.cells:
        for name, case in view.not_passed:
            if case.outcome in (Outcome.XFAIL_UPSTREAM, Outcome.XFAIL_OURS):
                cells.setdefault((case.outcome, name, case.reason), []).append(view.cell.name)
    found = [Finding(words(outcome), name, reason, tuple(names)) for (outcome, name, reason), names in cells.items()]
    return sorted(found, key=lambda finding: (finding.outcome != words(Outcome.XFAIL_UPSTREAM), finding.what))


def words(outcome: Outcome) -> str:
    return outcome.value.replace("_", " ")


def symbol(view: CellView) -> str:
    return "✗" if view.red else "✓" if view.record else SYMBOLS[Shown.NOT_RUN]


def no_record(cell: Cell) -> str:
    """Why there is none, as far as the matrix says so."""
    if cell.expected:
        return "no record: the cell was not run"
    return f"no record: it is run on request, on a machine for {cell.platform}"


def date(time: str) -> str:
    return datetime.fromisoformat(time).astimezone(UTC).date().isoformat()


def moment(time: str) -> str:
    return datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def age(view: CellView) -> str:
    """Against the newest record, so that the same records give the same page."""
    return f"{view.behind_days} d behind the newest" if view.behind_days else ""


def commit(record: CellRecord) -> str:
    return (record.commit or "no commit")[:12] + (" + changes" if record.dirty else "")


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s"


def packages(record: CellRecord) -> str:
    """Python, the backend's package and torch."""
    # A distribution may spell its own name otherwise than it is asked for.
    found = {canonicalize_name(name): version for name, version in record.packages.items()}
    shown = (record.cell.package, "torch")
    versions = [f"{name} {found[plain]}" for name in shown if (plain := canonicalize_name(name)) in found]
    return ", ".join([f"Python {record.python}", *versions]) if record.python else ""
