import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llenergymeasure.cli.matrix import app
from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.matrix import digests, locks
from llenergymeasure.matrix.spec import Cell, load

SPEC = """
[defaults.pytorch]
package = "transformers"
platform = "cpu"
python = "3.11"
base_image = "python:{python}-slim-bookworm"

[[cell]]
backend = "pytorch"
version = "5.0.0"

[[cell]]
backend = "pytorch"
version = "5.23.0"
python = "3.12"
"""
DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def llem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (tmp_path / "matrix.toml").write_text(SPEC)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Base images of which a stand-in for the registries knows the digest; locks are made by a stand-in, too."""
    known: set[str] = set()

    def resolve(reference: str) -> str:
        if reference not in known:
            raise EnvironmentLacksError(f"no answer for {reference}", "")
        return DIGEST

    def make(cell: Cell, checkout: Path, work: Path, on_line: Any, *, upgrade: bool = False) -> str:
        return f"lock of {cell.name}{' anew' if upgrade else ''}\n"

    monkeypatch.setattr(digests, "resolve", resolve)
    monkeypatch.setattr(locks, "make", make)
    monkeypatch.setattr(locks, "make_tools", lambda pythons, *_, **__: f"tools for {min(pythons)}\n")
    return known


def test_all_locks_and_digests_are_written(llem: Callable[..., Result], answering: set[str], tmp_path: Path) -> None:
    answering |= {"python:3.11-slim-bookworm", "python:3.12-slim-bookworm"}
    done = llem("lock", "--upgrade")
    assert done.exit_code == 0, done.output
    written = {file.name: file.read_text() for file in (tmp_path / locks.FOLDER).iterdir()}
    assert written == {
        "pytorch-5.0.0-cpu.txt": "lock of pytorch-5.0.0-cpu anew\n",
        "pytorch-5.23.0-cpu.txt": "lock of pytorch-5.23.0-cpu anew\n",
        "tools.txt": "tools for 3.11\n",
    }
    assert {cell.base_digest for cell in load(tmp_path / "matrix.toml").cells} == {DIGEST}


def test_only_the_named_cell_is_touched(llem: Callable[..., Result], answering: set[str], tmp_path: Path) -> None:
    answering |= {"python:3.11-slim-bookworm", "python:3.12-slim-bookworm"}
    assert llem("lock", "pytorch-5.23.0-cpu").exit_code == 0
    assert [file.name for file in (tmp_path / locks.FOLDER).iterdir()] == ["pytorch-5.23.0-cpu.txt"]
    assert [cell.base_digest for cell in load(tmp_path / "matrix.toml").cells] == ["", DIGEST]


def test_a_tag_that_moved_is_said_to_have(llem: Callable[..., Result], answering: set[str], tmp_path: Path) -> None:
    answering |= {"python:3.11-slim-bookworm", "python:3.12-slim-bookworm"}
    moved = DIGEST.replace("0", "f")
    (tmp_path / "matrix.toml").write_text(SPEC.replace('"5.0.0"', f'"5.0.0"\nbase_digest = "{moved}"'))
    said = llem("lock").output
    assert f"python:3.11-slim-bookworm: {DIGEST}, was {moved}\n" in said
    assert f"python:3.12-slim-bookworm: {DIGEST}\n" in said


def test_a_registry_that_does_not_answer_leaves_its_digest_and_is_said(
    llem: Callable[..., Result], answering: set[str], tmp_path: Path
) -> None:
    answering.add("python:3.12-slim-bookworm")
    done = llem("lock")
    assert isinstance(done.exception, EnvironmentLacksError)
    assert "no answer for python:3.11-slim-bookworm" in done.exception.cause
    assert [cell.base_digest for cell in load(tmp_path / "matrix.toml").cells] == ["", DIGEST]
    assert (tmp_path / locks.FOLDER / "pytorch-5.0.0-cpu.txt").is_file()


def test_registries_are_not_asked_where_nobody_wants_it(
    llem: Callable[..., Result], answering: set[str], tmp_path: Path
) -> None:
    assert llem("lock", "--no-digests").exit_code == 0
    assert (tmp_path / "matrix.toml").read_text() == SPEC


def test_the_bake_file_is_json_and_nothing_else(llem: Callable[..., Result]) -> None:
    document = json.loads(llem("bake", "pytorch-5.23.0-cpu").stdout)
    [target] = document["target"].values()
    assert target["args"]["BASE_IMAGE"] == "python:3.12-slim-bookworm"
