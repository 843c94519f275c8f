"""The runner that is always there: a virtual environment per cell, kept until what it was made of changes."""

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llenergymeasure.errors import EnvironmentLacksError, LlemError, RequestError
from llenergymeasure.matrix import journal
from llenergymeasure.matrix.records import CellRecord, Outcome, write
from llenergymeasure.matrix.runners import base
from llenergymeasure.matrix.runners.process import run_group
from llenergymeasure.matrix.spec import Cell

SETUP_DEADLINE_S = 1800.0
SETUP_LOG = "setup.log"
WHEELHOUSE = "LLEM_WHEELHOUSE"
_KEY = ".llem-key"
_NOT_FOUND = ("No matching distribution found", "No solution found")
# What a caller's environment must not change inside a cell.
_DROPPED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "CONDA_PREFIX")

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class VenvRunner:
    """Implements `base.Runner`.

    Attributes:
        python: makes the cell's environment in a folder and returns its interpreter; None for `prepare`.
        program: what that interpreter runs, before the cell's name.
    """

    python: Callable[[Cell, Path, Path, OnLine], Path] | None = None
    program: tuple[str, ...] = ("-m", "llenergymeasure.matrix.cell")
    grace_s: float = 10.0

    @property
    def name(self) -> str:
        return "venv"

    def available(self) -> base.Availability:
        if os.name != "posix":
            return base.Availability(ok=False, why="needs process groups, which this system lacks")
        return base.Availability(ok=True, why="a virtual environment needs no container daemon")

    def run(self, cell: Cell, checkout: Path, out_dir: Path, deadline_s: float, on_line: OnLine) -> CellRecord:
        checkout, out_dir = checkout.resolve(), out_dir.resolve()
        out_dir.mkdir(parents=True, exist_ok=True)
        begun = base.start(cell, self.name, self.available().why, checkout)
        try:
            with _alone(out_dir):
                record = self._run(begun, checkout, out_dir, deadline_s, on_line)
                write(record, out_dir / base.RECORD)
        except KeyboardInterrupt:
            write(base.assemble(begun, out_dir, None, deadline_s), out_dir / base.RECORD)
            raise
        return record

    def _run(self, begun: base.Start, checkout: Path, out_dir: Path, deadline_s: float, on_line: OnLine) -> CellRecord:
        # What an earlier run left must never be read as this one's.
        for name in (base.PART, base.LOG, base.RECORD, SETUP_LOG, journal.FILE, "junit.xml", "wiring.xml"):
            (out_dir / name).unlink(missing_ok=True)
        try:
            python = (self.python or prepare)(begun.cell, checkout, out_dir, on_line)
            ended = run_group(
                [str(python), *self.program, begun.cell.name, "--out", str(out_dir)],
                cwd=checkout,
                env=cell_environment(os.environ, python),
                log=out_dir / base.LOG,
                on_line=on_line,
                deadline_s=deadline_s,
                grace_s=self.grace_s,
            )
        except _SetupTimeoutError as error:
            return base.broken(begun, Outcome.TIMEOUT, _one_line(error))
        except LlemError as error:
            return base.broken(begun, Outcome.ERROR, _one_line(error))
        except OSError as error:
            return base.broken(begun, Outcome.ERROR, f"the cell could not be started: {error}")
        return base.assemble(begun, out_dir, ended, deadline_s)


