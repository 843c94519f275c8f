"""A cell's environment made for real, from a folder of wheels and no index: what is left out stays out."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.matrix.runners import installing
from llenergymeasure.matrix.spec import Cell

TORCH = "__version__ = '2.13.0+cpu'\nclass version: cuda = hip = None\n"
# An editable install without anything from an index: the checkout is its own build backend.
BACKEND = """
import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/project-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("project-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: project\\nVersion: 1.0\\n")
        wheel.writestr("project-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n")
        wheel.writestr("project-1.0.dist-info/RECORD", "")
    return "project-1.0-py3-none-any.whl"
"""
PYPROJECT = (
    '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "project"\n'
)
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
INSTALLERS = {
    "pip": importlib.util.find_spec("pip") is not None,
    "uv": shutil.which("uv") is not None,
}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    for name, value in {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "UV_NO_INDEX": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(installing.WHEELHOUSE, str(folder))
    wheel(folder, "torch", "2.13.0+cpu", text=TORCH)
    for name in ("torchvision", "always", "other_system", "of_extra", "newer_python", "pytest"):
        wheel(folder, name)
    return folder


@pytest.fixture(params=INSTALLERS)
def installer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if not INSTALLERS[request.param]:
        pytest.skip(f"needs {request.param}")
    if request.param == "uv":
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else found(name))
    return str(request.param)


@pytest.mark.usefixtures("installer")
def test_the_package_comes_with_what_it_requires_but_for_what_is_left_out(wheels: Path, tmp_path: Path) -> None:
    wheel(
        wheels,
        "engine",
        requires=(
            "torch==2.13.0+cpu",
            "torchvision",
            "always>=1",
            'other-system; sys_platform == "none"',
            f'newer-python; python_version > "{PYTHON}"',
            'of-extra; extra == "all"',
        ),
    )
    python = prepare(tmp_path, "torchvision")
    assert installed(python) == {"torch", "engine", "always", "pytest", "project"}
    log = (tmp_path / "out" / installing.LOG).read_bytes()
    assert prepare(tmp_path, "torchvision") == python
    assert (tmp_path / "out" / installing.LOG).read_bytes() == log, "it was made anew"


@pytest.mark.usefixtures("installer")
def test_what_is_left_out_does_not_come_for_another_packages_sake(wheels: Path, tmp_path: Path) -> None:
    wheel(wheels, "engine", requires=("torchvision", "always"))
    wheel(wheels, "always", requires=("torchvision>=0.1",))
    with pytest.raises(EnvironmentLacksError, match="pip install"):
        prepare(tmp_path, "torchvision")
    assert "torchvision<0" in (tmp_path / "out" / installing.LOG).read_text()


def wheel(folder: Path, name: str, version: str = "1.0", *, requires: tuple[str, ...] = (), text: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    extra = "Provides-Extra: all\n" if "extra" in needs else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extra}{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def prepare(folder: Path, *without: str) -> Path:
    """The cell's interpreter, with the checkout and its output under the test's own folder."""
    checkout, out_dir = folder / "checkout", folder / "out"
    for made in (checkout, out_dir):
        made.mkdir(exist_ok=True)
    (checkout / "pyproject.toml").write_text(f'{PYPROJECT}version = "1.0"\n')
    (checkout / "backend.py").write_text(BACKEND)
    cell = Cell("vllm", "1.0", "engine", "cpu", PYTHON, torch="2.13.0", requirements=("pytest==1.0",), without=without)
    return installing.prepare(cell, checkout, out_dir, lambda _: None)


def installed(python: Path) -> set[str]:
    code = "import importlib.metadata as m; print(*(d.metadata['Name'] for d in m.distributions()))"
    done = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    return set(done.stdout.split())
