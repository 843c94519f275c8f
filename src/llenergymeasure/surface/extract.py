"""A surface from a wheel or a source folder, with nothing installed."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from llenergymeasure.errors import RequestError
from llenergymeasure.surface import static
from llenergymeasure.surface.model import Surface
from llenergymeasure.surface.packages import packages
from llenergymeasure.surface.sources import (
    FolderReader,
    Modules,
    folder_identity,
    open_wheel,
    package_folder,
    wheel_identity,
)


def from_wheel(backend: str, path: Path) -> Surface:
    """Raises RequestError for what is not a wheel, another package's wheel, or one without the modules needed."""
    known = {name: package for package in packages(backend).values() for name in package.distributions}
    distribution, version = wheel_identity(path)
    package = known.get(distribution)
    if package is None:
        expected = " or ".join(known)
        raise RequestError(f"{path}: a wheel of {distribution}", f"for the backend {backend} give one of {expected}")
    with open_wheel(path, package.name) as reader:
        points = static.entry_points(Modules(reader, package), package)
    provenance = {"method": "static", **package.build(distribution), "wheel": path.name}
    provenance |= {"sha256": _digest(path), "date": _today()}
    return Surface(backend, package.name, version.partition("+")[0], points, provenance)


def from_source(backend: str, folder: Path) -> Surface:
    """From a package folder, or a checkout that holds one under `src/` or at its root."""
    known = packages(backend)
    found = package_folder(folder.resolve(), tuple(known))
    reader = FolderReader(found, str(folder))
    package = known[found.name]
    points = static.entry_points(Modules(reader, package), package)
    distribution, version = folder_identity(found, package.distributions)
    provenance = {"method": "static", **package.build(distribution), "source": found.name, "date": _today()}
    return Surface(backend, package.name, version.partition("+")[0], points, provenance)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
