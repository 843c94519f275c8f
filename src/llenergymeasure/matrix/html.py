"""The matrix as one HTML page that needs nothing beside it: no server, no network, and for reading no JavaScript."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from llenergymeasure.matrix import page, trend, views
from llenergymeasure.matrix.merge import RUNGS, CellView, FieldState, Matrix, Run, Shown
from llenergymeasure.matrix.records import CellRecord, Outcome, counts

_LETTERS = dict(zip(Outcome, "puosfetc", strict=True))
_NO_SUCH_TEST = "-"


def html(matrix: Matrix, folder: Path) -> str:
    """`folder` is where the page will stand: its links to the records are relative to it."""
    environment = Environment(
        loader=PackageLoader("llenergymeasure.matrix"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = (_asset(f"compatibility.{kind}") for kind in ("css", "js"))
    links = {view.cell.name: _link(view.record, folder) for view in matrix.cells}
    backends = views.backends(matrix)
    return environment.get_template("compatibility.html.j2").render(
        style=Markup(style),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_data(matrix, links),
        summary=page.summary(matrix),
        cells=[_cell_row(view, links[view.cell.name]) for view in matrix.cells],
        red=views.red(matrix),
        expected_failures=views.expected_failures(matrix),
        backends=[(view, _field_rows(view, links)) for view in backends],
        legend=list(_LEGEND.items()),
        states=[*reversed(RUNGS), *Shown],
        outcomes=[views.words(outcome) for outcome in Outcome if outcome not in (Outcome.SKIPPED, Outcome.FAILED)],
        strays=matrix.strays,
    )


_LEGEND = {
    "observed": "a behaviour that only the value explains was seen to change",
    "effective": "the loaded engine's own configuration reads the value back",
    "accepted": "the backend's own objects take it and read it back",
    "sent": "the backend's interface gets exactly this value",
    "declared": "the version has the parameter",
    Shown.FAILED: "a check of it failed; that outweighs every rung",
    Shown.ABSENT: "the version has no such parameter",
    Shown.NOT_RUN: "nothing was run that could show it",
}


def _asset(name: str) -> str:
    return (files("llenergymeasure.matrix") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls this text: only it may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _link(record: CellRecord | None, folder: Path) -> str:
    if record is None or record.origin is None:
        return ""
    return quote(Path(os.path.relpath(record.origin, folder)).as_posix())


def _cell_row(view: CellView, link: str) -> dict[str, Any]:
    record = view.record
    numbers = counts(record) if record else {}
    return {
        "view": view,
        "link": link,
        "symbol": views.symbol(view),
        "passed": numbers.get(Outcome.PASSED, ""),
        "expected": numbers[Outcome.XFAIL_UPSTREAM] + numbers[Outcome.XFAIL_OURS] if numbers else "",
        "not_run": numbers.get(Outcome.SKIPPED, ""),
        "failed": sum(number for outcome, number in numbers.items() if outcome.bad) if numbers else "",
        "trend": trend.svg(view.runs) if view.runs else "",
        "ended": record.ended if record else "",
        "date": views.date(record.ended) if record else "",
        "age": views.age(view),
        "why": "" if record else views.no_record(view.cell),
    }


def _field_rows(view: views.BackendView, links: dict[str, str]) -> Markup:
    """Thousands of cells: put together here, since a template would take seconds over a large matrix."""
    known: dict[tuple[int, str], Markup] = {}
    rows = []
    for name, states in view.rows:
        cells = []
        for column, state in enumerate(states):
            if (column, state.shown) not in known:
                known[column, state.shown] = _field_cell(state, links[view.cells[column].cell.name])
            cells.append(known[column, state.shown])
        # Where a browser may break a long name.
        text = escape(name).replace(".", Markup(".<wbr>")).replace("_", Markup("_<wbr>"))
        rows.append(f'<tr><th scope="row"><code>{text}</code></th>{"".join(cells)}</tr>')
    return Markup("\n".join(rows))  # noqa: S704 - escaped above


def _field_cell(state: FieldState, link: str) -> Markup:
    kind = state.shown.replace(" ", "-")
    inside = Markup('<a href="{}">{}</a>').format(link, state.shown) if link else escape(state.shown)
    return Markup('<td class="{}">{}</td>').format(kind, inside)


def _data(matrix: Matrix, links: dict[str, str]) -> Markup:
    """What the page's script needs, compact: names and reasons once each, an outcome as one letter."""
    reasons: dict[str, int] = {"": 0}
    document = {
        "cells": [_cell_data(view, links[view.cell.name]) for view in matrix.cells],
        "letters": {letter: views.words(outcome) for outcome, letter in _LETTERS.items()},
        "bad": "".join(letter for outcome, letter in _LETTERS.items() if outcome.bad),
        "rungs": list(RUNGS),
        "fields": _field_reasons(matrix, reasons),
        "tests": [
            _tests_data(
                [
                    (index, view.record)
                    for index, view in enumerate(matrix.cells)
                    if view.record and view.cell.backend == backend
                ],
                reasons,
            )
            | {"backend": backend}
            for backend in dict.fromkeys(view.cell.backend for view in matrix.cells)
        ],
    }
    document["reasons"] = list(reasons)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # Nothing in it may end the element that it stands in.
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))  # noqa: S704


