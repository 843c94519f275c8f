"""What a version changes for this project, told from its wheel alone: fields, ledger, docs, defaults, names."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from llenergymeasure.audit.coverage import UNACCOUNTED, Coverage, absence, bound_parameters, coverage, fields_of
from llenergymeasure.audit.wiring import FAILED, prove
from llenergymeasure.config.bindings import BoundField
from llenergymeasure.config.renames import renames
from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.upgrade import documents
from llenergymeasure.matrix.upgrade.documents import Documents, Place
from llenergymeasure.matrix.upgrade.suggest import Suggestion, suggest
from llenergymeasure.surface import extract, ledger, snapshots
from llenergymeasure.surface.diff import Change, Diff, diff
from llenergymeasure.surface.model import UNKNOWN, Surface

Say = Callable[[str], None]


@dataclass(frozen=True)
class Touched:
    """One change of the surface and what of this project it concerns.

    Attributes:
        fields: paths of the fields that set the parameter, under its old name or its new one.
        ledger: the kind of the ledger's entry, "" where it has none.
        reason: that entry's.
    """

    change: Change
    fields: tuple[str, ...] = ()
    ledger: str = ""
    reason: str = ""
    docs: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Unaccounted:
    """A parameter that is neither a field nor in the ledger."""

    entry_point: str
    name: str
    type: str
    default: str
    status: str


@dataclass(frozen=True)
class Dangling:
    """A name in the ledger that the new version lacks and the old one had.

    Attributes:
        still_in: pinned versions that have it; where there is none, the name can go.
    """

    entry_point: str
    name: str
    kind: str
    still_in: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that an upgrade touches, before anything of it was run.

    Attributes:
        before: of the old version, numbers of parameters by kind of coverage, in all, and of typed fields.
        gaps: what coverage would say of the new version beside unaccounted parameters, and not of the old one.
        misfits: fields, and why the new version's parameter cannot take what they give.
        absent: fields that the new version cannot have and the old one could, and why.
        returning: fields that the new version can have and the old one could not.
    """

    backend: str
    package: str
    old: str
    new: str
    wheel: str
    sha256: str
    before: dict[str, int]
    after: dict[str, int]
    touched: tuple[Touched, ...]
    suggestions: tuple[Suggestion, ...]
    unaccounted: tuple[Unaccounted, ...]
    gaps: tuple[str, ...]
    misfits: dict[str, str]
    absent: dict[str, str]
    returning: tuple[str, ...]
    dangling: tuple[Dangling, ...]

    @property
    def defaults(self) -> tuple[Touched, ...]:
        """Defaults of fields that change: what runs when the field is left out becomes another."""
        return tuple(item for item in self.touched if item.change.kind == "default" and item.fields)

    @property
    def findings(self) -> tuple[str, ...]:
        """What makes the check red."""
        unaccounted = [
            f"{item.entry_point}:{item.name} is neither a field nor in the ledger" for item in self.unaccounted
        ]
        return (*unaccounted, *self.gaps, *(f"{path}: {why}" for path, why in self.misfits.items()))


def pinned_before(backend: str, version: str, asked: str | None = None) -> str:
    """The pinned version to compare with: the one asked for, else the newest older one, else the newest other.

    Raises RequestError for a version without a snapshot.
    """
    known = [item for item in snapshots.versions(backend) if Version(item) != Version(version)]
    if asked is not None:
        snapshots.load(backend, asked)
        return asked
    if not known:
        raise RequestError(f"{backend}: {version} is the only pinned version", "there is nothing to compare it with")
    older = [item for item in known if Version(item) < Version(version)]
    return older[-1] if older else known[-1]


def surface_of(backend: str, wheel: Path) -> Surface:
    """The surface that a wheel has, with the backend's companions as they are pinned."""
    return snapshots.with_companions(extract.from_wheel(backend, wheel))


