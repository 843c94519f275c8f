"""Prints what `llem matrix merge` costs as a whole process and how it grows, and what reading a large JUnit file costs.

python benchmarks/merge.py                       100, 300 and 1,000 records of 1,000 tests
python benchmarks/merge.py FOLDER RECORDS TESTS  only writes such records and their matrix.toml, to look at
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from llenergymeasure.matrix import junit
from llenergymeasure.matrix.records import Audit, Case, CellRecord, Host, Outcome, to_json
from llenergymeasure.matrix.spec import Cell

FIELDS, PARAMETERS, TESTS = 315, 560, 1000
PIN = """
[[cell]]
backend = "{0.backend}"
version = "{0.version}"
package = "{0.package}"
platform = "{0.platform}"
python = "{0.python}"
"""
RUNS_PER_CELL = 10
BEGAN = datetime(2026, 11, 2, 9, tzinfo=UTC)


def main() -> None:
    if len(sys.argv) == 4:
        generate(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), runs=1)
        return
    for count, runs in ((100, 1), (300, 1), (1000, 1), (100, RUNS_PER_CELL), (1000, RUNS_PER_CELL)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            generate(folder, count, TESTS, runs)
            size = sum(path.stat().st_size for path in (folder / "records").iterdir()) / 1e6
            took_s, busy_s, peak_mb = merge(folder)
            page = (folder / "compatibility.html").stat().st_size / 1e6
            what = f"{count:5} records of {TESTS} tests in {count // runs:4} cells ({size:4.0f} MB)"
            print(
                f"{what}: {took_s:5.2f} s ({busy_s:.2f} s busy), {peak_mb:4.0f} MB at the most; page {page:.1f} MB",
                flush=True,
            )
    for tests in (10_000, 100_000, 400_000):
        read_junit(tests)


def merge(folder: Path) -> tuple[float, float, float]:
    """Of the whole process: seconds, seconds of a processor, and peak memory in MB."""
    llem = Path(sys.executable).with_name("llem")
    argv = [llem, "matrix", "merge", "--records", "records", "--spec", "matrix.toml", "-o", "compatibility.md"]
    began = time.perf_counter()
    process = subprocess.Popen([str(part) for part in argv], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - began
    # It has been waited for, which Popen need not try once more.
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.returncode
    unit = 1 if sys.platform == "darwin" else 1024
    return took_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6


def generate(folder: Path, count: int, tests: int, runs: int) -> None:
    """`count` records, of `runs` runs of each cell, as large as real ones."""
    records = folder / "records"
    records.mkdir(parents=True, exist_ok=True)
    cells = [Cell("pytorch", f"5.{number}.0", "transformers", "cpu", "3.11") for number in range(count // runs)]
    (folder / "matrix.toml").write_text("".join(PIN.format(cell) for cell in cells))
    cases, audits = _cases(tests), _audits()
    for number in range(count):
        cell = cells[number % len(cells)]
        path = records / f"{cell.name}-{number}.json"
        path.write_text(to_json(_record(cell, BEGAN + timedelta(hours=number), cases, audits)))


def _cases(tests: int) -> dict[str, Case]:
    """A quarter is not run, one in a hundred failed as expected, and each proves a field."""
    found = {}
    for number in range(tests):
        where = f"tests/integration/pytorch/test_part_{number // 50}.py"
        name = f"{where}::test_a_value_arrives[pytorch.field_{number}-{number}]"
        outcome = (
            Outcome.SKIPPED if number % 4 == 0 else Outcome.XFAIL_UPSTREAM if number % 100 == 1 else Outcome.PASSED
        )
        reason = "" if outcome is Outcome.PASSED else f"needs a version that has it: 5.0.0 has no part {number}"
        found[name] = Case(outcome, 0.123, reason, ((f"pytorch.field_{number % FIELDS}", "observed"),))
    return found


def _audits() -> dict[str, Audit]:
    parameters = [
        {
            "entry_point": "transformers.AutoModelForCausalLM.from_pretrained",
            "name": f"parameter_{number}",
            "kind": "excluded",
            "category": "plumbing",
            "detail": "Python objects and download options for callers that hold a model in memory.",
        }
        for number in range(PARAMETERS)
    ]
    counts = {"field": 300, "excluded": PARAMETERS - 300, "unaccounted": 0}
    coverage: dict[str, Any] = {"schema": 1, "versions": [{"counts": counts, "parameters": parameters}]}
    rows = {
        f"pytorch.field_{number}": {"rung": "accepted", "status": "passed", "reason": ""} for number in range(FIELDS)
    }
    return {
        "coverage": Audit(Outcome.PASSED, report=coverage),
        "wiring": Audit(Outcome.PASSED, report={"fields": rows}),
    }


def _record(cell: Cell, started: datetime, cases: dict[str, Case], audits: dict[str, Audit]) -> CellRecord:
    return CellRecord(
        cell=cell,
        runner="venv",
        runner_why="",
        status=Outcome.PASSED,
        reason="",
        tests=cases,
        audits=audits,
        packages={f"package-{number}": "1.0" for number in range(60)},
        python="3.11.2",
        platform="Linux",
        host=Host(),
        commit=None,
        dirty=None,
        started=started.isoformat(),
        ended=(started + timedelta(minutes=5)).isoformat(),
        duration_s=300.0,
    )


def read_junit(tests: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "junit.xml"
        words = json.dumps("word " * 40)
        with path.open("w") as file:
            file.write("<testsuites><testsuite>")
            file.writelines(
                f'<testcase classname="m" name="t{number}" time="0.1"><failure message={words}/></testcase>'
                for number in range(tests)
            )
            file.write("</testsuite></testsuites>")
        began = time.perf_counter()
        assert len(junit.read(path).cases) == tests
        print(
            f"JUnit file of {tests:6} tests ({path.stat().st_size / 1e6:3.0f} MB): {time.perf_counter() - began:.2f} s"
        )


if __name__ == "__main__":
    main()