def _field_reasons(matrix: Matrix, reasons: dict[str, int]) -> dict[str, dict[int, int]]:
    index = {view.cell.name: number for number, view in enumerate(matrix.cells)}
    found: dict[str, dict[int, int]] = {}
    for name, states in matrix.fields.items():
        own = {index[cell]: _number(reasons, state.reason) for cell, state in states.items() if state.reason}
        if own:
            found[name] = own
    return found


def _tests_data(records: Sequence[tuple[int, CellRecord]], reasons: dict[str, int]) -> dict[str, Any]:
    """All tests of one backend, with an outcome, a reason and what they prove in each cell.

    What a test proves is the same in nearly every cell, so it stands once, and again only where a cell differs.
    """
    names = sorted({name for _, record in records for name in record.tests})
    proves: dict[str, tuple[tuple[str, str], ...]] = {}
    for _, record in reversed(records):
        proves |= {name: case.proves for name, case in record.tests.items() if case.proves}
    place = {name: number for number, name in enumerate(names)}
    cells = []
    for number, record in records:
        row = dict.fromkeys(names, _NO_SUCH_TEST)
        why: dict[int, int] = {}
        other: dict[int, Any] = {}
        for name, case in record.tests.items():
            row[name] = _LETTERS[case.outcome]
            if case.reason:
                why[place[name]] = _number(reasons, case.reason)
            if case.proves != proves.get(name, ()):
                other[place[name]] = case.proves
        cells.append({"cell": number, "outcomes": "".join(row.values()), "reasons": why, "proves": other})
    return {"names": names, "proves": {place[name]: pairs for name, pairs in proves.items()}, "cells": cells}


def _number(reasons: dict[str, int], reason: str) -> int:
    return reasons.setdefault(reason, len(reasons))


def _cell_data(view: CellView, link: str) -> dict[str, Any]:
    record = view.record
    row: dict[str, Any] = {
        "name": view.cell.name,
        "short": view.cell.name.removeprefix(f"{view.cell.backend}-"),
        "backend": view.cell.backend,
        "status": view.status,
        "red": view.red,
        "file": link,
        "runs": [_run_data(run) for run in view.runs],
    }
    if record is None:
        return row | {"facts": {"no record": views.no_record(view.cell).removeprefix("no record: ")}, "findings": []}
    return row | {"ended": record.ended, "facts": _facts(record, view.coverage), "findings": _findings(view, record)}


def _run_data(run: Run) -> list[Any]:
    expected = sum(run.counts.get(kind, 0) for kind in (Outcome.XFAIL_UPSTREAM, Outcome.XFAIL_OURS))
    figures = [trend.passed(run), expected, run.not_run, run.failed]
    return [run.ended, str(run.status), *figures, (run.commit or "")[:12]]


def _facts(record: CellRecord, coverage: Mapping[str, int]) -> dict[str, str]:
    """What the figures of a run depend on, in words; what is not known is left out."""
    host = asdict(record.host)
    facts = {
        "problem": record.reason,
        "started": views.moment(record.started),
        "ended": views.moment(record.ended),
        "took": views.duration(record.duration_s),
        "runner": f"{record.runner}: {record.runner_why}" if record.runner_why else record.runner,
        "image": record.image_digest,
        "with": views.packages(record),
        "system": record.platform,
        "processor": ", ".join([host["cpu"], f"{host['cores']} cores"])
        if host["cpu"] and host["cores"]
        else host["cpu"],
        "memory": f"{host['memory_bytes'] / 1e9:.0f} GB" if host["memory_bytes"] else "",
        "GPU": ", ".join(host["gpus"]),
        "driver": host["driver"],
        "commit": (record.commit or "") + (" with changes" if record.dirty else ""),
        "coverage": ", ".join(f"{number} {word}" for word, number in coverage.items()),
    }
    return {name: str(value) for name, value in facts.items() if value}


def _findings(view: CellView, record: CellRecord) -> list[list[str]]:
    audits = [
        [str(audit.outcome), f"audit {name}", audit.reason]
        for name, audit in record.audits.items()
        if audit.outcome.bad
    ]
    tests = [[str(case.outcome), name, case.reason] for name, case in view.not_passed if case.outcome.bad]
    return audits + tests
