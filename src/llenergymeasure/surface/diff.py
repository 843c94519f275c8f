"""What changed from one surface to another, told apart from what is only spelt otherwise."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llenergymeasure.config.renames import Rename
from llenergymeasure.surface.model import ACTIVE, IGNORED, UNKNOWN, Parameter, Surface
from llenergymeasure.surface.spelling import literal_values, type_key

_LITERAL = re.compile(r"Literal\[[^\]]*\]")
_WIDEST = 60  # a column in a table

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
    """Renames that neither surface has the names for are passed over.

    Of a surface that was read live and one that was not, only what both ways of reading see is compared.
    """
    if (old.provenance.get("method") == "live") != (new.provenance.get("method") == "live"):
        old, new = _signatures(old), _signatures(new)
    known = {(row.entry_point, row.old): row.new for row in renames}
    changes: list[Change] = []
    for name in sorted(old.entry_points.keys() | new.entry_points.keys()):
        before, after = old.entry_points.get(name), new.entry_points.get(name)
        if before is not None and after is not None:
            changes += _point(name, before.parameters, after.parameters, known)
        elif before is not None:
            changes.append(Change("entry point removed", name, "", ", ".join(before.parameters)))
        elif after is not None:
            changes.append(Change("entry point added", name, "", "", ", ".join(after.parameters)))
    changes.sort(key=lambda change: (change.entry_point, KINDS.index(change.kind), change.name))
    return Diff(new.backend, old.version, new.version, tuple(changes))


def _signatures(surface: Surface) -> Surface:
    """Without what only the source says: bounds, standing, values checked for, and values filled in."""
    points = {
        name: replace(
            point,
            parameters={
                key: replace(p, resolved=UNKNOWN, choices=(), minimum=None, maximum=None, status=ACTIVE)
                for key, p in point.parameters.items()
            },
        )
        for name, point in surface.entry_points.items()
    }
    return replace(surface, entry_points=points)


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
        yield Change("removed", point, name, _default(before[name]))
    for name in after.keys() - before.keys() - set(renamed.values()):
        standing = "" if after[name].status == ACTIVE else f" ({after[name].status})"
        yield Change("added", point, name, "", _default(after[name]) + standing)


def _is_rename(old: str, new: str, before: dict[str, Parameter], after: dict[str, Parameter]) -> bool:
    """The new name came, or the old one went; a version that knows both before and after saw no rename."""
    return old in before and new in after and (new not in before or old not in after)


def _parameter(point: str, name: str, before: Parameter, after: Parameter) -> Iterable[Change]:
    if before.status != after.status:
        yield Change("status", point, name, before.status, after.status)
    if after.status == IGNORED != before.status:
        return  # nothing else about it matters any more
    if _is_other_default(before, after):
        yield Change("default", point, name, _default(before), _default(after))
    if before.type and after.type and _is_other_type(before, after):
        yield Change("type", point, name, _without_values(before.type), _without_values(after.type))
    choices = _choices(before, after)
    if any(choices):
        yield Change("choices", point, name, *choices)
    bounds = (before.minimum, before.maximum), (after.minimum, after.maximum)
    if bounds[0] != bounds[1]:
        yield Change("bounds", point, name, _range(*bounds[0]), _range(*bounds[1]))
    if before.required != after.required:
        yield Change("required", point, name, str(before.required).lower(), str(after.required).lower())


def _is_other_default(before: Parameter, after: Parameter) -> bool:
    # The same value moved from the signature into the body, or the other way, changes nothing for anybody. What is
    # filled in for a value that is decided once more is a step on the way only.
    decided = before.decided_by or after.decided_by
    one, two = (p.default if decided else p.effective_default for p in (before, after))
    return UNKNOWN not in (one, two) and _key(one) != _key(two)


def _is_other_type(before: Parameter, after: Parameter) -> bool:
    one, two = _kinds(before.type), _kinds(after.type)
    # A default of None says that None is taken, whether the annotation does or not.
    return one != two and one | _default_kind(before) != two | _default_kind(after)


def _kinds(spelling: str) -> frozenset[str]:
    """What a type's spelling says beside the values of its literals; one class may be written with other capitals."""
    return frozenset(kind.lower() for kind in type_key(_without_values(spelling)))


def _default_kind(parameter: Parameter) -> frozenset[str]:
    return frozenset({"none"} if parameter.default is None else ())


def _without_values(spelling: str) -> str:
    """The values of literals are choices, and are compared as such."""
    return " | ".join(dict.fromkeys(_LITERAL.sub("Literal", spelling).split(" | ")))


def _key(value: Any) -> str:
    # 1 and 1.0 are one default; True and 1 are not.
    return json.dumps(float(value) if isinstance(value, int) and not isinstance(value, bool) else value, sort_keys=True)


def _choices(before: Parameter, after: Parameter) -> tuple[str, str]:
    """What went and what came; all of them where the other side is free, or names none."""
    one, two = _named(before), _named(after)
    if not one or not two:
        closed = before.choices or after.choices
        return (_listed(one.values()) or "any", _listed(two.values()) or "any") if closed and one != two else ("", "")
    gone = [_shown(value) for key, value in one.items() if key not in two]
    came = [_shown(value) for key, value in two.items() if key not in one]
    if bool(before.choices) != bool(after.choices):
        (came if before.choices else gone).append("any other")
    return ", ".join(gone), ", ".join(came)


def _named(parameter: Parameter) -> dict[str, Any]:
    """The values that a parameter takes, or of which its type speaks beside others."""
    values = parameter.choices or (literal_values(parameter.type) if parameter.type else ())
    # None is no choice but the absence of one; some checks name it, others pass it by.
    return {_key(value): value for value in values if value is not None}


def _listed(choices: Iterable[Any]) -> str:
    return ", ".join(_shown(choice) for choice in choices)


def _default(parameter: Parameter) -> str:
    value = parameter.effective_default
    if isinstance(value, dict) and value.keys() == {"expr"} and parameter.decided_by:
        return f"decided by the {' or the '.join(parameter.decided_by)}"
    return _shown(value)


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
    rows = [(c.kind, c.name, _arrow(c), touched(c, fields)) for c in result.changes]
    # A single long list must not push the fields of all other rows out of sight.
    widths = [max((len(row[place]) for row in rows if len(row[place]) <= _WIDEST), default=0) for place in range(3)]
    entry_point = ""
    for change, row in zip(result.changes, rows, strict=True):
        if change.entry_point != entry_point:
            entry_point = change.entry_point
            lines += ["", entry_point]
        columns = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        lines.append("  ".join(["", *columns, row[3]]).rstrip())
    return "\n".join(lines) + "\n"


def _arrow(change: Change) -> str:
    if change.kind == "choices" and "any" not in (change.old, change.new):
        signed = (("-", change.old), ("+", change.new))
        return " ".join(f"{sign} {text}" for sign, text in signed if text)
    return f"{change.old} → {change.new}" if change.old and change.new else change.old or change.new


def summary(result: Diff) -> str:
    """One line of counts, by kind of change."""
    counts = {kind: sum(change.kind == kind for change in result.changes) for kind in KINDS}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no changes"
