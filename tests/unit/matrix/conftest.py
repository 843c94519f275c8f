from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.matrix.records import Audit, Case, CellRecord, Host, Outcome
from llenergymeasure.matrix.spec import Cell


@pytest.fixture
def cell() -> Cell:
    return _cell()


@pytest.fixture
def make_record() -> Callable[..., CellRecord]:
    return _record


@pytest.fixture
def make_cell() -> Callable[..., Cell]:
    return _cell


def _cell(version: str = "5.23.0", backend: str = "pytorch", platform: str = "cpu", *, expected: bool = True) -> Cell:
    package = "transformers" if backend == "pytorch" else backend
    return Cell(backend, version, package, platform, python="3.11", torch="2.13.0", expected=expected)


def _record(
    version: str = "5.23.0",
    *,
    backend: str = "pytorch",
    platform: str = "cpu",
    tests: Mapping[str, Case] | None = None,
    fields: Mapping[str, Any] | None = None,
    ended: str = "2026-11-02T10:00:00+00:00",
    status: Outcome = Outcome.PASSED,
    **others: Any,
) -> CellRecord:
    wiring = Audit(Outcome.PASSED, report={"fields": fields or {}})
    values: dict[str, Any] = {
        "cell": _cell(version, backend, platform),
        "runner": "venv",
        "runner_why": "asked for",
        "status": status,
        "reason": "",
        "tests": tests or {},
        "audits": {"wiring": wiring},
        "packages": {"torch": "2.13.0+cpu"},
        "python": "3.11.2",
        "platform": "Linux x86_64",
        "host": Host("a processor", 2, 8_000_000_000, ("H100",), "580.1"),
        "commit": "0123456789abcdef",
        "dirty": False,
        "started": "2026-11-02T09:00:00+00:00",
        "ended": ended,
        "duration_s": 3600.0,
    }
    return CellRecord(**(values | others))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder
