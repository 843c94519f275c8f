"""What the bootstrap decides on machines that lack things; that it works is shown by every run of the sessions."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[2] / "bootstrap.py"


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A copy of it in a checkout of its own, on a Python without ensurepip; commands are noted, not run."""
    shutil.copy(SOURCE, tmp_path / "bootstrap.py")
    spec = importlib.util.spec_from_file_location("bootstrap_copy", tmp_path / "bootstrap.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.commands = []
    monkeypatch.setattr(module, "run", lambda command, _environment=None: module.commands.append(command))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(module.shutil, "which", lambda _name: None)
    return module


def only(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *tools: str) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/opt/{name}" if name in tools else None)


@pytest.mark.parametrize(
    ("tools", "first"),
    [
        (["virtualenv"], ["/opt/virtualenv", "--quiet"]),
        (["uv"], ["/opt/uv", "venv"]),
        (["uv", "virtualenv", "apt-get"], ["/opt/virtualenv", "--quiet"]),
    ],
)
def test_without_ensurepip_another_tool_is_used(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tools: list[str], first: list[str]
) -> None:
    only(monkeypatch, bootstrap, *tools)
    assert bootstrap.by_other_tool()
    assert bootstrap.commands[0][:2] == first
    assert bootstrap.NOX in bootstrap.commands[-1]


def test_without_ensurepip_the_systems_pip_serves_from_outside(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: name == "pip" or None)
    assert bootstrap.by_other_tool()
    assert "--without-pip" in bootstrap.commands[0]
    assert bootstrap.commands[1][:5] == [sys.executable, "-m", "pip", "--python", str(bootstrap.PYTHON)]


def test_root_on_debian_installs_it(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only(monkeypatch, bootstrap, "apt-get")
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 0)
    bootstrap.make_venv()
    package = f"python3.{sys.version_info.minor}-venv"
    assert [command[1] for command in bootstrap.commands[:2]] == ["update", "install"]
    assert package in bootstrap.commands[1]
    assert package in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tools", "remedy"), [(["apt-get"], "`sudo apt install python3."), ([], "system's package manager")]
)
def test_anyone_else_is_told_what_to_install(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tools: list[str],
    remedy: str,
) -> None:
    only(monkeypatch, bootstrap, *tools)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    assert bootstrap.main(["main"]) == 3
    cause, advice = capsys.readouterr().err.splitlines()
    assert "lacks ensurepip" in cause
    assert remedy in advice


def test_a_folder_that_is_no_environment_is_left_alone(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap.VENV.mkdir()
    (bootstrap.VENV / "precious").write_text("")
    assert bootstrap.main(["main"]) == 3
    assert "no virtual environment" in capsys.readouterr().err
    assert (bootstrap.VENV / "precious").exists()


def test_a_half_made_environment_is_removed(bootstrap: ModuleType) -> None:
    bootstrap.VENV.mkdir()
    (bootstrap.VENV / "pyvenv.cfg").write_text("")
    bootstrap.remove_broken_venv()
    assert not bootstrap.VENV.exists()


def test_an_old_python_is_told_so(tmp_path: Path) -> None:
    old = "import sys, runpy; sys.version_info = (3, 10, 1); runpy.run_path(sys.argv[1], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", old, str(SOURCE)], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("Python 3.10 is too old")


def test_help_says_what_is_installed_and_how_long_it_takes() -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, str(SOURCE)], capture_output=True, text=True, check=True, env=environment)
    for word in ("main", "tests", "GB", "MB", "minutes"):
        assert word in done.stdout
