"""A surface from a wheel or a source folder, with nothing installed."""

import gc
import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from llenergymeasure.errors import RequestError
from llenergymeasure.surface import static
from llenergymeasure.surface.model import EntryPoint, Surface
from llenergymeasure.surface.packages import packages
from llenergymeasure.surface.recipes import Package
from llenergymeasure.surface.sources import (
    FolderReader,
    Modules,
    Reader,
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
    # A wheel of hundreds of megabytes takes as long to sum up as to read the few modules that matter.
    with ThreadPoolExecutor(1) as beside, open_wheel(path, package.name) as reader:
        digest = beside.submit(_digest, path)
        points = _read(reader, package)
    provenance = {"method": "static", **package.build(distribution), "wheel": path.name}
    provenance |= {"sha256": digest.result(), "date": _today()}
    return Surface(backend, package.name, version.partition("+")[0], points, provenance)


def from_source(backend: str, folder: Path) -> Surface:
    """From a package folder, or a checkout that holds one under `src/` or at its root."""
    known = packages(backend)
    found = package_folder(folder.resolve(), tuple(known))
    reader = FolderReader(found, str(folder))
    package = known[found.name]
    points = _read(reader, package)
    distribution, version = folder_identity(found, package.distributions)
    provenance = {"method": "static", **package.build(distribution), "source": found.name, "date": _today()}
    return Surface(backend, package.name, version.partition("+")[0], points, provenance)


def _read(reader: Reader, package: Package) -> dict[str, EntryPoint]:
    """Without looking for garbage meanwhile: a million small nodes are made, and all of them stay until the end."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return static.entry_points(Modules(reader, package), package)
    finally:
        if was_enabled:
            gc.enable()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
