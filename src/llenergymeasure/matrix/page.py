"""The matrix as a page that people read; the same records give the same page, whenever it is built."""

from collections import Counter
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from packaging.utils import canonicalize_name

from llenergymeasure.matrix.merge import RUNGS, CellView, FieldState, Matrix, Shown
from llenergymeasure.matrix.records import CellRecord, Outcome, counts
from llenergymeasure.matrix.spec import Cell

_SYMBOLS = {
    "declared": "○",
    "sent": "◔",
    "accepted": "◑",
    "effective": "◕",
    "observed": "●",
    Shown.FAILED: "✗",
    Shown.ABSENT: "—",
    Shown.NOT_RUN: "?",
}


def markdown(matrix: Matrix) -> str:
    environment = Environment(
        loader=PackageLoader("llenergymeasure.matrix"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _table_text
    return environment.get_template("compatibility.md.j2").render(
        cells=[_cell_row(view) for view in matrix.cells],
        outcomes=[outcome.replace("_", " ") for outcome in Outcome],
        backends=_backends(matrix),
        findings=_findings(matrix),
        legend=[(_SYMBOLS[word], word) for word in (*RUNGS, *Shown)],
        strays=matrix.strays,
    )


def totals(matrix: Matrix) -> str:
    """How many fields reached which rung in each cell, as plain lines; rungs that no cell has are left out."""
    lines = []
    for table in _backends(matrix):
        rows = [(str(word), [str(number) for number in numbers]) for word, numbers in table["totals"]]
        width = max(len(word) for word, _ in rows)
        columns = [f"{name:>10}" for name in table["columns"]]
        lines.append(f"{'fields of ' + table['backend']:<{width}}  {'  '.join(columns)}")
        for word, numbers in rows:
            if set(numbers) != {"0"}:
                cells = (f"{number:>{len(column)}}" for number, column in zip(numbers, columns, strict=True))
                lines.append(f"{word:<{width}}  {'  '.join(cells)}")
    return "\n".join(lines)


def _table_text(value: object) -> str:
    """Nothing in a reason can end a table's cell or become markup."""
    text = " ".join(str(value).split())
    for character in ("\\", "|", "<", "*", "`", "["):
        text = text.replace(character, f"\\{character}" if character != "<" else "&lt;")
    return text


def _cell_row(view: CellView) -> dict[str, Any]:
    record = view.record
    row: dict[str, Any] = {
        "name": view.cell.name,
        "status": view.status,
        "symbol": "✗" if view.red else "✓" if record else _SYMBOLS[Shown.NOT_RUN],
        "counts": list(counts(record).values()) if record else [],
        "coverage": _coverage(record) if record else "",
        "date": "",
        "behind": "",
        "commit": "",
        "runner": record.runner if record else "",
        "packages": _packages(record) if record else "",
        "duration": f"{record.duration_s:.0f} s" if record else "",
    }
    if record:
        row["date"] = datetime.fromisoformat(record.ended).date().isoformat()
        row["behind"] = f"{view.behind_days} d behind the newest" if view.behind_days else ""
        row["commit"] = (record.commit or "no commit")[:12] + (" + changes" if record.dirty else "")
    return row


def _coverage(record: CellRecord) -> str:
    """The audit's own counts, in its order; the words are the audit's."""
    audit = record.audits.get("coverage")
    if audit is None or audit.report is None:
        return "not run" if audit is None else f"{audit.outcome}: {audit.reason}"
    # The audit reports a list of versions; in a cell that is the installed one.
    reports = audit.report.get("versions", [])
    numbers = reports[0].get("counts", {}) if len(reports) == 1 else {}
    return ", ".join(f"{number} {word}" for word, number in numbers.items()) or str(audit.outcome)


def _packages(record: CellRecord) -> str:
    # A distribution may spell its own name otherwise than it is asked for.
    found = {canonicalize_name(name): version for name, version in record.packages.items()}
    shown = (record.cell.package, "torch")
    versions = [f"{name} {found[plain]}" for name in shown if (plain := canonicalize_name(name)) in found]
    return ", ".join([f"Python {record.python}", *versions]) if record.python else ""


def _backends(matrix: Matrix) -> list[dict[str, Any]]:
    tables = []
    for backend in dict.fromkeys(view.cell.backend for view in matrix.cells):
        names = [view.cell.name for view in matrix.cells if view.cell.backend == backend]
        fields = {name: states for name, states in matrix.fields.items() if set(states) <= set(names)}
        tables.append(
            {
                "backend": backend,
                "columns": [name.removeprefix(f"{backend}-") for name in names],
                "rows": [(name, [_state(states[cell]) for cell in names]) for name, states in fields.items()],
                "totals": _totals(names, fields),
            }
        )
    return tables


def _state(state: FieldState) -> str:
    return f"{_SYMBOLS[state.shown]} {state.shown}"


def _totals(names: list[str], fields: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """How many fields each cell shows at each rung, and the share that a running model proves."""
    numbers = [Counter(states[name].shown for states in fields.values()) for name in names]
    rows = [(str(word), [str(number[word]) for number in numbers]) for word in (*reversed(RUNGS), *Shown)]
    shares = []
    for number in numbers:
        present = sum(number.values()) - number[Shown.ABSENT]
        if present == number[Shown.NOT_RUN]:
            shares.append("")
            continue
        proven = number["effective"] + number["observed"]
        shares.append(f"{proven / present:.0%}")
    return [*rows, ("effective or observed, of those not absent", shares)]


def _findings(matrix: Matrix) -> list[dict[str, Any]]:
    """Everything that is not proven or not passed, cell by cell, each with its reason."""
    found = []
    for view in matrix.cells:
        record = view.record
        if record is None:
            found.append({"name": view.cell.name, "lines": [(view.status, view.cell.name, _no_record(view.cell))]})
            continue
        lines = [(str(record.status), view.cell.name, record.reason)] if record.reason else []
        lines += [
            (str(audit.outcome), f"audit {name}", audit.reason)
            for name, audit in record.audits.items()
            if audit.outcome.bad
        ]
        lines += [
            (case.outcome.replace("_", " "), name, case.reason)
            for name, case in record.tests.items()
            if case.outcome is not Outcome.PASSED
        ]
        lines += _low_fields(matrix, view.cell.name)
        if lines:
            found.append({"name": view.cell.name, "lines": lines})
    return found


def _no_record(cell: Cell) -> str:
    """Why there is none, as far as the matrix says so."""
    if cell.expected:
        return "no record: the cell was not run"
    return f"no record: it is run on request, on a machine for {cell.platform}"


def _low_fields(matrix: Matrix, cell: str) -> list[tuple[str, str, str]]:
    low = (*RUNGS[: RUNGS.index("accepted")], Shown.FAILED)
    states = ((name, cells[cell]) for name, cells in matrix.fields.items() if cell in cells)
    return [
        (state.shown, f"field {name}", state.reason or "no reason given")
        for name, state in states
        if state.shown in low
    ]
