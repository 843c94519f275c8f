"""What changed from one surface to another, told apart from what is only spelt otherwise."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llenergymeasure.config.renames import Rename
from llenergymeasure.surface.model import UNKNOWN, Parameter, Surface
from llenergymeasure.surface.spelling import type_key

# In the order in which a reader needs them: what breaks a configuration first.
KINDS = (
    "entry point removed",
    "removed",
    "renamed",
    "entry point added",
    "added",
    "default",
    "type",
    "choices",
    "bounds",
    "status",
    "required",
)


@dataclass(frozen=True)
class Change:
    """One difference; `name` is the parameter's name in the new surface, or the old one where it is gone."""

    kind: str
    entry_point: str
    name: str
    old: str = ""
    new: str = ""


@dataclass(frozen=True)
class Diff:
    backend: str
    old: str
    new: str
    changes: tuple[Change, ...]


def diff(old: Surface, new: Surface, renames: Iterable[Rename] = ()) -> Diff:
    """Renames that neither surface has the names for are passed over."""
    known = {(row.entry_point, row.old): row.new for row in renames}
    changes: list[Change] = []
    for name in sorted(old.entry_points.keys() | new.entry_points.keys()):
        before, after = old.entry_points.get(name), new.entry_points.get(name)
        if before is None or after is None:
            gone = after is None
            changes.append(Change("entry point removed" if gone else "entry point added", name, ""))
            continue
        changes += _point(name, before.parameters, after.parameters, known)
    changes.sort(key=lambda change: (change.entry_point, KINDS.index(change.kind), change.name))
    return Diff(new.backend, old.version, new.version, tuple(changes))


def _point(
    point: str, before: dict[str, Parameter], after: dict[str, Parameter], known: Mapping[tuple[str, str], str]
) -> Iterable[Change]:
    renamed = {o: n for (e, o), n in known.items() if e == point and _is_rename(o, n, before, after)}
    for old, new in renamed.items():
        yield Change("renamed", point, new, old, new)
    pairs = [(name, name) for name in before if name in after and name not in renamed]
    pairs += [(o, n) for o, n in renamed.items() if n not in before]
    for old, new in pairs:
        yield from _parameter(point, new, before[old], after[new])
    for name in before.keys() - after.keys() - renamed.keys():
        yield Change("removed", point, name, _shown(before[name].effective_default))
    for name in after.keys() - before.keys() - set(renamed.values()):
        yield Change("added", point, name, "", _shown(after[name].effective_default))


def _is_rename(old: str, new: str, before: dict[str, Parameter], after: dict[str, Parameter]) -> bool:
    """The new name came, or the old one went; a version that knows both before and after saw no rename."""
    return old in before and new in after and (new not in before or old not in after)


def _parameter(point: str, name: str, before: Parameter, after: Parameter) -> Iterable[Change]:
    values = before.effective_default, after.effective_default
    # The same value moved from the signature into the body, or the other way, changes nothing for anybody.
    if UNKNOWN not in values and _key(values[0]) != _key(values[1]):
        yield Change("default", point, name, _shown(values[0]), _shown(values[1]))
    if before.type and after.type and _kinds(before.type) != _kinds(after.type):
        yield Change("type", point, name, before.type, after.type)
    if _values(before.choices) != _values(after.choices):
        yield Change("choices", point, name, *_choices(before.choices, after.choices))
    bounds = (before.minimum, before.maximum), (after.minimum, after.maximum)
    if bounds[0] != bounds[1]:
        yield Change("bounds", point, name, _range(*bounds[0]), _range(*bounds[1]))
    if before.status != after.status:
        yield Change("status", point, name, before.status, after.status)
    if before.required != after.required:
        yield Change("required", point, name, str(before.required).lower(), str(after.required).lower())


def _kinds(spelling: str) -> frozenset[str]:
    """What a type's spelling says beside the values of its literals, which are choices."""
    return frozenset("Literal" if kind.startswith("Literal[") else kind for kind in type_key(spelling))


def _key(value: Any) -> str:
    # 1 and 1.0 are one default; True and 1 are not.
    return json.dumps(float(value) if isinstance(value, int) and not isinstance(value, bool) else value, sort_keys=True)


def _values(choices: tuple[Any, ...]) -> frozenset[str]:
    # None is no choice but the absence of one; some checks name it, others pass it by.
    return frozenset(_key(choice) for choice in choices if choice is not None)


def _choices(before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[str, str]:
    """Only what went and what came, unless one side is free."""
    if not before or not after:
        return _listed(before) or "any", _listed(after) or "any"
    return _listed(c for c in before if _key(c) not in _values(after)), _listed(
        c for c in after if _key(c) not in _values(before)
    )


def _listed(choices: Iterable[Any]) -> str:
    return ", ".join(_shown(choice) for choice in choices)


def _range(low: float | None, high: float | None) -> str:
    return f"{'' if low is None else low}..{'' if high is None else high}"


def _shown(value: Any) -> str:
    if value is UNKNOWN:
        return ""
    if isinstance(value, dict) and value.keys() == {"expr"}:
        return str(value["expr"])
    return json.dumps(value, ensure_ascii=False)


Fields = Mapping[tuple[str, str], str]


def touched(change: Change, fields: Fields) -> str:
    """The path of the config field that a change concerns, "" where none is bound to it."""
    return fields.get((change.entry_point, change.name)) or fields.get((change.entry_point, change.old), "")


def _rows(result: Diff, fields: Fields) -> list[tuple[str, ...]]:
    return [(c.entry_point, c.kind, c.name, c.old, c.new, touched(c, fields)) for c in result.changes]


_HEADS = ("entry point", "change", "parameter", "old", "new", "field")


def format_json(result: Diff, fields: Fields) -> str:
    rows = [
        {
            "entry_point": c.entry_point,
            "kind": c.kind,
            "name": c.name,
            "old": c.old,
            "new": c.new,
            "field": touched(c, fields) or None,
        }
        for c in result.changes
    ]
    return (
        json.dumps({"backend": result.backend, "old": result.old, "new": result.new, "changes": rows}, indent=1) + "\n"
    )


def format_markdown(result: Diff, fields: Fields) -> str:
    lines = [f"## {result.backend}: {result.old} to {result.new}", "", summary(result), ""]
    if result.changes:
        lines += [f"| {' | '.join(_HEADS)} |", "|" + " --- |" * len(_HEADS)]
        lines += ["| " + " | ".join(_cell(text) for text in row) + " |" for row in _rows(result, fields)]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def format_table(result: Diff, fields: Fields) -> str:
    """Plain columns below each entry point's name: names stay whole, to be searched and copied."""
    lines = [f"{result.backend}: {result.old} to {result.new}: {summary(result)}"]
    rows = [(c.kind, c.name, _arrow(c.old, c.new), touched(c, fields)) for c in result.changes]
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(3)]
    entry_point = ""
    for change, row in zip(result.changes, rows, strict=True):
        if change.entry_point != entry_point:
            entry_point = change.entry_point
            lines += ["", entry_point]
        columns = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        lines.append("  ".join(["", *columns, row[3]]).rstrip())
    return "\n".join(lines) + "\n"


def _arrow(old: str, new: str) -> str:
    return f"{old} → {new}" if old and new else old or new


def summary(result: Diff) -> str:
    """One line of counts, by kind of change."""
    counts = {kind: sum(change.kind == kind for change in result.changes) for kind in KINDS}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no changes"
