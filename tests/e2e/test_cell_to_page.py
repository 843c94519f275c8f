"""From a cell's run to the page, with the real program inside the cell; only the installing is left out."""

import sys
from pathlib import Path

from llenergymeasure.matrix.merge import merge, read_folder
from llenergymeasure.matrix.page import markdown
from llenergymeasure.matrix.records import Outcome
from llenergymeasure.matrix.run import run_cells
from llenergymeasure.matrix.runners.venv import VenvRunner
from llenergymeasure.matrix.spec import Cell, Spec

ROOT = Path(__file__).parents[2]
SUITE = """
import pytest

@pytest.mark.field("num_beams", "observed")
def test_beams(): pass

@pytest.mark.field("batch_size", "effective")
def test_batches(): assert "arrived" == "lost"
"""


def test_a_failed_test_makes_its_cell_red_and_shows_on_the_page(tmp_path: Path) -> None:
    suite = tmp_path / "tests" / "integration" / "pytorch"
    suite.mkdir(parents=True)
    (suite / "test_a.py").write_text(SUITE)
    (suite.parent / "conftest.py").write_text((ROOT / "tests" / "integration" / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = field(name, rung): proof\n")
    cell = Cell("pytorch", "0.0.1", "transformers", "cpu", "3.11", deadline_s=120)
    said: list[str] = []
    details: list[str] = []
    runner = VenvRunner(python=lambda *_: Path(sys.executable))
    [record] = run_cells(
        [cell], runner, "asked for", tmp_path, records=tmp_path / "records", say=said.append, detail=details.append
    )

    assert record.status.bad, details
    line, bad = said
    assert line.startswith("pytorch-0.0.1-cpu")
    assert "; 1 passed; " in line
    assert "1 test failed" in line
    assert bad.startswith("  failed tests/integration/pytorch/")
    assert "assert 'arrived' == 'lost'" in bad
    assert line.endswith("log: build/cells/pytorch-0.0.1-cpu/out/log.txt")
    assert any("arrived" in detail for detail in details)
    assert "arrived" in (tmp_path / "build" / "cells" / "pytorch-0.0.1-cpu" / "out" / "log.txt").read_text()
    outcomes = {name.partition("::")[2]: case.outcome for name, case in record.tests.items()}
    assert outcomes == {"test_beams": Outcome.PASSED, "test_batches": Outcome.FAILED}, details
    assert set(record.audits) == {"coverage", "wiring"}
    assert record.packages["pytest"]

    page = markdown(merge(read_folder(tmp_path / "records"), Spec((cell,))))
    assert "| pytorch-0.0.1-cpu | ✗ " in page
    assert "assert 'arrived' == 'lost'" in page
