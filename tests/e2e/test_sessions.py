"""The sessions as a maintainer starts them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def listing() -> str:
    argv = [sys.executable, "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), "--list"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_every_pinned_transformers_version_has_its_session(listing: str) -> None:
    cells = tomllib.loads((ROOT / "matrix.toml").read_text(encoding="utf-8"))["cell"]
    versions = [cell["version"] for cell in cells if cell["backend"] == "pytorch"]
    assert versions
    for version in versions:
        assert f"pytorch({version})" in listing


@pytest.mark.parametrize("name", ["tests-3.", "lint", "types", "docs", "audit", "matrix", "main"])
def test_each_session_is_there_and_says_what_it_does(listing: str, name: str) -> None:
    [line, *_] = [line for line in listing.splitlines() if line.lstrip("*- ").startswith(name)]
    assert line.partition("->")[2].strip()
