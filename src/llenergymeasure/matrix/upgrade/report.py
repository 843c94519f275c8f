"""The report of an upgrade: Markdown fit for a pull request, JSON for programs, a few lines for a terminal."""

import html
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from llenergymeasure.audit.coverage import KINDS
from llenergymeasure.matrix.diff import Change, Kind
from llenergymeasure.matrix.merge import RUNGS, Shown, field_states
from llenergymeasure.matrix.records import CellRecord, counts
from llenergymeasure.matrix.upgrade.check import Beside, Report
from llenergymeasure.matrix.upgrade.compare import Finding, Verdict
from llenergymeasure.matrix.upgrade.plan import Plan, Touched

KIND = "llenergymeasure upgrade report"
SCHEMA = 1
# A pull request's text may have 65,536 characters.
LIMIT = 60_000
_CAPS = (10_000, 200, 80, 30, 10, 3)

Rows = list[tuple[str, ...]]


def verdict(report: Report) -> str:
    """One sentence: red or green, what makes it so, and what was not looked at."""
    found = Counter(finding.verdict for item in report.cells for finding in item.comparison.red)
    parts = [_many(number, str(kind)) for kind, number in found.items()]
    plan = report.plan
    parts += [_many(len(plan.unaccounted), "unaccounted parameter")] if plan.unaccounted else []
    parts += [_many(len(plan.gaps), "gap in coverage", "gaps in coverage")] if plan.gaps else []
    parts += (
        [_many(len(plan.misfits), "field that no longer fits", "fields that no longer fit")] if plan.misfits else []
    )
    words = f"red: {', '.join(parts)}" if parts else "green: no regression found, every parameter accounted for"
    if not report.cells:
        words = words.replace("no regression found, ", "") + "; no cell was run"
    return words


def markdown(report: Report) -> str:
    """As much detail as a pull request takes; what is left out is counted, and stands in the JSON report."""
    text = ""
    for cap in _CAPS:
        text = _page(report, cap)
        if len(text) <= LIMIT:
            break
    return text


