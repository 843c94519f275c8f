"""`llem docs`: pages are written, and one that is not what would be written is found."""

import shutil
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the pages are made from, without records."""
    shutil.copy(CHECKOUT / "matrix.toml", tmp_path)
    shutil.copytree(CHECKOUT / "examples", tmp_path / "examples")
    return tmp_path


def test_what_was_built_is_up_to_date_until_it_is_changed(llem: Any, checkout: Path) -> None:
    built = llem("docs", "build", "--checkout", checkout)
    pages = [Path(line) for line in built.out.splitlines()]
    assert built.code == 0
    assert {str(path.relative_to(checkout)) for path in pages} == {
        "docs/compatibility.md", "docs/compatibility.html", "docs/backends/pytorch.md", "docs/backends/vllm.md",
        "docs/configuration.md", "docs/result.md",
    }  # fmt: skip
    assert llem("docs", "check", "--checkout", checkout).code == 0
    page = checkout / "docs" / "result.md"
    page.write_text(page.read_text().replace("tokens/s", "tokens per second"))
    ended = llem("docs", "check", "--checkout", checkout)
    assert ended.code == 1
    assert f"not up to date: {page}" in ended.err
    assert "llem docs build" in ended.err


def test_a_missing_page_is_found(llem: Any, checkout: Path) -> None:
    ended = llem("docs", "check", "--checkout", checkout)
    assert ended.code == 1
    assert "docs/backends/pytorch.md" in ended.err
