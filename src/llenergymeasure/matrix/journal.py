"""A pytest plugin that notes each test as it starts and ends, so that a run that dies still says which test it died in.

Loaded with `-p llenergymeasure.matrix.journal`; it writes one JSON line per event to the file in `LLEM_JOURNAL`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llenergymeasure.matrix.records import Case, Outcome, one_line

if TYPE_CHECKING:
    import pytest

FILE = "journal.jsonl"
VARIABLE = "LLEM_JOURNAL"


def pytest_collection_finish(session: "pytest.Session") -> None:
    _write({"collected": [item.nodeid for item in session.items]})


def pytest_runtest_logstart(nodeid: str) -> None:
    _write({"start": nodeid})


def pytest_runtest_logreport(report: "pytest.TestReport") -> None:
    outcome = _outcome(report)
    if outcome is Outcome.PASSED and report.when != "call":
        return
    proves = [[value, rung] for (_, value), (_, rung) in _proofs(report.user_properties)]
    event = {"report": report.nodeid, "outcome": outcome, "duration_s": report.duration, "proves": proves}
    _write({**event, "reason": _reason(report)})


def pytest_runtest_logfinish(nodeid: str) -> None:
    _write({"end": nodeid})


def cases(path: Path, *, running: Outcome, reason: str) -> dict[str, Case]:
    """What a run that died had found out: a test that had not ended gets `running`, one not reached is not run."""
    found: dict[str, Case] = {}
    open_tests: list[str] = []
    for event in _events(path):
        if "collected" in event:
            found |= {
                name: Case(Outcome.SKIPPED, reason="not run: the run ended before it") for name in event["collected"]
            }
        elif "start" in event:
            open_tests.append(event["start"])
        elif "report" in event:
            _note(found, event)
        elif event.get("end") in open_tests:
            open_tests.remove(event["end"])
    for name in open_tests:
        found[name] = Case(running, reason=reason)
    return found


def _note(found: dict[str, Case], event: dict[str, Any]) -> None:
    name, outcome = event["report"], Outcome(event["outcome"])
    known = found.get(name)
    if known is None or known.outcome is Outcome.SKIPPED or outcome.rank > known.outcome.rank:
        proves = tuple((field, rung) for field, rung in event["proves"])
        found[name] = Case(outcome, event["duration_s"], event["reason"], proves)


def _events(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:  # the last line of a killed run may be cut
            continue
        if isinstance(event, dict):
            yield event


def _outcome(report: "pytest.TestReport") -> Outcome:
    if report.outcome == "failed":
        return Outcome.FAILED if report.when == "call" else Outcome.ERROR
    if report.outcome == "skipped":
        if not hasattr(report, "wasxfail"):
            return Outcome.SKIPPED
        return Outcome.XFAIL_UPSTREAM if ("xfail", "upstream") in report.user_properties else Outcome.XFAIL_OURS
    return Outcome.PASSED


def _reason(report: "pytest.TestReport") -> str:
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail).removeprefix("reason: ")
    if isinstance(report.longrepr, tuple):  # file, line and words of a skip
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return one_line(crash.message if crash else str(report.longrepr or ""))


def _proofs(properties: list[tuple[str, object]]) -> Iterator[tuple[tuple[str, object], tuple[str, object]]]:
    proofs = [item for item in properties if item[0] in ("field", "rung")]
    return zip(proofs[::2], proofs[1::2], strict=False)


def _write(event: dict[str, Any]) -> None:
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
