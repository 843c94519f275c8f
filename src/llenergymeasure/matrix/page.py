"""The matrix as a Markdown page and on the terminal; the same records give the same page, whenever it is built."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from llenergymeasure.matrix import views
from llenergymeasure.matrix.merge import RUNGS, CellView, FieldState, Matrix, Shown
from llenergymeasure.matrix.records import Outcome, counts

_PROVEN = "effective or observed, of those not absent"


def markdown(matrix: Matrix) -> str:
    environment = Environment(  # noqa: S701 - Markdown, not HTML
        loader=PackageLoader("llenergymeasure.matrix"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": _table_text, "state": _state, "short": _short, "blank": _blank}
    return environment.get_template("compatibility.md.j2").render(
        summary=summary(matrix),
        cells=[_cell_row(view) for view in matrix.cells],
        outcomes=[views.words(outcome) for outcome in Outcome],
        red=views.red(matrix),
        expected_failures=views.expected_failures(matrix),
        backends=views.backends(matrix),
        proven=_PROVEN,
        legend=[(views.SYMBOLS[word], word) for word in (*RUNGS, *Shown)],
        strays=matrix.strays,
    )


def summary(matrix: Matrix) -> str:
    """The state of all cells in one line."""
    green = len(matrix.cells) - len(matrix.red) - len(matrix.not_run)
    parts = [f"{green} of {len(matrix.cells)} cells passed", f"{len(matrix.red)} red", f"{len(matrix.not_run)} not run"]
    first = {view.cell.backend: view.cell.name for view in reversed(matrix.cells)}
    fields = [
        f"{sum(name in states for states in matrix.fields.values())} of {backend}"
        for backend, name in sorted(first.items())
    ]
    return f"{', '.join(parts)}; fields: {', '.join(fields)}"


def totals(matrix: Matrix) -> str:
    """How many fields reached which rung in each cell, as plain lines; rungs that no cell has are left out."""
    lines = []
    for view in views.backends(matrix):
        rows = [(word, [str(number) for number in numbers]) for word, numbers in view.totals if any(numbers)]
        rows.append((_PROVEN, list(view.proven)))
        width = max(len(word) for word, _ in rows)
        columns = [f"{name:>10}" for name in view.columns]
        lines.append(f"{'fields of ' + view.backend:<{width}}  {'  '.join(columns)}")
        for word, numbers in rows:
            cells = (f"{number:>{len(column)}}" for number, column in zip(numbers, columns, strict=True))
            lines.append(f"{word:<{width}}  {'  '.join(cells)}".rstrip())
    return "\n".join(lines)


def _table_text(value: object) -> str:
    """Nothing in a reason can end a table's cell or become markup."""
    text = " ".join(str(value).split())
    for character in ("\\", "|", "<", "*", "`", "["):
        text = text.replace(character, f"\\{character}" if character != "<" else "&lt;")
    return text


def _state(state: FieldState) -> str:
    return f"{views.SYMBOLS[state.shown]} {state.shown}"


def _blank(number: int | None) -> str:
    return "" if number is None else str(number)


def _short(cells: Sequence[str], backend: str) -> str:
    return ", ".join(name.removeprefix(f"{backend}-") for name in cells)


def _cell_row(view: CellView) -> dict[str, Any]:
    record = view.record
    row: dict[str, Any] = {"name": view.cell.name, "status": f"{views.symbol(view)} {view.status}"}
    if record is None:
        return row | {"counts": [""] * len(Outcome), "ran": "", "commit": "", "with": views.no_record(view.cell)}
    ran = [views.date(record.ended), views.age(view), views.duration(record.duration_s)]
    return row | {
        "counts": list(counts(record).values()),
        "ran": ", ".join(part for part in ran if part),
        "commit": views.commit(record),
        "with": ", ".join(part for part in (record.runner, views.packages(record)) if part),
    }
