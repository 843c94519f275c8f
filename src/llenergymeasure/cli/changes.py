"""What `llem matrix diff` compares, and how it prints what it found."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llenergymeasure.matrix.diff import Change
    from llenergymeasure.matrix.records import CellRecord

Changes = dict[str, "list[Change]"]
"""Of each compared cell, by its name."""

MOST_ROWS = 100  # of one cell: the summary of a job may have 1 MiB, and regressions come first


def compare(old: Path, new: Path, renames: Mapping[str, str]) -> tuple[Changes, list[str]]:
    """Two records, or of two folders the newest record of each cell; and the cells that only one folder has, and which.

    A cell without a new record is no change here: whether it should have one, `llem matrix merge` says.
    """
    from llenergymeasure.errors import RequestError
    from llenergymeasure.matrix.diff import diff
    from llenergymeasure.matrix.records import read

    if old.is_dir() != new.is_dir():
        raise RequestError(f"{old} and {new}: one is a folder", "give two records or two folders of records")
    if not old.is_dir():
        record = read(new)
        return {record.cell.name: diff(read(old), record, renames)}, []
    before, after = _newest(old), _newest(new)
    if not after:
        raise RequestError(f"{new}: no record in it", "give the folder that `llem matrix run -o` wrote")
    changes = {name: diff(before[name], after[name], renames) for name in after if name in before}
    alone = [f"{name}: no record in {old}" for name in after if name not in before]
    return changes, alone + [f"{name}: no record in {new}" for name in before if name not in after]


def _newest(folder: Path) -> "dict[str, CellRecord]":
    from datetime import datetime

    from llenergymeasure.matrix.merge import read_folder

    records = sorted(read_folder(folder), key=lambda record: datetime.fromisoformat(record.ended))
    newest = {record.cell.name: record for record in records}
    return {name: newest[name] for name in sorted(newest)}


def as_json(changes: Changes, *, folders: bool) -> str:
    """A list of changes; of folders, an object of such lists."""
    import json
    from dataclasses import asdict

    rows = {name: [asdict(change) for change in found] for name, found in changes.items()}
    return json.dumps(rows if folders else next(iter(rows.values())), indent=1, ensure_ascii=False)


def as_table(changes: Changes, alone: list[str], *, folders: bool) -> str:
    lines = []
    for name, found in changes.items():
        lines += [f"{name}:"] if folders else []
        lines += [
            f"{change.kind:<12} {change.identity}: {_step(change)}{'  ' + change.reason if change.reason else ''}"
            for change in _changed(found)
        ]
        lines.append(_count(found))
    return "\n".join([*lines, *(f"not compared: {line}" for line in alone)])


def as_markdown(changes: Changes, alone: list[str]) -> str:
    """One table a cell, for the summary of a job or a comment; it never hides how much it left out."""
    blocks = []
    for name, found in changes.items():
        rows = _changed(found)
        lines = [f"### {_plain(name)}", "", _count(found), ""]
        if rows:
            lines += ["| change | test or field | before | after | why |", "| --- | --- | --- | --- | --- |"]
            lines += [f"| {' | '.join(map(_plain, _row(change)))} |" for change in rows[:MOST_ROWS]]
            lines += ["", f"{len(rows) - MOST_ROWS} more changes are not shown."] if len(rows) > MOST_ROWS else []
        blocks.append("\n".join(lines).rstrip())
    if alone:
        blocks.append("\n".join(["### Not compared", "", *(f"- {_plain(line)}" for line in alone)]))
    return "\n\n".join(blocks)


def _changed(found: "list[Change]") -> "list[Change]":
    from llenergymeasure.matrix.diff import Kind

    return [change for change in found if change.kind is not Kind.UNCHANGED]


def _count(found: "list[Change]") -> str:
    from llenergymeasure.matrix.diff import Kind

    numbers = Counter(change.kind for change in found)
    return ", ".join(f"{numbers[kind]} {kind}" for kind in Kind)


def _row(change: "Change") -> tuple[str, ...]:
    return (change.kind, change.identity, change.old or "not run", change.new or "not run", change.reason)


def _step(change: "Change") -> str:
    return f"{change.old or 'not run'} -> {change.new or 'not run'}"


def _plain(text: str) -> str:
    """Nothing in a test's name or reason can end a table's cell or become markup."""
    import re

    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", " ".join(text.split()))
