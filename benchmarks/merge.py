"""Prints how long it takes to read and merge many records and to read a large JUnit file."""

import resource
import sys
import tempfile
import time
from pathlib import Path

from llenergymeasure.matrix import junit
from llenergymeasure.matrix.merge import merge, read_folder
from llenergymeasure.matrix.page import markdown
from llenergymeasure.matrix.records import Audit, Case, CellRecord, Host, Outcome, write
from llenergymeasure.matrix.spec import Cell, Spec

RECORDS, TESTS = 100, 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = Spec(tuple(Cell("pytorch", f"5.{n}.0", "transformers", "cpu", "3.11") for n in range(RECORDS)))
        for cell in spec.cells:
            write(record(cell), folder / f"{cell.name}.json")
        began = time.perf_counter()
        matrix = merge(read_folder(folder), spec)
        merged = time.perf_counter()
        page = markdown(matrix)
        ended = time.perf_counter()
        print(f"read and merge {RECORDS} records of {TESTS} tests: {merged - began:.2f} s")
        print(f"write the page ({len(page) / 1e6:.1f} MB): {ended - merged:.2f} s")
        for tests in (RECORDS * TESTS // 10, RECORDS * TESTS):
            path = folder / "junit.xml"
            cases = (f'<testcase classname="m" name="t{n}" time="0.1"/>' for n in range(tests))
            path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
            began = time.perf_counter()
            assert len(junit.read(path).cases) == tests
            print(f"read a JUnit file of {tests} tests: {time.perf_counter() - began:.2f} s")
    unit = 1 if sys.platform == "darwin" else 1024
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6:.0f} MB")


def record(cell: Cell) -> CellRecord:
    fields = [f"pytorch.field_{n}" for n in range(200)]
    tests = {
        f"tests/integration/pytorch/test_a.py::test_{n}": Case(
            Outcome.PASSED, 0.1, "", ((fields[n % 200], "observed"),)
        )
        for n in range(TESTS)
    }
    rows = {name: {"rung": "accepted", "status": "passed", "reason": ""} for name in fields}
    return CellRecord(
        cell=cell,
        runner="venv",
        runner_why="",
        status=Outcome.PASSED,
        reason="",
        tests=tests,
        audits={"wiring": Audit(Outcome.PASSED, report={"fields": rows})},
        packages={},
        python="3.11.2",
        platform="Linux",
        host=Host(),
        commit=None,
        dirty=None,
        started="2026-11-02T09:00:00+00:00",
        ended="2026-11-02T10:00:00+00:00",
        duration_s=1.0,
    )


if __name__ == "__main__":
    main()
