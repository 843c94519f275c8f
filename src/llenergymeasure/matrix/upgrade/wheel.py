"""The wheel of the version that is looked at: found or downloaded, never installed, and what it says of itself."""

import importlib.util
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from llenergymeasure.errors import EnvironmentLacksError, LlemError, RequestError
from llenergymeasure.matrix.runners.installing import DROPPED, WHEELHOUSE
from llenergymeasure.matrix.runners.process import run_group
from llenergymeasure.surface.sources import wheel_identity

DEADLINE_S = 1800.0
_PARTIAL = ".partial-"
_KNOWN = re.compile(r"\(from versions: (?P<versions>[^)]*)\)")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wheel:
    """A wheel on disk; `version` is without a local suffix such as +cpu."""

    path: Path
    distribution: str
    version: str


@dataclass(frozen=True)
class Wants:
    """What a wheel's metadata asks for, extras included: their markers say which."""

    requires: tuple[Requirement, ...]
    python: SpecifierSet


def read(path: Path) -> Wheel:
    """What a wheel's file name says. Raises RequestError for another file's."""
    if not path.is_file():
        raise RequestError(f"{path}: no such file", "give the path of a downloaded wheel")
    distribution, version = wheel_identity(path)
    return Wheel(path, distribution, version.partition("+")[0])


def get(distribution: str, version: str, folder: Path, say: Say) -> Wheel:
    """The wheel from `folder` or the wheelhouse, else downloaded into `folder`.

    Raises RequestError for a version that does not exist, EnvironmentLacksError where nothing can be downloaded.
    """
    wanted = exact(version)
    if found := at_hand(distribution, wanted, _folders(folder)):
        say(f"wheel: {found.path.name} is at hand")
        return found
    say(f"wheel: downloading {distribution} {version} into {folder.parent.name}/{folder.name}; nothing is installed")
    return _download(distribution, version, folder)


def exact(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:
        raise RequestError(f"{version!r} is no version", "write it like 5.23.0") from None


def at_hand(distribution: str, version: Version, folders: Iterable[Path]) -> Wheel | None:
    """The first wheel of a version in some folders; any platform's serves, since it is only read."""
    for folder in folders:
        for path in sorted(folder.glob("*.whl")):
            try:
                wheel = read(path)
                fits = wheel.distribution == distribution and Version(wheel.version) == version
            except (RequestError, InvalidVersion):  # somebody else's file
                continue
            if fits:
                return wheel
    return None


def wants(wheel: Wheel) -> Wants:
    """Raises RequestError for a wheel whose metadata cannot be read."""
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            text = archive.read(names[0])
    except (zipfile.BadZipFile, OSError, IndexError) as error:
        raise RequestError(f"{wheel.path}: not a readable wheel ({error})", "download it again") from error
    metadata = Metadata.from_email(text, validate=False)
    return Wants(tuple(metadata.requires_dist or ()), metadata.requires_python or SpecifierSet())


def _folders(folder: Path) -> list[Path]:
    house = os.environ.get(WHEELHOUSE)
    if house and not Path(house).is_dir():
        raise RequestError(f"{WHEELHOUSE}={house}: no such folder", "set it to a folder of wheels, or unset it")
    return [folder, *([Path(house)] if house else [])]


def _download(distribution: str, version: str, folder: Path) -> Wheel:
    """Through a folder of its own, so that what was cut off is never taken for a wheel."""
    if importlib.util.find_spec("pip") is None:
        raise EnvironmentLacksError(
            f"no pip in {sys.prefix} to download {distribution} with", "give the wheel with --wheel, or install pip"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    except OSError as error:
        raise EnvironmentLacksError(f"{folder}: cannot be written: {error.strerror}", "give --wheel") from error
    try:
        _run_pip(distribution, version, partial)
        wheel = at_hand(distribution, exact(version), [partial])
        if wheel is None:
            raise EnvironmentLacksError(f"pip brought no wheel of {distribution} {version}", "give --wheel")
        place = folder / wheel.path.name
        wheel.path.replace(place)
        return read(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _run_pip(distribution: str, version: str, partial: Path) -> None:
    house = os.environ.get(WHEELHOUSE)
    argv = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python"),
        *("--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(partial)),
        *(("--find-links", house) if house else ()),
        f"{distribution}=={version}",
    ]
    lines: list[str] = []
    environment = {key: value for key, value in os.environ.items() if key not in DROPPED}
    ended = run_group(
        argv, cwd=partial, env=environment, log=partial / "log", on_line=lines.append, deadline_s=DEADLINE_S
    )
    if ended.timed_out:
        raise EnvironmentLacksError(
            f"{distribution} {version} was not downloaded after {DEADLINE_S:g} s", "download it yourself: --wheel FILE"
        )
    if ended.returncode != 0:
        raise _refusal(distribution, version, lines)


def _refusal(distribution: str, version: str, lines: Sequence[str]) -> LlemError:
    """Why pip brought nothing; a version that does not exist is told apart from an index that does not answer."""
    listed = next((found["versions"] for line in lines if (found := _KNOWN.search(line))), "")
    known = [item.strip() for item in listed.split(",") if item.strip() not in ("", "none")]
    if known:
        return RequestError(f"{distribution} {version}: no such version", f"the nearest are {_nearest(version, known)}")
    errors = [line.strip() for line in lines if line.startswith("ERROR")] or list(lines[-1:])
    cause = f"{distribution} {version} cannot be downloaded: {'; '.join(errors[:2]) or 'pip gave no reason'}"
    return EnvironmentLacksError(cause, f"give the wheel with --wheel, or a folder of wheels with {WHEELHOUSE}")


def _nearest(version: str, known: Sequence[str]) -> str:
    """The two versions around the one that was asked for, and the newest."""
    versions = []
    for item in known:
        try:
            versions.append(Version(item))
        except InvalidVersion:  # an index may list names from before versions had a form
            continue
    versions.sort()
    older = [item for item in versions if item < Version(version)]
    newer = [item for item in versions if item > Version(version)]
    return ", ".join(dict.fromkeys(map(str, [*older[-1:], *newer[:1], *versions[-1:]])))