def cell_environment(outer: Mapping[str, str], python: Path) -> dict[str, str]:
    """The caller's environment without what would leak into the cell, and with every model hub switched off."""
    kept = {key: value for key, value in outer.items() if key not in _DROPPED}
    return kept | {
        "PATH": os.pathsep.join([str(python.parent), outer.get("PATH", os.defpath)]),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


def prepare(cell: Cell, checkout: Path, out_dir: Path, on_line: OnLine) -> Path:
    """The interpreter of the cell's environment, made anew unless it was made of exactly the same things.

    Raises EnvironmentLacksError where Python, pip or a package is missing.
    """
    home = out_dir.parent / "venv"
    interpreter = find_python(cell.python)
    python = home / "bin" / "python"
    key = _key(cell, checkout, interpreter)
    if (home / _KEY).is_file() and (home / _KEY).read_text(encoding="utf-8") == key and python.exists():
        on_line(f"{cell.name}: its environment is unchanged, nothing to install")
        return python
    if home.exists():
        shutil.rmtree(home)
    setup = _Setup(checkout, out_dir / SETUP_LOG, python)
    on_line(f"{cell.name}: making its environment with Python {cell.python}, 1 to 5 minutes")
    # Without pip inside: ensurepip is not everywhere, and the pip that runs us can install into it.
    setup.run([*interpreter, "-m", "venv", "--without-pip", str(home)], "python -m venv")
    if cell.torch:
        _install_torch(cell, setup, on_line)
    wanted = [f"{cell.package}=={cell.version}", *cell.requirements]
    on_line(f"{cell.name}: installing {', '.join(wanted)} and this checkout")
    setup.install([*wanted, "--editable", str(checkout), *_pinned_torch(setup, cell, out_dir)])
    _check_platform(cell, setup)
    (home / _KEY).write_text(key, encoding="utf-8")
    return python


def find_python(version: str) -> tuple[str, ...]:
    """The interpreter that runs us where its version fits, else `pythonX.Y` from PATH."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        return (sys.executable,)
    name = f"python{version}"
    # A version manager's shim is on PATH for versions that it then refuses to run.
    if shutil.which(name) and subprocess.run([name, "-c", ""], capture_output=True, check=False).returncode == 0:
        return (name,)
    raise EnvironmentLacksError(
        f"the cell wants Python {version}: this is {platform.python_version()}, and {name} is not on PATH",
        f"install {name}, or set python in matrix.toml to a version that is there",
    )


class _SetupTimeoutError(LlemError):
    """Installing took longer than its deadline."""


class _InstallError(EnvironmentLacksError):
    """pip could not install; `output` is what it said."""

    def __init__(self, cause: str, remedy: str, output: str) -> None:
        super().__init__(cause, remedy)
        self.output = output


@dataclass(frozen=True)
class _Setup:
    """Runs the programs that fill one environment; their output goes to a log in full."""

    checkout: Path
    log: Path
    python: Path

    def run(self, argv: Sequence[str], what: str) -> str:
        lines: list[str] = []
        environment = {key: value for key, value in os.environ.items() if key not in _DROPPED}
        ended = run_group(
            argv, cwd=self.checkout, env=environment, log=self.log, on_line=lines.append, deadline_s=SETUP_DEADLINE_S
        )
        if ended.timed_out:
            raise _SetupTimeoutError(f"{what} was not done after {SETUP_DEADLINE_S:g} s", f"see {self.log.name}")
        output = "\n".join(lines)
        if ended.returncode != 0:
            errors = [line.strip() for line in lines if re.match(r"\s*(ERROR|error|\w*Error)\b", line)] or lines[-1:]
            cause = f"{what} failed: {'; '.join(errors[:3])}" if errors else f"{what} ended with {ended.returncode}"
            raise _InstallError(cause, f"all of its output is in {self.log.name}", output)
        return output

    def install(self, arguments: Sequence[str]) -> None:
        self.run([*_installer(self.python), *_wheelhouse(), *arguments], "pip install")

    def ask(self, code: str) -> str:
        return self.run([str(self.python), "-I", "-c", code], "a look at what was installed").splitlines()[-1]


def _install_torch(cell: Cell, setup: _Setup, on_line: OnLine) -> None:
    local = "+cpu" if cell.platform == "cpu" and sys.platform == "linux" else ""
    wanted = f"torch=={cell.torch}{local}"
    on_line(f"{cell.name}: installing {wanted} (about 200 MB) by pip's own configuration{_wheelhouse_words()}")
    try:
        setup.install([wanted])
    except _InstallError as error:
        if not cell.torch_index or not any(words in error.output for words in _NOT_FOUND):
            raise
    else:
        return
    on_line(f"{cell.name}: not found there; installing it from {cell.torch_index}")
    setup.install([wanted, "--index-url", cell.torch_index])


def _pinned_torch(setup: _Setup, cell: Cell, out_dir: Path) -> list[str]:
    """Keeps pip from exchanging the build of torch for the sake of another package."""
    if not cell.torch:
        return []
    version = setup.ask("import importlib.metadata as m; print(m.version('torch'))")
    constraints = out_dir / "constraints.txt"
    constraints.write_text(f"torch=={version}\n", encoding="utf-8")
    return ["--constraint", str(constraints)]


def _check_platform(cell: Cell, setup: _Setup) -> None:
    if not cell.torch:
        return
    code = "import json, torch; print(json.dumps([torch.__version__, torch.version.cuda, torch.version.hip]))"
    version, cuda, hip = json.loads(setup.ask(code))
    if cell.platform == "cpu" and (cuda or hip):
        raise EnvironmentLacksError(
            f"torch {version} is a build for GPUs, and {cell.name} is a cpu cell",
            f"set {WHEELHOUSE} to a folder with torch {cell.torch}+cpu, or torch_index in matrix.toml",
        )


def _installer(python: Path) -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [
            *(sys.executable, "-m", "pip", "--python", str(python)),
            # Compiled now, so that what Python says of a package's source does not become a warning of the first test.
            *("install", "--compile", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
        ]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", str(python)]
    raise EnvironmentLacksError(
        f"neither pip (in {sys.prefix}) nor uv is there to fill a cell's environment",
        "start it by `python3 bootstrap.py main`, or install pip in the environment that runs llem",
    )


def _wheelhouse() -> list[str]:
    folder = os.environ.get(WHEELHOUSE)
    if not folder:
        return []
    if not Path(folder).is_dir():
        raise RequestError(f"{WHEELHOUSE}={folder}: no such folder", "set it to a folder of wheels, or unset it")
    return ["--find-links", folder]


def _wheelhouse_words() -> str:
    return f" and {WHEELHOUSE}" if os.environ.get(WHEELHOUSE) else ""


def _key(cell: Cell, checkout: Path, interpreter: Sequence[str]) -> str:
    code = "import sys; print(sys.version, sys.base_prefix)"
    version = subprocess.run([*interpreter, "-c", code], check=True, capture_output=True, text=True).stdout
    # The project itself is installed editable: only what it requires makes an environment another.
    project = (checkout / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.")[0]
    made_of = [
        cell.package,
        cell.version,
        cell.platform,
        cell.torch,
        *cell.requirements,
        str(checkout),
        version,
        project,
    ]
    return hashlib.sha256("\0".join(made_of).encode()).hexdigest()


@contextmanager
def _alone(out_dir: Path) -> Iterator[None]:
    """Two runs of one cell would read each other's results."""
    with (out_dir / ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RequestError("another run of this cell is under way", "wait for it, or end it") from error
        yield


def _one_line(error: LlemError) -> str:
    return "; ".join(part for part in (error.cause, error.remedy) if part)
