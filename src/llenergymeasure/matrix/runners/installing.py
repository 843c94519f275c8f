"""Making a cell's virtual environment: torch, the backend's package, this checkout; anew only where that changed."""

import difflib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from llenergymeasure.errors import EnvironmentLacksError, LlemError, RequestError
from llenergymeasure.matrix.runners.process import run_group
from llenergymeasure.matrix.spec import Cell

DEADLINE_S = 1800.0
LOG = "setup.log"
WHEELHOUSE = "LLEM_WHEELHOUSE"
# What a caller's environment must not change, neither while a cell is filled nor while it runs.
DROPPED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "CONDA_PREFIX")
_KEY = ".llem-key"
_NOT_FOUND = ("No matching distribution found", "No solution found")

OnLine = Callable[[str], None]


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
    setup = _Setup(checkout, out_dir / LOG, python)
    on_line(f"{cell.name}: making its environment with Python {cell.python}, 1 to 5 minutes")
    # Without pip inside: ensurepip is not everywhere, and the pip that runs us can install into it.
    setup.run([*interpreter, "-m", "venv", "--without-pip", str(home)], "python -m venv")
    if cell.torch:
        _install_torch(cell, setup, on_line)
    package = f"{cell.package}=={cell.version}"
    left_out = f" without {', '.join(cell.without)}" if cell.without else ""
    on_line(f"{cell.name}: installing {', '.join([package + left_out, *cell.requirements])} and this checkout")
    wanted = _install_alone(package, cell, setup) if cell.without else [package]
    setup.install([*wanted, *cell.requirements, "--editable", str(checkout), *_constraints(setup, cell, out_dir)])
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


class SetupTimeoutError(LlemError):
    """Installing took longer than its deadline."""


class _InstallError(EnvironmentLacksError):
    """pip could not install; `output` is what it said."""

    def __init__(self, cause: str, remedy: str, output: str) -> None:
        super().__init__(cause, remedy)
        self.output = output


def run_logged(argv: Sequence[str], what: str, cwd: Path, log: Path) -> str:
    """Run a program that installs or resolves; its output is returned and goes to a log in full."""
    lines: list[str] = []
    environment = {key: value for key, value in os.environ.items() if key not in DROPPED}
    ended = run_group(argv, cwd=cwd, env=environment, log=log, on_line=lines.append, deadline_s=DEADLINE_S)
    if ended.timed_out:
        raise SetupTimeoutError(f"{what} was not done after {DEADLINE_S:g} s", f"see {log.name}")
    output = "\n".join(lines)
    if ended.returncode != 0:
        errors = [line.strip() for line in lines if re.match(r"\s*(ERROR|error|cause|\w*Error)\b", line)] or lines[-1:]
        cause = f"{what} failed: {'; '.join(errors[:3])}" if errors else f"{what} ended with {ended.returncode}"
        raise _InstallError(cause, f"all of its output is in {log.name}", output)
    return output


@dataclass(frozen=True)
class _Setup:
    """Runs the programs that fill one environment; their output goes to a log in full."""

    checkout: Path
    log: Path
    python: Path

    def run(self, argv: Sequence[str], what: str) -> str:
        return run_logged(argv, what, self.checkout, self.log)

    def install(self, arguments: Sequence[str]) -> None:
        self.run([*_installer(self.python), *_wheelhouse(), *arguments], "pip install")

    def ask(self, code: str) -> str:
        return self.run([str(self.python), "-I", "-c", code], "a look at what was installed").splitlines()[-1]


def torch_pin(cell: Cell) -> str:
    """The build of torch for the cell's platform; CPU builds have a name of their own on Linux only."""
    local = "+cpu" if cell.platform == "cpu" and sys.platform == "linux" else ""
    return f"torch=={cell.torch}{local}"


def _install_torch(cell: Cell, setup: _Setup, on_line: OnLine) -> None:
    wanted = torch_pin(cell)
    size = "200 MB" if cell.platform == "cpu" else "5 GB with NVIDIA's libraries"
    on_line(f"{cell.name}: installing {wanted} (about {size}) by pip's own configuration{_wheelhouse_words()}")
    try:
        setup.install([wanted])
    except _InstallError as error:
        if not cell.torch_index or not any(words in error.output for words in _NOT_FOUND):
            raise
    else:
        return
    on_line(f"{cell.name}: not found there; installing it from {cell.torch_index}")
    setup.install([wanted, "--index-url", cell.torch_index])


def _install_alone(package: str, cell: Cell, setup: _Setup) -> list[str]:
    """Install the package by itself and return what it requires, less what the cell leaves out.

    Its metadata is read where it was installed: nothing is downloaded twice, and pip and uv serve alike.
    """
    setup.install(["--no-deps", package])
    code = f"import importlib.metadata as m, json; print(json.dumps(m.requires({cell.package!r})))"
    return requirements_kept(cell, json.loads(setup.ask(code)) or [])


def requirements_kept(cell: Cell, requires: Sequence[str]) -> list[str]:
    """Markers stay on: the installer decides them for the cell's own Python. Nobody asks for an extra."""
    required = [Requirement(line) for line in requires]
    names: dict[str, str] = {canonicalize_name(requirement.name): requirement.name for requirement in required}
    left_out: dict[str, str] = {canonicalize_name(name): name for name in cell.without}
    for plain in sorted(left_out.keys() - names.keys()):
        near = difflib.get_close_matches(plain, names, n=1)
        raise RequestError(
            f"{cell.name}: `without` names {left_out[plain]!r}, which {cell.package} {cell.version} does not require",
            f"did you mean {names[near[0]]!r}?" if near else "remove it from the cell in matrix.toml",
        )
    return [
        str(requirement)
        for requirement in required
        if canonicalize_name(requirement.name) not in left_out and not _of_an_extra(requirement)
    ]


def never(cell: Cell) -> list[str]:
    """Constraints under which nothing that the cell leaves out comes in for another package's sake."""
    return [f"{name}<0" for name in cell.without]


def _of_an_extra(requirement: Requirement) -> bool:
    return requirement.marker is not None and re.search(r"\bextra\b", str(requirement.marker)) is not None


def _constraints(setup: _Setup, cell: Cell, out_dir: Path) -> list[str]:
    """Keeps pip from exchanging the build of torch, or bringing what is left out, for another package's sake."""
    lines = never(cell)
    if cell.torch:
        version = setup.ask("import importlib.metadata as m; print(m.version('torch'))")
        lines.insert(0, f"torch=={version}")
    if not lines:
        return []
    constraints = out_dir / "constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
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
    if cell.platform == "cuda" and not cuda:
        raise EnvironmentLacksError(
            f"torch {version} is a build without CUDA, and {cell.name} is a cuda cell",
            "let pip ask an index that has torch's CUDA builds; its configuration names another",
        )


def wheelhouse(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of wheels that LLEM_WHEELHOUSE names."""
    folder = environ.get(WHEELHOUSE)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise RequestError(f"{WHEELHOUSE}={folder}: no such folder", "set it to a folder of wheels, or unset it")
    return Path(folder)


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
    folder = wheelhouse()
    return ["--find-links", str(folder)] if folder else []


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
        *(f"without {name}" for name in cell.without),
        str(checkout),
        version,
        project,
    ]
    return hashlib.sha256("\0".join(made_of).encode()).hexdigest()
