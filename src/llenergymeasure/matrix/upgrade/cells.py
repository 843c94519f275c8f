"""The cells of an upgrade: each pinned one of the old version, and the same with the new version in it."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.spec import Cell, Spec
from llenergymeasure.matrix.upgrade.wheel import Wants


@dataclass(frozen=True)
class Pair:
    """An old cell and the new one that is run beside it; `notes` say what else than the version differs, and why."""

    old: Cell
    new: Cell
    notes: tuple[str, ...] = ()


def pinned(spec: Spec, backend: str, version: str, platform: str | None = None) -> tuple[Cell, ...]:
    """The cells of one version. Raises RequestError where there is none."""
    of_backend = spec.of(backend, platform)
    found = tuple(cell for cell in of_backend if cell.version == version)
    if not found:
        on = f" on {platform}" if platform else ""
        having = ", ".join(dict.fromkeys(cell.version for cell in of_backend)) or "none"
        raise RequestError(
            f"{backend} {version}: no cell of it{on} in matrix.toml, so nothing can be run beside the new version",
            f"choose with --from one that has a cell ({having}), or add --static",
        )
    return found


def pair(spec: Spec, old: Cell, version: str, wants: Wants) -> Pair:
    """The new version's own pinned cell where it has one, else the old cell with as little changed as can be."""
    name = dataclasses.replace(old, version=version).name
    known = next((cell for cell in spec.cells if cell.name == name), None)
    if known is not None:
        return Pair(
            old, known, (f"{known.name} is pinned in matrix.toml and taken from there", *_differences(old, known))
        )
    made, notes = _fitted(dataclasses.replace(old, version=version), wants)
    return Pair(old, made, notes)


def _differences(old: Cell, new: Cell) -> tuple[str, ...]:
    return tuple(
        f"{key}: {getattr(old, key)} → {getattr(new, key)}"
        for key in ("package", "python", "torch", "requirements", "without")
        if getattr(old, key) != getattr(new, key)
    )


def _fitted(cell: Cell, wants: Wants) -> tuple[Cell, tuple[str, ...]]:
    """What the package's metadata refuses gives way to what it asks for."""
    notes: list[str] = []
    python = _python(cell, wants.python, notes)
    asked = {canonicalize_name(item.name): item for item in wants.requires if _counts(item, python)}
    torch = cell.torch
    if torch and (item := asked.get(canonicalize_name("torch"))):
        torch = _version(cell, "torch", torch, item, notes)
    requirements = tuple(_requirement(cell, text, asked, notes) for text in cell.requirements)
    required = {canonicalize_name(item.name) for item in wants.requires}
    without = tuple(name for name in cell.without if canonicalize_name(name) in required)
    notes += [
        f"{cell.package} {cell.version} does not require {name} any more: nothing to leave out"
        for name in cell.without
        if name not in without
    ]
    made = dataclasses.replace(cell, python=python, torch=torch, requirements=requirements, without=without)
    return made, tuple(notes)


def _counts(item: Requirement, python: str) -> bool:
    """Whether a requirement holds for the cell; the extra of a package's own name says which version of it serves."""
    if item.marker is None:
        return True
    return item.marker.evaluate({"extra": item.name, "python_version": python, "python_full_version": f"{python}.0"})


def _python(cell: Cell, wanted: SpecifierSet, notes: list[str]) -> str:
    # A patch release that is high enough for any `>=3.11.x`.
    if f"{cell.python}.99" in wanted:
        return cell.python
    named = next((item for item in _named(wanted) if f"3.{item.minor}.99" in wanted and item.major == 3), None)
    if named is None:
        notes.append(
            f"{cell.package} {cell.version} asks for Python {wanted}: Python {cell.python} stays, and may fail"
        )
        return cell.python
    notes.append(f"Python {cell.python} → 3.{named.minor}: {cell.package} {cell.version} asks for {wanted}")
    return f"3.{named.minor}"


def _requirement(cell: Cell, text: str, asked: dict[NormalizedName, Requirement], notes: list[str]) -> str:
    own = Requirement(text)
    pin = re.fullmatch(r"==([^*,]+)", str(own.specifier))
    item = asked.get(canonicalize_name(own.name))
    if pin is None or item is None:
        return text
    version = _version(cell, own.name, pin[1], item, notes)
    return text if version == pin[1] else f"{own.name}=={version}"


def _version(cell: Cell, name: str, have: str, item: Requirement, notes: list[str]) -> str:
    """The cell's own version where it fits, else the newest that the requirement itself names."""
    # Which build of a version, such as +cpu, is the platform's to say.
    specifier = SpecifierSet(re.sub(r"\+[A-Za-z0-9.]+", "", str(item.specifier)))
    if specifier.contains(have, prereleases=True):
        return have
    named = next((str(version) for version in _named(specifier) if version in specifier), None)
    if named is None:
        notes.append(f"{cell.package} {cell.version} asks for {item}, which names no version: {name} {have} stays")
        return have
    notes.append(f"{name} {have} → {named}: {cell.package} {cell.version} asks for {item}")
    return named


def _named(specifiers: SpecifierSet) -> Iterable[Version]:
    """The versions that a requirement writes down, the newest first."""
    found = []
    for specifier in specifiers:
        try:
            found.append(Version(specifier.version))
        except InvalidVersion:  # such as 2.*
            continue
    return sorted(found, reverse=True)
