"""What one run of a cell found out: the record, its outcome kinds, and its JSON form."""

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix.spec import Cell

SCHEMA = 1
KIND = "llenergymeasure cell record"
REASON_CHARACTERS = 400
_AGAIN = "run the cell again with `llem matrix run`"


class Outcome(StrEnum):
    """The order is from good to bad; `skipped` means not run."""

    PASSED = "passed"
    XFAIL_UPSTREAM = "xfail_upstream"
    XFAIL_OURS = "xfail_ours"
    SKIPPED = "skipped"
    FAILED = "failed"
    ERROR = "error"
    TIMEOUT = "timeout"
    CRASH = "crash"

    @property
    def rank(self) -> int:
        return _RANKS[self]

    @property
    def bad(self) -> bool:
        return self in _BAD


_RANKS = {outcome: rank for rank, outcome in enumerate(Outcome)}
_BAD = tuple(outcome for outcome in Outcome if outcome.rank >= Outcome.FAILED.rank)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    return max(outcomes, key=lambda outcome: outcome.rank, default=Outcome.PASSED)


def one_line(text: str) -> str:
    """A reason as a record keeps it: the start of a traceback's text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= REASON_CHARACTERS else line[: REASON_CHARACTERS - 1] + "…"


@dataclass(frozen=True, slots=True)
class Case:
    """One test's outcome.

    Attributes:
        reason: why it is not `passed`, in one line.
        proves: (field, rung) pairs that the test proves when it passes.
    """

    outcome: Outcome
    duration_s: float = 0.0
    reason: str = ""
    proves: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Audit:
    """One audit's outcome and its own JSON report, None where it gave none."""

    outcome: Outcome
    reason: str = ""
    report: dict[str, Any] | None = None


@dataclass(frozen=True)
class Host:
    """The machine, as far as figures depend on it; nothing that identifies it."""

    cpu: str = ""
    cores: int | None = None
    memory_bytes: int | None = None
    gpus: tuple[str, ...] = ()
    driver: str | None = None


@dataclass(frozen=True)
class CellRecord:
    """One run of one cell.

    Attributes:
        runner: where it ran, and `runner_why` why there.
        status: the worst of everything below; `reason` says what stopped the run, where something did.
        tests: test identity (the node id) to its outcome.
        commit: of the checkout, None where it is no git checkout; `dirty` where files differed from it.
        started: UTC, ISO 8601; so is `ended`.
        image_digest: of the container image, None where the runner uses none.
        origin: the file that it was read from; no part of what is written.
    """

    cell: Cell
    runner: str
    runner_why: str
    status: Outcome
    reason: str
    tests: Mapping[str, Case]
    audits: Mapping[str, Audit]
    packages: Mapping[str, str]
    python: str
    platform: str
    host: Host
    commit: str | None
    dirty: bool | None
    started: str
    ended: str
    duration_s: float
    image_digest: str | None = None
    problems: tuple[str, ...] = field(default=())
    origin: Path | None = field(default=None, compare=False)


_KEYS = tuple(name for name in CellRecord.__dataclass_fields__ if name != "origin")


def counts(record: CellRecord) -> dict[Outcome, int]:
    """How many tests ended each way; every kind is there, also at 0."""
    return dict.fromkeys(Outcome, 0) | Counter(case.outcome for case in record.tests.values())


def in_words(record: CellRecord) -> str:
    """What is bad about a record, in one line; "" where nothing is."""
    audits = [f"audit {name} {audit.outcome}" for name, audit in sorted(record.audits.items()) if audit.outcome.bad]
    tests = [
        f"{number} test{'s' if number > 1 else ''}{' in' if outcome is Outcome.ERROR else ''} {outcome}"
        for outcome, number in counts(record).items()
        if number and outcome.bad
    ]
    return "; ".join([*([record.reason] if record.reason else []), *audits, *tests])


def bad_tests(record: CellRecord, most: int = 10) -> list[str]:
    """Each test that is bad, a line each with its reason, the worst first; what is over `most` is counted."""
    bad = [(name, case) for name, case in record.tests.items() if case.outcome.bad]
    bad.sort(key=lambda item: (-item[1].outcome.rank, item[0]))
    lines = [f"{case.outcome} {name}{': ' + case.reason if case.reason else ''}" for name, case in bad[:most]]
    return [*lines, f"and {len(bad) - most} more"] if len(bad) > most else lines


