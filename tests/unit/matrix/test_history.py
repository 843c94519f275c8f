import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix import history
from llenergymeasure.matrix.merge import field_states, merge, read_folder, reduced
from llenergymeasure.matrix.records import Case, CellRecord, Outcome, read, write
from llenergymeasure.matrix.spec import Cell, Spec

MakeRecord = Callable[..., CellRecord]

FIELDS = {"pytorch.dtype": {"rung": "accepted", "status": "passed", "reason": ""}}


def record_of(make_record: MakeRecord, day: int, **others: object) -> CellRecord:
    times = {"started": f"2026-11-{day:02}T09:00:00+00:00", "ended": f"2026-11-{day:02}T10:00:00+00:00"}
    return make_record(**(times | others))


def test_what_a_new_record_replaces_stays_in_the_history(make_record: MakeRecord, cell: Cell, tmp_path: Path) -> None:
    path = tmp_path / "pytorch-5.23.0-cpu.json"
    tests = {"a": Case(Outcome.PASSED), "b": Case(Outcome.FAILED, reason="why")}
    first = record_of(make_record, 1, tests=tests, fields=FIELDS, status=Outcome.FAILED)
    second, third = (record_of(make_record, day, tests={"a": Case(Outcome.PASSED)}) for day in (2, 3))
    for record in (first, second, third):
        assert history.replace(record, path) == ""
    assert read(path) == third
    kept = list(history.read_folder(tmp_path))
    assert kept == [reduced(record, field_states(record)) for record in (first, second)]
    assert kept[0].bad == {"b": "why"}
    assert kept[0].fields == {"accepted": 1}
    [view] = merge(read_folder(tmp_path), Spec((cell,)), kept).cells
    assert [run.ended for run in view.runs] == [record.ended for record in (first, second, third)]
    assert view.record
    assert view.record.ended == third.ended


def test_a_kept_run_is_small_whatever_ran(make_record: MakeRecord, tmp_path: Path) -> None:
    outcomes = [Outcome.PASSED, Outcome.FAILED]
    tests = {
        f"tests/test_a.py::test_{number}": Case(outcomes[number % 2], reason=f"why {number}") for number in range(2000)
    }
    path = tmp_path / "a.json"
    history.replace(record_of(make_record, 1, tests=tests), path)
    size = path.stat().st_size
    history.replace(record_of(make_record, 2), path)
    [kept] = tmp_path.glob("history/*/*.json")
    assert kept.stat().st_size * 50 < size
    [run] = history.read_folder(tmp_path)
    assert run.failed == 1000
    assert next(iter(run.bad.items())) == ("tests/test_a.py::test_1", "why 1")


def test_an_earlier_record_that_cannot_be_read_is_replaced_and_said(make_record: MakeRecord, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{")
    assert "a.json: not JSON" in history.replace(record_of(make_record, 1), path)
    assert read(path) == record_of(make_record, 1)
    assert not list(history.read_folder(tmp_path))


def test_several_records_of_one_cell_are_its_history_too(make_record: MakeRecord, cell: Cell, tmp_path: Path) -> None:
    for day in (3, 1, 2):
        write(record_of(make_record, day), tmp_path / f"run-{day}.json")
    [view] = merge(read_folder(tmp_path), Spec((cell,))).cells
    assert [run.ended[:10] for run in view.runs] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert view.record
    assert view.record.origin == tmp_path / "run-3.json"


def test_the_history_of_a_cell_without_a_record_makes_it_no_less_missing(
    make_record: MakeRecord, cell: Cell, tmp_path: Path
) -> None:
    record = record_of(make_record, 1)
    history.keep(reduced(record, field_states(record)), tmp_path)
    [view] = merge([], Spec((cell,)), history.read_folder(tmp_path)).cells
    assert (view.status, view.red, len(view.runs)) == ("missing", True, 1)


@pytest.mark.parametrize(
    ("change", "cause", "remedy"),
    [
        ({"schema": 2}, "record schema 2, this version of llem reads 1", "update llem"),
        ({"schema": 0}, "record schema 0", "remove the file"),
        ({"kind": "llenergymeasure cell record"}, "not a cell history", ""),
        ({"counts": {"flaky": 1}}, "not a whole run", "remove the file"),
        ({"counts": {"passed": "1"}}, "not a whole run", "remove the file"),
        ({"ended": "2026-11-01T10:00:00"}, "not a whole run", "remove the file"),
        ({"other": 1}, "not a whole run", "remove the file"),
    ],
)
def test_another_schema_is_refused_not_misread(
    make_record: MakeRecord, tmp_path: Path, change: dict[str, object], cause: str, remedy: str
) -> None:
    record = record_of(make_record, 1)
    path = history.keep(reduced(record, field_states(record)), tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RequestError) as caught:
        list(history.read_folder(tmp_path))
    assert str(path) in caught.value.cause
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
