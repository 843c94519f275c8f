"""Whether every parameter of a surface is a field, set by the tool, reachable by name, or left out for a reason."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args, get_origin

from llenergymeasure.config.bindings import OWN_PACKAGE, BoundField, Target, alternatives, walk
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.surface import ledger
from llenergymeasure.surface.model import IGNORED, Surface

FIELD = "field"
UNACCOUNTED = "unaccounted"
KINDS = (FIELD, *ledger.KINDS, UNACCOUNTED)


@dataclass(frozen=True)
class Row:
    """What became of one parameter.

    Attributes:
        detail: the field's path, or the ledger's reason.
    """

    entry_point: str
    name: str
    kind: str
    category: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Coverage:
    """One version's parameters, all accounted for or not.

    Attributes:
        problems: what makes the audit red: unaccounted parameters, fields that are in the ledger, too.
        typed_fields: fields that this version can have: all but those that the wiring audit calls absent.
    """

    backend: str
    version: str
    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    typed_fields: int

    def counts(self) -> dict[str, int]:
        found = Counter(row.kind for row in self.rows)
        return {kind: found[kind] for kind in KINDS}


def coverage(surface: Surface) -> Coverage:
    """Classify every parameter of the surface."""
    bound = bound_parameters(surface.backend)
    book = ledger.load(surface.backend)
    rows, problems = [], []
    for entry_point, parameter in surface.parameters():
        row = _classify(entry_point, parameter.name, bound, book)
        rows.append(row)
        if row.kind == UNACCOUNTED:
            problems.append(f"{entry_point}:{parameter.name} is neither a field nor in the ledger")
        entry = book.find(entry_point, parameter.name)
        if row.kind == FIELD and entry is not None and parameter.name in entry.names:
            problems.append(f"{entry_point}:{parameter.name} is a field ({row.detail}) and in the ledger, too")
    problems += missing_choices(surface)
    typed = sum(absence(field, surface) is None for field in fields_of(surface.backend))
    return Coverage(surface.backend, surface.version, tuple(rows), tuple(problems), typed)


def absence(field: BoundField, surface: Surface) -> str | None:
    """Why a version cannot have the field at all, None where it can."""
    targets = field.targets(surface.backend)
    if not targets:
        inside = [target for section in field.nested for target in _targets_in(section.entry_point, surface)]
        return None if inside or not field.nested else f"{surface.version} has none of its parameters"
    foreign = [target for target in targets if not target.entry_point.startswith(OWN_PACKAGE)]
    if not foreign:
        return None
    found = {target: parameter for target in foreign if (parameter := surface.find(target.entry_point, target.name))}
    if not found:
        return f"{surface.version} has no {' or '.join(map(str, foreign))}"
    if all(parameter.status == IGNORED for parameter in found.values()):
        return f"{surface.version} accepts it and ignores it"
    own = getattr(field.section, "entry_point", "")
    return _absent_parent(field, surface) if all(target.entry_point == own for target in found) else None


def _absent_parent(field: BoundField, surface: Surface) -> str | None:
    """A part of an object cannot be set where the version has no parameter that takes the object."""
    for parent, targets in _objects(surface.backend):
        inside = field.keys[: len(parent.keys)] == parent.keys and parent.path != field.path
        if inside and not any(surface.find(target.entry_point, target.name) for target in targets):
            return f"{surface.version} has no {' or '.join(map(str, targets))}"
    return None


@lru_cache(maxsize=4)
def _objects(backend: str) -> tuple[tuple[BoundField, tuple[Target, ...]], ...]:
    """The fields whose value is an object, with the parameters that take it."""
    return tuple(
        (field, targets) for field in fields_of(backend) if (targets := field.targets(backend)) and field.nested
    )


def _targets_in(entry_point: str, surface: Surface) -> list[Target]:
    point = surface.entry_points.get(entry_point)
    return [Target(entry_point, name) for name in point.parameters] if point else []


def missing_choices(surface: Surface) -> list[str]:
    """Choices that the version gained and a field cannot express; a coverage gap inside a covered parameter."""
    found = []
    for field in fields_of(surface.backend):
        kinds = alternatives(field.info.annotation)
        offered = {item for kind in kinds if get_origin(kind) is Literal for item in get_args(kind)}
        if not offered or str in kinds or field.binding.convert:
            continue
        for target in field.targets(surface.backend):
            parameter = surface.find(target.entry_point, target.name)
            named = [choice for choice in parameter.choices if isinstance(choice, str)] if parameter else []
            if lacking := [item for item in named if item not in offered and item not in field.binding.unoffered]:
                found.append(f"{field.path} cannot express {', '.join(lacking)}, which {target} takes")
    return found


def stale_entries(surfaces: list[Surface]) -> list[str]:
    """Ledger entries and bindings that no given version has any more: they hide the next parameter of that name."""
    if not surfaces:
        return []
    backend = surfaces[0].backend
    known = {(point, parameter.name) for surface in surfaces for point, parameter in surface.parameters()}
    points = {point for point, _ in known}
    found = [
        f"the ledger names {entry.entry_point}:{name}, which no pinned version has"
        for entry in ledger.load(backend).entries
        for name in entry.names
        if (entry.entry_point, name) not in known and not (name == ledger.REST and entry.entry_point in points)
    ]
    found += [
        f"{', '.join(paths)} sets {point}:{name}, which no pinned version has"
        for (point, name), paths in bound_parameters(backend).items()
        if (point, name) not in known and not point.startswith(OWN_PACKAGE)
    ]
    return found


def bound_parameters(backend: str) -> dict[tuple[str, str], list[str]]:
    """The fields that set each parameter, from the declarations; a section's own switches count as its parent's."""
    bound: dict[tuple[str, str], list[str]] = {}
    for field in fields_of(backend):
        for target in field.targets(backend):
            bound.setdefault((target.entry_point, target.name), []).append(field.path)
        for section in field.nested:
            for name in section.always:
                bound.setdefault((section.entry_point, name), []).append(field.path)
    return bound


@lru_cache(maxsize=4)
def fields_of(backend: str) -> tuple[BoundField, ...]:
    """Every declared field of a backend."""
    return tuple(walk(ExperimentConfig, backend))


def _classify(entry_point: str, name: str, bound: dict[tuple[str, str], list[str]], book: ledger.Ledger) -> Row:
    if paths := bound.get((entry_point, name)):
        return Row(entry_point, name, FIELD, detail=", ".join(paths))
    if entry := book.find(entry_point, name):
        return Row(entry_point, name, entry.kind, entry.category, entry.reason)
    return Row(entry_point, name, UNACCOUNTED)
