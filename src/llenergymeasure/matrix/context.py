"""The folder that an image's build may read: the checkout's own files, the cell's lock and the wheelhouse.

Named build contexts would spare it, but Docker Engine 20.10's built-in frontend and older podmans have none, and
another frontend would come from a registry. Files are linked, not copied, where the file system allows; what has not
changed stays as it was, so that a build with nothing new sends nothing.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from llenergymeasure.errors import RequestError

IGNORE = ".dockerignore"
_WHEELHOUSE = Path("docker/wheelhouse")
_CACHES = ("__pycache__", ".egg-info")


def lay_out(context: Path, checkout: Path, lock: tuple[Path, str], wheelhouse: Path | None) -> None:
    """Make `context` hold exactly what the build may read; `lock` is where a lock stands in it, and its text."""
    wanted = {IGNORE: checkout / IGNORE}
    for name in allowed(checkout):
        wanted |= {str(file.relative_to(checkout)): file for file in _files(checkout / name)}
    place, text = lock
    wanted.pop(str(place), None)  # written, never linked: the checkout's own stays as it is
    for wheel in _files(wheelhouse) if wheelhouse else ():
        if wheel.suffix == ".whl" or wheel.name.endswith(".tar.gz"):
            wanted[str(_WHEELHOUSE / wheel.name)] = wheel
    context.mkdir(parents=True, exist_ok=True)
    for file in list(_files(context)):
        name = str(file.relative_to(context))
        if name not in wanted and name != str(place):
            file.unlink()
    for name, source in wanted.items():
        _bring(source, context / name)
    _write(context / place, text)


def allowed(checkout: Path) -> tuple[str, ...]:
    """What .dockerignore lets through; the one list of it, whichever way a build is started."""
    try:
        lines = (checkout / IGNORE).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RequestError(f"{checkout / IGNORE}: {error.strerror}", "start from a whole checkout") from error
    return tuple(line[1:] for line in lines if line.startswith("!"))


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if not name.endswith(_CACHES)]
        yield from (Path(folder) / name for name in names)


def _bring(source: Path, target: Path) -> None:
    wanted = source.stat()
    try:
        there = target.stat()
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
    else:
        if (there.st_size, there.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns):
            return
        target.unlink()
    try:
        target.hardlink_to(source.resolve())
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _write(target: Path, text: str) -> None:
    if not (target.is_file() and target.read_text(encoding="utf-8") == text):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
