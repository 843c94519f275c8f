"""Lock files: all that an image of a cell holds, pinned and hashed, so that its next build holds the same.

A lock is whole: it is installed without following anybody's requirements, which is also how what a cell leaves out
stays out. Each says what it was made of, so that one that no longer fits matrix.toml is noticed.
"""

import hashlib
import importlib.util
import json
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix.runners import installing
from llenergymeasure.matrix.spec import Cell

FOLDER = Path("docker/locks")
TOOLS = "tools"
LOG = "lock.log"
# What the resolver takes the machine for; the hashes are of every file of a version, also of other machines'.
_PLATFORM = "x86_64-manylinux_2_28"
_MADE_OF = "# made of "

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a lock is resolved from.

    Attributes:
        alone: requirements taken without what they require.
        constraints: what the resolver must keep to, and need not take.
    """

    requirements: tuple[str, ...]
    python: str
    alone: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    extra_index: str = ""
    universal: bool = False


def path(checkout: Path, name: str) -> Path:
    """Where the lock of a cell, or of the tools, stands in a checkout."""
    return checkout / FOLDER / f"{name}.txt"


def made_of(cell: Cell, checkout: Path) -> str:
    """A digest of everything in matrix.toml and pyproject.toml that decides what a lock holds."""
    parts = [cell.package, cell.version, cell.platform, cell.python, cell.torch, *cell.requirements]
    parts += [*installing.never(cell), *_project(checkout)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def written_for(text: str) -> str:
    """What `made_of` gave when the lock was written, "" where it does not say."""
    found = re.search(rf"^{_MADE_OF}(\w+)$", text, re.MULTILINE)
    return found[1] if found else ""


def read(cell: Cell, checkout: Path) -> str | None:
    """The cell's lock, None where there is none; raises RequestError where it is of other pins."""
    file = path(checkout, cell.name)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    if written_for(text) != made_of(cell, checkout):
        cause = f"{file.relative_to(checkout)} is not of what matrix.toml and pyproject.toml say now"
        raise RequestError(cause, f"make it anew: `nox -s lock -- {cell.name}`")
    return text


def make(cell: Cell, checkout: Path, work: Path, on_line: OnLine, *, upgrade: bool = False) -> str:
    """Resolve a cell's lock; what an earlier one pinned stays, as far as it fits, unless `upgrade`.

    Raises EnvironmentLacksError where uv is missing or cannot resolve it, RequestError where `without` names what
    the package does not require.
    """
    on_line(f"{cell.name}: resolving what its image holds")
    earlier = "" if upgrade else _earlier(path(checkout, cell.name))
    pins = _resolve(_asked(cell, checkout, work), earlier, work)
    header = f"# All that the image of {cell.name} holds of Python packages; `nox -s lock` writes it.\n"
    return f"{header}{_MADE_OF}{made_of(cell, checkout)}\n{pins}"


def make_tools(pythons: Sequence[str], checkout: Path, work: Path, *, upgrade: bool = False) -> str:
    """The lock of what builds images, for every Python from the oldest of `pythons` on."""
    lines = (checkout / "docker" / "tools.in").read_text(encoding="utf-8").splitlines()
    wanted = tuple(line for line in lines if line and not line.startswith("#"))
    oldest = min(pythons, key=lambda version: [int(part) for part in version.split(".")])
    earlier = "" if upgrade else _earlier(path(checkout, TOOLS))
    pins = _resolve(Asked(wanted, oldest, universal=True), earlier, work)
    return f"# What builds images, from docker/tools.in; `nox -s lock` writes it.\n{pins}"


def extra_index(cell: Cell, wheelhouse: Path | None) -> str:
    """The index that has the platform's build of torch, "" where the wheelhouse has that already."""
    if not cell.torch_index or (wheelhouse is not None and any(wheelhouse.glob(f"torch-{cell.torch}*.whl"))):
        return ""
    return cell.torch_index


def _asked(cell: Cell, checkout: Path, work: Path) -> Asked:
    package = f"{cell.package}=={cell.version}"
    wanted = [*cell.requirements, *_project(checkout)]
    if cell.torch:
        wanted.append(installing.torch_pin(cell))
    index = extra_index(cell, installing.wheelhouse())
    if cell.backend == "tensorrt":  # its base image brings the package and what it requires
        return Asked(tuple(wanted), cell.python, extra_index=index)
    if not cell.without:
        return Asked((package, *wanted), cell.python, extra_index=index)
    kept = installing.requirements_kept(cell, _requires(package, cell.python, checkout, work))
    never = tuple(installing.never(cell))
    return Asked((*kept, *wanted), cell.python, (package,), never, index)


def _project(checkout: Path) -> list[str]:
    document = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    return sorted(document["project"].get("dependencies", []))


def _requires(package: str, python: str, checkout: Path, work: Path) -> list[str]:
    """What one version of a package requires, by its metadata; where the index has that alone, no wheel is fetched."""
    if importlib.util.find_spec("pip") is None:
        raise EnvironmentLacksError(
            f"pip is not in {sys.prefix}, to read what {package} requires", "start it by `python3 bootstrap.py lock`"
        )
    with tempfile.TemporaryDirectory(dir=work) as folder:
        report = Path(folder) / "report.json"
        argv = [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--no-input"),
            *("--disable-pip-version-check", "--only-binary", ":all:", "--python-version", python, "--target", folder),
            *("--report", str(report), *_find_links(), package),
        ]
        installing.run_logged(argv, f"a look at {package}", checkout, work / LOG)
        [found] = json.loads(report.read_text(encoding="utf-8"))["install"]
    return list(found["metadata"].get("requires_dist", []))


def _resolve(asked: Asked, earlier: str, work: Path) -> str:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        home = Path(folder)
        (home / "constraints.txt").write_text("".join(f"{line}\n" for line in asked.constraints), encoding="utf-8")
        options = ["--constraint", str(home / "constraints.txt"), *_find_links()]
        if asked.extra_index:
            options += ["--index", asked.extra_index, "--index-strategy", "unsafe-best-match"]
        options += ["--universal"] if asked.universal else ["--python-platform", _PLATFORM]
        pins = _compile(asked.requirements, asked.python, options, earlier, home, work)
        if asked.alone:
            pins += _compile(asked.alone, asked.python, [*options, "--no-deps"], earlier, home, work)
    return pins


def _compile(
    requirements: Sequence[str], python: str, options: Sequence[str], earlier: str, home: Path, work: Path
) -> str:
    (home / "asked.in").write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
    # uv keeps the pins that it finds in the file that it writes.
    out = home / "lock.txt"
    out.write_text(earlier, encoding="utf-8")
    argv = [
        *(*_uv(), "pip", "compile", str(home / "asked.in"), "--output-file", str(out), "--python-version", python),
        *("--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--no-config", *options),
    ]
    installing.run_logged(argv, "uv pip compile", home, work / LOG)
    return out.read_text(encoding="utf-8")


def _uv() -> list[str]:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    if found := shutil.which("uv"):
        return [found]
    raise EnvironmentLacksError(
        "uv, which resolves what an image holds, is not here", "`pip install uv`, or start it by `nox -s lock`"
    )


def _find_links() -> list[str]:
    folder = installing.wheelhouse()
    return ["--find-links", str(folder)] if folder else []


def _earlier(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
