"""The pinned versions' surfaces, shipped as data, and the surface of what is installed here."""

import difflib
import importlib.metadata
import importlib.util
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from packaging.version import InvalidVersion, Version

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.surface.model import Surface, from_json
from llenergymeasure.surface.packages import distributions, install_hint, packages

_DATA = files("llenergymeasure.surface") / "data"


def versions(backend: str, package: str | None = None) -> list[str]:
    """The versions with a snapshot, oldest first; of the backend's own package unless a companion is named."""
    names = [entry.name for entry in _folder(backend, package).iterdir() if entry.name.endswith(".json")]
    return sorted((name.removesuffix(".json") for name in names), key=Version)


@lru_cache(maxsize=64)
def load(backend: str, version: str, package: str | None = None) -> Surface:
    """A snapshot; without `package` the backend's own, with its companions' entry points added.

    Raises RequestError for a version that has none.
    """
    path = _folder(backend, package) / f"{version}.json"
    if not path.is_file():
        known = versions(backend, package)
        raise RequestError(
            f"{backend} {version}: no snapshot of this version{_nearest(version, known)}",
            f"choose one of: {', '.join(known)}",
        )
    surface = from_json(path.read_text(encoding="utf-8"), f"{backend} {version}")
    return surface if package else with_companions(surface)


def installed(backend: str) -> Surface:
    """The surface of the backend installed here: a snapshot where the version is pinned, else read from its source.

    So are its companions; one that is not installed counts as its newest pinned version.

    Raises EnvironmentLacksError where the backend itself is not installed.
    """
    own, *companions = packages(backend)
    found = tuple((name, here.version) for name in companions if (here := installed_as(name)) is not None)
    return _installed(backend, own, installed_version(backend), found)


@lru_cache(maxsize=8)
def _installed(backend: str, own: str, version: str, companions: tuple[tuple[str, str], ...]) -> Surface:
    surface = _here(backend, own, version)
    points, provenance = dict(surface.entry_points), dict(surface.provenance)
    here = dict(companions)
    for package in list(packages(backend))[1:]:
        if package in here:
            points |= _here(backend, package, here[package]).entry_points
            provenance[package] = here[package]
        else:
            provenance[package] = newest = versions(backend, package)[-1]
            points |= load(backend, newest, package).entry_points
    return Surface(surface.backend, surface.package, surface.version, points, provenance)


def _here(backend: str, package: str, version: str) -> Surface:
    """One installed package by itself."""
    if version in versions(backend, package):
        return load(backend, version, package)
    from llenergymeasure.surface.extract import from_source  # seldom needed, and a third of this module's import

    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise _missing(backend, package)
    return from_source(backend, Path(spec.origin).parent)


def is_installed(backend: str) -> bool:
    """Whether the backend's own package is here."""
    return installed_as(next(iter(packages(backend)))) is not None


def installed_version(backend: str) -> str:
    """The version of the backend's own package, without a local suffix such as +cpu."""
    package = next(iter(packages(backend)))
    found = installed_as(package)
    if found is None:
        raise _missing(backend, package)
    return found.version


@dataclass(frozen=True)
class Installed:
    """Which distribution brought a package, and its version without a local suffix such as +cpu."""

    distribution: str
    version: str


def installed_as(package: str) -> Installed | None:
    """The installed distribution of a package, None where there is none."""
    for name in distributions(package):
        with suppress(importlib.metadata.PackageNotFoundError):
            return Installed(name, importlib.metadata.version(name).partition("+")[0])
    return None


def _missing(backend: str, package: str) -> EnvironmentLacksError:
    return EnvironmentLacksError(f"{package} is not installed here", install_hint(backend))


def _folder(backend: str, package: str | None) -> Traversable:
    known = packages(backend)  # refuses an unknown backend
    if package is not None and package not in known:
        near = difflib.get_close_matches(package, known, n=1)
        raise RequestError(
            f"{package}: not a package of the backend {backend}" + (f"; did you mean {near[0]}?" if near else ""),
            f"choose one of: {', '.join(known)}",
        )
    own = package is None or package == next(iter(known))
    return _DATA / (backend if own else str(package))


def with_companions(surface: Surface) -> Surface:
    """A surface of the backend's own package, and its companions' entry points at their newest pinned versions."""
    points = dict(surface.entry_points)
    provenance = dict(surface.provenance)
    for package in list(packages(surface.backend))[1:]:
        newest = versions(surface.backend, package)[-1]
        points |= load(surface.backend, newest, package).entry_points
        provenance[package] = newest
    return Surface(surface.backend, surface.package, surface.version, points, provenance)


def _nearest(version: str, known: list[str]) -> str:
    try:
        wanted = Version(version)
    except InvalidVersion:
        near = difflib.get_close_matches(version, known, n=1)
        return f"; did you mean {near[0]}?" if near else ""
    older = [item for item in known if Version(item) < wanted]
    return f"; the nearest older one is {older[-1]}" if older else f"; the oldest is {known[0]}"