def make(old: Surface, new: Surface, checkout: Path) -> Plan:
    """Hold two surfaces of one backend against each other, the declarations, the ledger and the checkout's docs."""
    result = diff(old, new, renames(new.backend))
    before, after = coverage(old), coverage(new)
    fields = {field.path: field for field in fields_of(new.backend)}
    touched = tuple(_touched(result, fields, documents.index(checkout, new.backend)))
    was, now = ({path: absence(field, surface) for path, field in fields.items()} for surface in (old, new))
    return Plan(
        backend=new.backend,
        package=new.package,
        old=old.version,
        new=new.version,
        wheel=new.provenance.get("wheel", ""),
        sha256=new.provenance.get("sha256", ""),
        before=_numbers(before),
        after=_numbers(after),
        touched=touched,
        suggestions=suggest(old, new, result),
        unaccounted=tuple(_unaccounted(after, new)),
        gaps=tuple(_gaps(before, after)),
        misfits=_misfits(old, new, {path for item in touched for path in item.fields}, fields),
        absent={path: why for path, why in now.items() if why is not None and was[path] is None},
        returning=tuple(path for path, why in now.items() if why is None and was[path] is not None),
        dangling=tuple(_dangling(old, new)),
    )


def _numbers(found: Coverage) -> dict[str, int]:
    return {"parameters": len(found.rows), **found.counts(), "typed fields": found.typed_fields}


def _touched(result: Diff, fields: dict[str, BoundField], pages: Documents) -> Iterable[Touched]:
    bound = bound_parameters(result.backend)
    book = ledger.load(result.backend)
    for change in result.changes:
        names = _names(change)
        paths = tuple(dict.fromkeys(path for name in names for path in bound.get((change.entry_point, name), ())))
        entry = next((found for name in names if (found := book.find(change.entry_point, name))), None)
        places = {place for path in paths for place in pages.of_field(fields[path])}
        if not paths:
            places |= {place for name in names for place in pages.of_parameter(change.entry_point, name)}
        told = entry if entry is not None and not paths else None
        yield Touched(change, paths, told.kind if told else "", told.reason if told else "", tuple(sorted(places)))


def _names(change: Change) -> tuple[str, ...]:
    """The parameters that a change concerns; an entry point that came or went concerns all of its own."""
    if change.kind.startswith("entry point"):
        return tuple((change.old or change.new).split(", "))
    return (change.name, change.old) if change.kind == "renamed" else (change.name,)


def _unaccounted(after: Coverage, surface: Surface) -> Iterable[Unaccounted]:
    for row in after.rows:
        parameter = surface.find(row.entry_point, row.name)
        if row.kind == UNACCOUNTED and parameter is not None:
            default = "" if parameter.effective_default is UNKNOWN else repr(parameter.effective_default)
            yield Unaccounted(row.entry_point, row.name, parameter.type, default, parameter.status)


def _gaps(before: Coverage, after: Coverage) -> Iterable[str]:
    told = tuple(f"{row.entry_point}:{row.name} is neither" for row in after.rows if row.kind == UNACCOUNTED)
    return (item for item in after.problems if item not in before.problems and not item.startswith(told or ("\0",)))


def _misfits(old: Surface, new: Surface, paths: set[str], fields: dict[str, BoundField]) -> dict[str, str]:
    found = {}
    for path in sorted(paths):
        now = prove(fields[path], new, "declared")
        if now.status == FAILED and prove(fields[path], old, "declared").status != FAILED:
            found[path] = now.reason
    return found


def _dangling(old: Surface, new: Surface) -> Iterable[Dangling]:
    others = [snapshots.load(new.backend, item) for item in snapshots.versions(new.backend) if item != new.version]
    for entry in ledger.load(new.backend).entries:
        for name in entry.names:
            if name == ledger.REST:
                gone = entry.entry_point in old.entry_points and entry.entry_point not in new.entry_points
                having = tuple(item.version for item in others if entry.entry_point in item.entry_points)
            else:
                gone = old.find(entry.entry_point, name) is not None and new.find(entry.entry_point, name) is None
                having = tuple(item.version for item in others if item.find(entry.entry_point, name))
            if gone:
                yield Dangling(entry.entry_point, name, entry.kind, having)
