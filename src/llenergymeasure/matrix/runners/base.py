"""What every runner is, and how what a cell left behind becomes its record."""

import fcntl
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from llenergymeasure.errors import LlemError, RequestError
from llenergymeasure.matrix import host, journal
from llenergymeasure.matrix.records import (
    Audit,
    Case,
    CellRecord,
    Host,
    Outcome,
    cases_from_rows,
    to_json,
    worst,
    write,
)
from llenergymeasure.matrix.runners.process import Ended
from llenergymeasure.matrix.spec import Cell

PART = "part.json"
RECORD = "record.json"
LOG = "log.txt"
JUNIT = "junit.xml"
WIRING = "wiring.xml"
# What the program inside a cell leaves behind.
RESULTS = (PART, journal.FILE, JUNIT, WIRING)
# What that program finds set, wherever it runs: no package of the user's, no model hub.
ENVIRONMENT = {
    "PYTHONNOUSERSITE": "1",
    "PYTHONUNBUFFERED": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Availability:
    """Whether something can be had, why, and what to do where it cannot."""

    ok: bool
    why: str
    remedy: str = ""


class Runner(Protocol):
    """Runs one cell and always comes back with its record; a run that dies is a record, too."""

    @property
    def name(self) -> str: ...

    def available(self) -> Availability: ...

    def reaches(self, platform: str, devices: Sequence[str] = ()) -> Availability:
        """Whether its cells get at the devices of a platform that this machine has."""
        ...

    def run(
        self,
        cell: Cell,
        checkout: Path,
        out_dir: Path,
        deadline_s: float,
        on_line: OnLine,
        devices: Sequence[str] = (),
        *,
        tests: tuple[str, ...] = (),
    ) -> CellRecord:
        """Logs and the record are in `out_dir` afterwards; on KeyboardInterrupt they are, too, and it is raised on.

        A cuda cell sees the GPUs of `devices` and no others, or all there are where it is empty.
        With `tests`, identities as a record has them, exactly these are run, and no audits.
        """
        ...


def only(tests: Sequence[str]) -> tuple[str, ...]:
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


def recorded(begun: Start, out_dir: Path, deadline_s: float, work: Callable[[], CellRecord]) -> CellRecord:
    """The record that `work` gives, or of how it failed, written beside the logs; nothing of an earlier run stays."""
    out_dir.mkdir(parents=True, exist_ok=True)
    try:
        with alone(out_dir):
            for name in (*RESULTS, LOG, RECORD):
                (out_dir / name).unlink(missing_ok=True)
            try:
                record = work()
            except LlemError as error:
                words = "; ".join(part for part in (error.cause, error.remedy) if part)
                record = broken(begun, Outcome.ERROR, words)
            write(record, out_dir / RECORD)
    except KeyboardInterrupt:
        write(assemble(begun, out_dir, None, deadline_s), out_dir / RECORD)
        raise
    return record


@contextmanager
def alone(out_dir: Path) -> Iterator[None]:
    """Two runs of one cell would read each other's results."""
    with (out_dir / ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RequestError("another run of this cell is under way", "wait for it, or end it") from error
        yield


def broken(begun: Start, outcome: Outcome, reason: str) -> CellRecord:
    """The record of a run that ended before its tests."""
    return _record(begun, {**host.versions(), "host": asdict(host.facts())}, outcome, reason)


def assemble(
    begun: Start, out_dir: Path, ended: Ended | None, deadline_s: float, problems: Sequence[str] = ()
) -> CellRecord:
    """The record from what the cell's program left in `out_dir`, however it ended; `ended` is None if interrupted."""
    part, problem = _read_part(out_dir / PART)
    outcome, reason = _verdict(ended, deadline_s)
    if not part.get("finished"):
        if outcome is Outcome.PASSED:
            code = ended.returncode if ended else None
            problem = "; ".join(problems) or problem
            outcome, reason = Outcome.ERROR, f"the cell's program ended with {code} and left no whole result: {problem}"
        part["journal"] = journal.cases(out_dir / journal.FILE, running=outcome, reason=reason)
    try:
        part["problems"] = [*part.get("problems", ()), *problems]
        record = _record(begun, part, outcome, reason)
        to_json(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # A test can overwrite it; the run that reads it must not die of that.
        strange = f"{PART} is not what the cell's program writes ({error!r})"
        return broken(begun, worst([outcome, Outcome.ERROR]), "; ".join(filter(None, [reason, strange, *problems])))
    return record


def _verdict(ended: Ended | None, deadline_s: float) -> tuple[Outcome, str]:
    if ended is None:
        return Outcome.ERROR, "interrupted"
    if ended.lost:
        return Outcome.ERROR, ended.lost
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
    except (ValueError, RecursionError) as error:
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
