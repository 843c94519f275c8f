from pathlib import Path

import pytest

from llenergymeasure.audit.coverage import fields_of
from llenergymeasure.config.bindings import BACKENDS
from llenergymeasure.matrix.upgrade.documents import Documents, index
from llenergymeasure.surface.packages import BACKENDS as DESCRIBED

ROOT = Path(__file__).parents[4]


def field_places(found: Documents, path: str, backend: str = "pytorch") -> list[tuple[str, int]]:
    field = next(field for field in fields_of(backend) if field.path == path)
    return [(place.page, place.line) for place in found.of_field(field)]


@pytest.mark.parametrize("backend", DESCRIBED)
def test_every_field_has_its_one_row_in_the_reference(backend: str) -> None:
    """The generated page is found again by its own words: a template that says them otherwise shows here."""
    found = index(ROOT, backend)
    page = f"docs/backends/{backend}.md"
    rows = {
        field.path: [place for place in found.of_field(field) if place.page == page and place.generated]
        for field in fields_of(backend)
    }
    assert {path: places for path, places in rows.items() if len(places) != 1} == {}


def test_keys_of_examples_and_of_pages_are_found_at_their_lines(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "a.yaml").write_text("model: m\npytorch:\n  num_beams: 2\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("# B\n\n```yaml\npytorch:\n  dtype: float32\n  num_beams: 2\n```\n")
    (tmp_path / "README.md").write_text(
        "# R\n\nSet `pytorch.num_beams`, or `num_beams=2`; num_beams as a word is none.\n"
    )
    (tmp_path / "CHANGELOG.md").write_text("`num_beams` came.\n")
    found = index(tmp_path, "pytorch")
    assert field_places(found, "pytorch.num_beams") == [("README.md", 3), ("docs/b.md", 6), ("examples/a.yaml", 3)]
    assert field_places(found, "pytorch.dtype") == [("docs/b.md", 5)]


def test_a_page_of_another_backend_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "docs" / "backends"
    folder.mkdir(parents=True)
    for backend in BACKENDS:
        (folder / f"{backend}.md").write_text("Here is `num_beams`.\n")
    assert field_places(index(tmp_path, "pytorch"), "pytorch.num_beams") == [("docs/backends/pytorch.md", 1)]


def test_a_broken_example_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("```yaml\n: [\n```\n\nand `num_beams`\n")
    assert field_places(index(tmp_path, "pytorch"), "pytorch.num_beams") == [("README.md", 5)]