def as_json(report: Report) -> str:
    document = {
        "kind": KIND,
        "schema": SCHEMA,
        "red": report.red,
        "verdict": verdict(report),
        "plan": asdict(report.plan),
        "cells": [_cell_document(item) for item in report.cells],
        "not_run": dict(report.not_run),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def text(report: Report) -> str:
    """What a terminal shows: the verdict and what needs a decision."""
    plan = report.plan
    lines = [f"{plan.backend} {plan.old} → {plan.new}: {verdict(report)}"]
    for title, _, rows in _decisions(report):
        lines += ["", f"{title} ({len(rows)})"]
        lines += [f"  {'  '.join(_plain(item) for item in row if item)}" for row in rows[:20]]
        lines += [f"  … and {len(rows) - 20} more in the report"] if len(rows) > 20 else []
    lines += [f"not run: {name}: {why}" for name, why in report.not_run.items()]
    return "\n".join(lines) + "\n"


def _plain(cell: str) -> str:
    return html.unescape(cell.replace("`", "").replace("<br>", ", "))


def _cell_document(item: Beside) -> dict[str, Any]:
    shown = item.comparison
    return {
        "old": asdict(item.pair.old),
        "new": asdict(item.pair.new),
        "notes": list(item.pair.notes),
        "reused": item.reused,
        "counts": {side: counts(record) for side, record in (("old", shown.old), ("new", shown.new))},
        "numbers": {kind: len(shown.of(kind)) for kind in Kind},
        "findings": [asdict(finding) for finding in shown.findings],
        "changes": [asdict(change) for change in shown.changes if change.kind is not Kind.UNCHANGED],
    }


def _page(report: Report, cap: int) -> str:
    plan = report.plan
    lines = [f"# {plan.backend} {plan.old} → {plan.new}", "", f"**{verdict(report)}**", ""]
    lines += _table(("", plan.old, plan.new), _summary(report), cap)
    for item in report.cells:
        numbers = ", ".join(f"{len(item.comparison.of(kind))} {kind}" for kind in Kind)
        lines += ["", f"{_code(item.pair.old.name)} beside {_code(item.pair.new.name)}, by test and field: {numbers}."]
    lines += [f"\nNot run: {_code(name)}: {html.escape(why, quote=False)}." for name, why in report.not_run.items()]
    lines += ["", "## Needs a decision", ""]
    decisions = [section for section in _decisions(report) if section[2]]
    for title, head, rows in decisions:
        lines += [f"### {title} ({len(rows)})", "", *_table(head, rows, max(cap, 10)), ""]
    lines += [] if decisions else ["Nothing.", ""]
    lines += ["## For information", ""]
    for title, head, rows in _information(report):
        if rows:
            lines += ["<details>", f"<summary>{title} ({len(rows)})</summary>", "", *_table(head, rows, cap)]
            lines += ["", "</details>", ""]
    return "\n".join(lines).rstrip() + "\n"


def _summary(report: Report) -> Rows:
    plan = report.plan
    kinds = {kind: f"… {kind}" for kind in KINDS}
    rows: Rows = [(kinds.get(key, key), str(plan.before[key]), str(plan.after[key])) for key in plan.after]
    for item in report.cells:
        old, new = item.comparison.old, item.comparison.new
        numbers = counts(old), counts(new)
        name = f"{item.pair.new.backend} on {item.pair.new.platform}"
        rows.append((f"{name}: status", old.status, new.status))
        rows += [
            (
                f"{name}: tests {'not run' if kind == 'skipped' else kind.replace('_', ' ')}",
                str(numbers[0][kind]),
                str(numbers[1][kind]),
            )
            for kind in numbers[0]
            if numbers[0][kind] or numbers[1][kind]
        ]
        heights = [Counter(state.shown for state in field_states(record).values()) for record in (old, new)]
        rows += [
            (f"{name}: fields {shown}", *(str(height[shown]) for height in heights))
            for shown in (*reversed(RUNGS), *Shown)
            if any(height[shown] for height in heights)
        ]
        names = sorted({*old.audits, *new.audits})
        rows += [(f"{name}: audit {audit}", _audit(old, audit), _audit(new, audit)) for audit in names]
        rows.append((f"{name}: duration", f"{old.duration_s:.0f} s", f"{new.duration_s:.0f} s"))
    return rows


def _audit(record: CellRecord, name: str) -> str:
    return str(record.audits[name].outcome) if name in record.audits else "not run"


Section = tuple[str, tuple[str, ...], Rows]


def _decisions(report: Report) -> list[Section]:
    """What turns the check red first, then what changes a measurement without any error."""
    plan = report.plan
    red = [finding for item in report.cells for finding in item.comparison.red]
    gone = [change for item in report.cells for change in item.comparison.of(Kind.DISAPPEARED)]
    sections: list[Section] = [
        ("Worse on the new version", _FINDING, _findings(red)),
        ("Fields that fall with it", ("field", "was", "is", "because"), _falling(report)),
        (
            "Unaccounted parameters",
            ("parameter", "type", "default", "status"),
            [(_parameter(p.entry_point, p.name), _code(p.type), _code(p.default), p.status) for p in plan.unaccounted],
        ),
        ("Gaps in coverage", ("what",), [(_code(gap),) for gap in plan.gaps]),
        (
            "Fields that no longer fit",
            ("field", "why"),
            [(_code(path), _code(why)) for path, why in plan.misfits.items()],
        ),
        (
            "Fields that become absent",
            ("field", "why", "docs"),
            [(_code(path), _code(why), _docs_of(path, plan)) for path, why in plan.absent.items()],
        ),
        ("Possible renames", ("was", "may be", "alike", "fields"), _suggestions(plan)),
        ("Defaults that change where a field is left out", _CHANGE, [_change(item) for item in plan.defaults]),
        ("No longer shown: tests and fields without evidence now", ("what", "was", "why"), _gone(gone)),
    ]
    return [section for section in sections if section[2]]


_FINDING = ("what", "verdict", "old", "new", "reruns", "reason")
_CHANGE = ("change", "parameter", "old → new", "concerns", "docs")


def _findings(found: Iterable[Finding]) -> Rows:
    return [
        (
            _code(item.identity),
            item.verdict,
            item.old or "not run",
            item.new or "not run",
            "<br>".join(f"{side}: {outcome}" for side, outcome in item.reruns),
            _code(item.reason),
        )
        for item in found
    ]


def _falling(report: Report) -> Rows:
    """Fields whose proof a test took down; what an audit says of a field is a finding of its own."""
    rows: Rows = []
    for item in report.cells:
        told = {finding.identity for finding in item.comparison.findings}
        tests = {*item.comparison.old.tests, *item.comparison.new.tests}
        rows += [
            (_code(change.identity.removeprefix("field ")), change.old, change.new, _code(change.reason))
            for change in item.comparison.of(Kind.REGRESSED)
            if change.identity not in told | tests
        ]
    return rows


def _suggestions(plan: Plan) -> Rows:
    fields = {(item.change.entry_point, item.change.name): item.fields for item in plan.touched}
    return [
        (
            _parameter(item.entry_point, item.old),
            _parameter(item.moved_to or item.entry_point, item.new),
            f"{item.likeness:.0%}: {item.why}",
            _codes(fields.get((item.entry_point, item.old), ())),
        )
        for item in plan.suggestions
    ]


def _gone(changes: Iterable[Change]) -> Rows:
    return [(_code(change.identity), change.old, _code(change.reason)) for change in changes]


def _docs_of(path: str, plan: Plan) -> str:
    places = dict.fromkeys(place for item in plan.touched if path in item.fields for place in item.docs)
    return _codes(map(str, places))


def _information(report: Report) -> list[Section]:
    plan = report.plan
    findings = [finding for item in report.cells for finding in item.comparison.findings if not finding.verdict.red]
    changes = [change for item in report.cells for change in item.comparison.changes]
    better: Rows = [
        (_code(change.identity), str(change.kind), change.old or "not run", change.new or "not run")
        for change in changes
        if change.kind in (Kind.IMPROVED, Kind.APPEARED)
    ]
    hand = [
        (_code(str(place)), _codes(item.fields or (item.change.name,)), item.change.kind)
        for item in plan.touched
        for place in item.docs
        if not place.generated
    ]
    return [
        (f"Worse, and no regression: {', '.join(v for v in Verdict if not v.red)}", _FINDING, _findings(findings)),
        ("Better or new", ("what", "change", "old", "new"), better),
        ("Pages written by hand that speak of what changes", ("place", "of", "change"), list(dict.fromkeys(hand))),
        ("Fields that the version gains", ("field",), [(_code(path),) for path in plan.returning]),
        (
            "Ledger entries that point at nothing in the new version",
            ("parameter", "kind", "pinned versions that have it"),
            [
                (_parameter(item.entry_point, item.name), item.kind, ", ".join(item.still_in) or "none: it can go")
                for item in plan.dangling
            ],
        ),
        ("Every change of the surface", _CHANGE, [_change(item) for item in plan.touched]),
        ("How it was found out", ("what", "how"), _provenance(report)),
    ]


def _change(item: Touched) -> tuple[str, ...]:
    change = item.change
    ours = f"{item.ledger}: {html.escape(item.reason, quote=False)}" if item.ledger else ""
    concerns = _codes(item.fields) or ours
    if change.kind == "choices":
        signed = (("gone", change.old), ("new", change.new))
        step = "<br>".join(f"{word}: {_code(_short(text))}" for word, text in signed if text)
    else:
        step = " → ".join(_code(_short(text)) for text in (change.old, change.new) if text)
    return (change.kind, _parameter(change.entry_point, change.name), step, concerns, _codes(map(str, item.docs)))


def _provenance(report: Report) -> Rows:
    plan = report.plan
    rows: Rows = [("wheel", f"{_code(plan.wheel)}, sha256 {_code(plan.sha256)}")]
    for item in report.cells:
        rows += [(_code(item.pair.new.name), _code(note)) for note in item.pair.notes]
        for record, reused in ((item.comparison.old, item.reused), (item.comparison.new, False)):
            how = "record at hand" if reused else "run now"
            commit = f"commit {(record.commit or 'unknown')[:12]}{', with changes' if record.dirty else ''}"
            rows.append((_code(record.cell.name), f"{how}, runner {record.runner}, {commit}, started {record.started}"))
    return rows


def _table(head: Sequence[str], rows: Rows, cap: int) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    lines += [f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row)} |" for row in rows[:cap]]
    return [*lines, *(["", f"… and {len(rows) - cap} more in the JSON report."] if len(rows) > cap else [])]


def _parameter(entry_point: str, name: str) -> str:
    return _code(f"{entry_point}:{name}" if name else entry_point)


def _codes(texts: Iterable[str]) -> str:
    return "<br>".join(map(_code, texts))


def _code(text: str) -> str:
    """As code, so that nothing in it is a mention, a reference or markup."""
    one = " ".join(text.replace("`", "'").split())
    return f"`{one}`" if one else ""


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:119]}…"


def _many(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
