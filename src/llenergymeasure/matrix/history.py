"""What stays of earlier runs: a small file each, beside the records, so that a trend can be drawn."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.merge import Run, field_states, reduced
from llenergymeasure.matrix.records import CellRecord, Outcome, document_of, read, write, write_text

FOLDER = "history"
KIND = "llenergymeasure cell history"
SCHEMA = 1
_REMEDY = "remove the file; it only adds to the trend"


def replace(record: CellRecord, path: Path) -> str:
    """Write a record; what an earlier one at the same place said goes to the history.

    Returns:
        Why the earlier one could not be kept, "" where it was or there was none.
    """
    problem = ""
    if path.exists():
        try:
            earlier = read(path)
            keep(reduced(earlier, field_states(earlier)), path.parent)
        except RequestError as error:
            problem = f"the earlier record is not kept: {error.cause}"
    write(record, path)
    return problem


def keep(run: Run, records: Path) -> Path:
    """Write a run into the history of a folder of records."""
    ended = datetime.fromisoformat(run.ended).astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    path = records / FOLDER / run.cell / f"{ended}.json"
    write_text(to_json(run), path)
    return path


def read_folder(records: Path) -> Iterator[Run]:
    """Every run in the history of a folder of records; one that cannot be read stops the merge."""
    for path in sorted((records / FOLDER).glob("*/*.json")):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"{path}: cannot be read ({error})", _REMEDY) from error
        yield from_json(text, str(path))


def to_json(run: Run) -> str:
    return json.dumps({"kind": KIND, "schema": SCHEMA, **asdict(run)}, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str, origin: str = "history") -> Run:
    """Raises RequestError for another schema or anything that is no whole run."""
    document = document_of(text, origin, KIND, SCHEMA, _REMEDY)
    try:
        return _run(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"{origin}: not a whole run ({error!r})", _REMEDY) from error


def _run(document: dict[str, Any]) -> Run:
    values = {key: value for key, value in document.items() if key not in ("kind", "schema")}
    counts = {Outcome(kind): number for kind, number in document["counts"].items()}
    for number in (*counts.values(), *document["fields"].values()):
        if type(number) is not int:
            raise TypeError(f"{number!r} is no number of tests or fields")
    for key in ("started", "ended"):
        if datetime.fromisoformat(document[key]).tzinfo is None:
            raise ValueError(f"{key} has no time zone")
    return Run(**(values | {"status": Outcome(document["status"]), "counts": counts}))