def to_json(record: CellRecord) -> str:
    document: dict[str, Any] = {"kind": KIND, "schema": SCHEMA, "name": record.cell.name}
    document |= {key: getattr(record, key) for key in _KEYS}
    document["cell"] = _cell_row(record.cell)
    document["host"] = asdict(record.host)
    document["tests"] = {name: case_row(case) for name, case in sorted(record.tests.items())}
    document["audits"] = {name: asdict(audit) for name, audit in sorted(record.audits.items())}
    document["packages"] = dict(sorted(record.packages.items(), key=lambda item: item[0].lower()))
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _cell_row(cell: Cell) -> dict[str, Any]:
    """Keys that records did not have at first are left out where they say nothing, so that old and new read alike."""
    row = asdict(cell)
    nothings = {"without": (), "environment": {}, "expected": True, "limits": {}}
    nothings |= {"base_image": "", "base_digest": "", "system_packages": (), "disk_gb": 0}
    return {key: value for key, value in row.items() if key not in nothings or value != nothings[key]}


def from_json(text: str, origin: str = "record") -> CellRecord:
    """Raises RequestError for another schema or anything that is not a whole record."""
    document = document_of(text, origin, KIND, SCHEMA)
    try:
        return _record(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"{origin}: not a whole cell record ({error!r})", _AGAIN) from error


def document_of(text: str, origin: str, kind: str, schema: int, instead: str = _AGAIN) -> dict[str, Any]:
    """The JSON object of one kind and one schema, which goes up with every change that an older llem would misread.

    Raises:
        RequestError: it is no such object, or its schema is another; the remedy for an older one is `instead`.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{origin}: not JSON: {error}", instead) from error
    if not isinstance(document, dict) or document.get("kind") != kind:
        words = kind.removeprefix("llenergymeasure ")
        raise RequestError(f"{origin}: not a {words}", "give a file that `llem matrix run` wrote")
    found = document.get("schema")
    if type(found) is not int or found != schema:  # True and 1.0 are equal to 1, and no schema
        newer = type(found) is int and found > schema
        remedy = "update llem to the version that wrote it" if newer else instead
        raise RequestError(f"{origin}: record schema {found!r}, this version of llem reads {schema}", remedy)
    return document


def _record(document: dict[str, Any]) -> CellRecord:
    for key in document.keys() - {"kind", "schema", "name", *_KEYS}:
        # What a key says that is not known could change what the others mean.
        raise ValueError(f"unknown key {key}")
    values = {key: document[key] for key in _KEYS}
    for key in ("runner", "runner_why", "reason", "python", "platform", "started", "ended"):
        if not isinstance(document[key], str):
            raise TypeError(f"{key} is not a text")
    for key in ("started", "ended"):
        if datetime.fromisoformat(document[key]).tzinfo is None:
            raise ValueError(f"{key} has no time zone")
    cell = dict(document["cell"])
    cell["requirements"] = tuple(cell["requirements"])
    for key in ("without", "system_packages"):
        cell[key] = tuple(cell.get(key, ()))
    host = dict(document["host"])
    host["gpus"] = tuple(host["gpus"])
    audits = {
        name: Audit(Outcome(row["outcome"]), row["reason"], row["report"]) for name, row in document["audits"].items()
    }
    values |= {
        "cell": Cell(**cell),
        "host": Host(**host),
        "status": Outcome(document["status"]),
        "tests": cases_from_rows(document["tests"]),
        "audits": audits,
        "packages": dict(document["packages"]),
        "problems": tuple(document["problems"]),
    }
    record = CellRecord(**values)
    if document["name"] != record.cell.name:
        raise ValueError(f"it is named {document['name']!r} and is of {record.cell.name}")
    return record


def case_row(case: Case) -> dict[str, Any]:
    """A case's JSON form; what is empty is left out."""
    row: dict[str, Any] = {"outcome": case.outcome, "duration_s": round(case.duration_s, 3)}
    if case.reason:
        row["reason"] = case.reason
    if case.proves:
        row["proves"] = [{"field": name, "rung": rung} for name, rung in case.proves]
    return row


def cases_from_rows(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Case]:
    return {sys.intern(name): _case(row) for name, row in rows.items()}


_KINDS = {str(outcome): outcome for outcome in Outcome}


def _case(row: Mapping[str, Any]) -> Case:
    duration_s, reason = row["duration_s"], row.get("reason", "")
    if not isinstance(reason, str) or not isinstance(duration_s, int | float):
        raise TypeError(f"a test's row is {row!r}")
    proves = row.get("proves")
    return Case(_KINDS[row["outcome"]], duration_s, reason, _pairs(proves) if proves else ())


def _pairs(rows: Iterable[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple([(row["field"], row["rung"]) for row in rows])


def read(path: Path) -> CellRecord:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read ({error})", "give a file that `llem matrix run` wrote") from error
    return replace(from_json(text, str(path)), origin=path)


def write(record: CellRecord, path: Path) -> None:
    write_text(to_json(record), path)


def write_text(text: str, path: Path) -> None:
    """Whole or not at all: an earlier file stays as it was until the new one is complete."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                # NamedTemporaryFile is 0600; a record is meant to be read by others.
                os.fchmod(file.fileno(), 0o644)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        cause = f"{path}: cannot be written: {error.strerror or error}"
        raise EnvironmentLacksError(cause, "make room or choose a folder that can be written with -o") from error
