"""The sessions as a maintainer starts them."""

import subprocess
import sys
from pathlib import Path

import pytest

from llenergymeasure.matrix import host
from llenergymeasure.matrix.spec import load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def listing() -> str:
    argv = [sys.executable, "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), "--list"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_every_pinned_cell_has_its_session(listing: str) -> None:
    cells = load(ROOT / "matrix.toml").cells
    wanted = {
        f"vllm({cell.version}-{cell.platform})" if cell.backend == "vllm" else f"{cell.backend}({cell.version})"
        for cell in cells
    }
    assert len(wanted) == len(cells)
    assert {name for name in wanted if name not in listing} == set()


def test_a_session_that_needs_a_gpu_is_skipped_without_one_before_it_installs() -> None:
    if not host.lacks("cuda"):
        pytest.skip("needs a machine without an NVIDIA GPU")
    argv = [sys.executable, "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), "--no-venv", "-s", "vllm(0.33.0-cuda)"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    said = done.stdout + done.stderr
    assert "not run: vllm-0.33.0-cuda needs an NVIDIA GPU" in said
    assert "skipped" in said
    assert "pip install" not in said


SESSIONS = ["tests-3.", "lint", "types", "docs", "audit", "workflows", "cell", "matrix", "upgrade", "main"]


@pytest.mark.parametrize("name", SESSIONS)
def test_each_session_is_there_and_says_what_it_does(listing: str, name: str) -> None:
    [line, *_] = [line for line in listing.splitlines() if line.lstrip("*- ").startswith(name)]
    assert line.partition("->")[2].strip()
