"""The bot proposes what it is meant to, and nothing else; its patterns are held against matrix.toml as it is."""

import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from llenergymeasure.matrix.spec import load, loads

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "matrix.toml").read_text()
SPEC = load(ROOT / "matrix.toml")
MANAGERS = json.loads((ROOT / "renovate.json").read_text())["customManagers"]


def matches(dep_type: str, text: str = TEXT) -> list[re.Match[str]]:
    """What the manager finds; its regular expressions are RE2's, whose named groups Python spells with a P."""
    [manager] = [one for one in MANAGERS if one["depTypeTemplate"] == dep_type]
    return [found for pattern in manager["matchStrings"] for found in re.finditer(pattern.replace("(?<", "(?P<"), text)]


def test_it_looks_at_matrix_toml() -> None:
    for manager in MANAGERS:
        [pattern] = manager["managerFilePatterns"]
        assert re.search(pattern.strip("/"), "matrix.toml")
        assert not re.search(pattern.strip("/"), "tests/matrix.toml")


def test_the_newest_version_of_each_package_is_proposed_for_and_no_older_one() -> None:
    newest: dict[str, str] = {}
    for cell in SPEC.cells:
        newest[cell.package] = max(cell.version, newest.get(cell.package, "0"), key=Version)
    found = [(match["depName"], match["currentValue"]) for match in matches("cell") if "\nversion = " in match[0]]
    assert sorted(found) == sorted(newest.items())


def test_every_annotation_is_understood() -> None:
    annotated = [line for line in TEXT.splitlines() if line.startswith("# renovate:")]
    assert annotated == [match[0].splitlines()[0] for match in matches("cell")]
    assert {match["datasource"] for match in matches("cell")} == {"pypi"}


def test_torch_is_proposed_for_only_where_the_backend_leaves_the_choice() -> None:
    assert [match["currentValue"] for match in matches("cell") if match["depName"] == "torch"] == [
        next(cell.torch for cell in SPEC.cells if cell.backend == "pytorch")
    ]


def test_every_pinned_requirement_is_found() -> None:
    pinned = {requirement for cell in SPEC.cells for requirement in cell.requirements}
    assert {match[0].strip('"') for match in matches("requirement")} == pinned
    for match in matches("requirement"):
        assert Requirement(match[0].strip('"')).name == match["depName"]


@pytest.mark.parametrize("dep_type", ["cell", "requirement"])
def test_what_it_writes_is_a_matrix_again(dep_type: str) -> None:
    changed = []
    for match in matches(dep_type):
        start, end = match.span("currentValue")
        cells = loads(f"{TEXT[:start]}99.0.0{TEXT[end:]}").cells
        assert len(cells) == len(SPEC.cells)
        changed.append(cells != SPEC.cells)
    # Defaults of a backend that has no cell yet change none.
    assert any(changed)
