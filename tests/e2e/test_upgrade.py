"""Two cells beside each other with the real runner, the real program inside them, and real reruns of single tests."""

import sys
from pathlib import Path

from llenergymeasure.matrix.runners.venv import VenvRunner
from llenergymeasure.matrix.spec import Cell
from llenergymeasure.matrix.upgrade.cells import Pair
from llenergymeasure.matrix.upgrade.check import Bench
from llenergymeasure.matrix.upgrade.compare import Verdict

# Each run adds a line to the file of its side and test: the first run is the cell's own, the others are reruns.
SUITE = """
import os
from pathlib import Path

import pytest

SIDE = os.environ["SIDE"]

def runs(name):
    with (Path(os.environ["COUNTS"]) / f"{SIDE}-{name}").open("a+") as file:
        file.write("run\\n")
        file.seek(0)
        return len(file.readlines())

@pytest.mark.parametrize("value", ["a b", "x/y"])
def test_regressed(value): assert runs("regressed") and SIDE == "old"
def test_fails_there_too(): assert runs("both") == 1 and SIDE == "old"
def test_flaky(): assert runs("flaky") > 2 or SIDE == "old"
def test_good(): assert runs("good")
"""


def test_each_kind_of_failure_is_told_apart_with_real_runs(tmp_path: Path) -> None:
    checkout, counts = tmp_path / "checkout", tmp_path / "counts"
    suite = checkout / "tests" / "integration" / "pytorch"
    suite.mkdir(parents=True)
    counts.mkdir()
    (suite / "test_a.py").write_text(SUITE)
    (checkout / "pytest.ini").write_text("[pytest]\n")
    old, new = (
        Cell("pytorch", version, "transformers", "cpu", "3.11", environment={"SIDE": side, "COUNTS": str(counts)})
        for version, side in (("0.0.1", "old"), ("0.0.2", "new"))
    )
    said: list[str] = []
    runner = VenvRunner(python=lambda *_: Path(sys.executable))
    bench = Bench(runner, "asked for", checkout, tmp_path / "records", (), said.append, lambda _: None)
    found = bench.beside(Pair(old, new), {}).comparison

    verdicts = {item.identity.rpartition("::")[2]: item.verdict for item in found.findings if "::" in item.identity}
    assert verdicts == {
        "test_regressed[a b]": Verdict.REGRESSION,
        "test_regressed[x/y]": Verdict.REGRESSION,
        "test_flaky": Verdict.FLAKY,
        "test_fails_there_too": Verdict.NOT_THE_UPGRADES,
    }
    times = {path.name: len(path.read_text().splitlines()) for path in counts.iterdir()}
    assert times == {
        "old-regressed": 4,
        "new-regressed": 10,
        "old-flaky": 2,
        "new-flaky": 3,
        "old-both": 2,
        "new-both": 1,
        "old-good": 1,
        "new-good": 1,
    }
    assert [line for line in said if line.startswith("rerun")] == [
        "rerun 1: 4 tests in pytorch-0.0.1-cpu",
        "rerun 2: 3 tests in pytorch-0.0.2-cpu",
        "rerun 3: 3 tests in pytorch-0.0.2-cpu",
        "rerun 4: 2 tests in pytorch-0.0.2-cpu",
        "rerun 5: 2 tests in pytorch-0.0.2-cpu",
    ]
    assert {path.name for path in (tmp_path / "records").iterdir()} == {f"{old.name}.json", f"{new.name}.json"}
