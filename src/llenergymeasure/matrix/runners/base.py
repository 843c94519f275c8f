"""What every runner is, and how what a cell left behind becomes its record."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from llenergymeasure.matrix import host, journal
from llenergymeasure.matrix.records import Audit, Case, CellRecord, Host, Outcome, cases_from_rows, worst
from llenergymeasure.matrix.runners.process import Ended
from llenergymeasure.matrix.spec import Cell

PART = "part.json"
RECORD = "record.json"
LOG = "log.txt"


@dataclass(frozen=True)
class Availability:
    ok: bool
    why: str


class Runner(Protocol):
    """Runs one cell and always comes back with its record; a run that dies is a record, too."""

    @property
    def name(self) -> str: ...

    def available(self) -> Availability: ...

    def run(
        self,
        cell: Cell,
        checkout: Path,
        out_dir: Path,
        deadline_s: float,
        on_line: Callable[[str], None],
        *,
        tests: tuple[str, ...] = (),
    ) -> CellRecord:
        """Logs and the record are in `out_dir` afterwards; on KeyboardInterrupt they are, too, and it is raised on.

        With `tests`, identities as a record has them, exactly these are run, and no audits.
        """
        ...


def only(tests: tuple[str, ...]) -> tuple[str, ...]:
    """What the cell's program is told beside the cell's name, so that exactly these tests run; nothing for all."""
    return ("--test", *tests) if tests else ()


@dataclass(frozen=True)
class Start:
    """What is known of a run before anything of it can fail."""

    cell: Cell
    runner: str
    runner_why: str
    commit: str | None
    dirty: bool | None
    started: datetime


def start(cell: Cell, runner: str, runner_why: str, checkout: Path) -> Start:
    commit, dirty = commit_of(checkout)
    return Start(cell, runner, runner_why, commit, dirty, datetime.now(UTC))


def broken(begun: Start, outcome: Outcome, reason: str) -> CellRecord:
    """The record of a run that ended before its tests."""
    return _record(begun, {**host.versions(), "host": asdict(host.facts())}, outcome, reason)


def assemble(begun: Start, out_dir: Path, ended: Ended | None, deadline_s: float) -> CellRecord:
    """The record from what the cell's program left in `out_dir`, however it ended; `ended` is None if interrupted."""
    part, problem = _read_part(out_dir / PART)
    outcome, reason = _verdict(ended, deadline_s)
    if part.get("finished"):
        return _record(begun, part, outcome, reason)
    if outcome is Outcome.PASSED:
        code = ended.returncode if ended else None
        outcome, reason = Outcome.ERROR, f"the cell's program ended with {code} and left no whole result: {problem}"
    tests = journal.cases(out_dir / journal.FILE, running=outcome, reason=reason)
    return _record(begun, {**part, "journal": tests}, outcome, reason)


def _verdict(ended: Ended | None, deadline_s: float) -> tuple[Outcome, str]:
    if ended is None:
        return Outcome.ERROR, "interrupted"
    if ended.timed_out:
        return Outcome.TIMEOUT, f"still running after {deadline_s:g} s, then ended"
    if ended.crash:
        return Outcome.CRASH, ended.crash
    return Outcome.PASSED, ""


def _read_part(path: Path) -> tuple[dict[str, Any], str]:
    try:
        part = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return {}, f"{path.name}: {error.strerror}"
    except ValueError as error:
        return {}, f"{path.name}: {error}"
    return (part, "it is not finished") if isinstance(part, dict) else ({}, f"{path.name} is not an object")


def _record(begun: Start, part: dict[str, Any], outcome: Outcome, reason: str) -> CellRecord:
    tests: dict[str, Case] = part.get("journal") or cases_from_rows(part.get("tests", {}))
    audits = {
        name: Audit(Outcome(row["outcome"]), row["reason"], row["report"])
        for name, row in part.get("audits", {}).items()
    }
    problems = tuple(part.get("problems", ()))
    parts = [outcome, *(case.outcome for case in tests.values()), *(audit.outcome for audit in audits.values())]
    status = worst(kind for kind in parts if kind.bad)
    if problems or not (tests or outcome.bad):
        status = worst([status, Outcome.ERROR])
    machine = dict(part.get("host", {}))
    machine["gpus"] = tuple(machine.get("gpus", ()))
    ended = datetime.now(UTC)
    return CellRecord(
        cell=begun.cell,
        runner=begun.runner,
        runner_why=begun.runner_why,
        status=status,
        reason=reason or "; ".join(problems),
        tests=tests,
        audits=audits,
        packages=part.get("packages", {}),
        python=part.get("python", ""),
        platform=part.get("platform", ""),
        host=Host(**machine),
        commit=begun.commit,
        dirty=begun.dirty,
        started=begun.started.isoformat(timespec="seconds"),
        ended=ended.isoformat(timespec="seconds"),
        duration_s=round((ended - begun.started).total_seconds(), 1),
        problems=problems,
    )


def commit_of(checkout: Path) -> tuple[str | None, bool | None]:
    """The checkout's commit and whether files differ from it; what a run itself writes does not count."""
    try:
        head = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--", ".", ":!docs/records", ":!docs/compatibility.*")
    except (OSError, subprocess.SubprocessError):
        return None, None
    return head.strip(), bool(changed.strip())


def _git(checkout: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
