from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.merge import FieldState, field_states, merge, read_folder
from llenergymeasure.matrix.records import Case, CellRecord, Outcome, write
from llenergymeasure.matrix.spec import Cell, Spec

MakeRecord = Callable[..., CellRecord]
MakeCell = Callable[..., Cell]


def proof(outcome: Outcome, rung: str, reason: str = "") -> Case:
    return Case(outcome, 1.0, reason, (("pytorch.num_beams", rung),))


ACCEPTED = {"rung": "accepted", "status": "passed", "reason": ""}


@pytest.mark.parametrize(
    ("wiring", "tests", "shown", "reason"),
    [
        (ACCEPTED, {}, "accepted", ""),
        (ACCEPTED, {"a": proof(Outcome.PASSED, "effective"), "b": proof(Outcome.PASSED, "observed")}, "observed", ""),
        (ACCEPTED, {"a": proof(Outcome.PASSED, "observed"), "b": proof(Outcome.PASSED, "effective")}, "observed", ""),
        (None, {"a": proof(Outcome.PASSED, "effective")}, "effective", ""),
        (
            ACCEPTED,
            {"a": proof(Outcome.PASSED, "observed"), "b": proof(Outcome.FAILED, "effective", "no")},
            "failed",
            "b: no",
        ),
        (
            ACCEPTED,
            {"a": proof(Outcome.CRASH, "effective"), "b": proof(Outcome.PASSED, "observed")},
            "failed",
            "a: crash",
        ),
        (ACCEPTED, {"a": proof(Outcome.SKIPPED, "observed", "no GPU")}, "accepted", "observed: skipped: no GPU"),
        (None, {"a": proof(Outcome.SKIPPED, "observed", "no GPU")}, "not run", "observed: skipped: no GPU"),
        (
            ACCEPTED,
            {"a": proof(Outcome.XFAIL_UPSTREAM, "observed", "bug")},
            "accepted",
            "observed: xfail_upstream: bug",
        ),
        ({"rung": "sent", "status": "absent", "reason": "since 5.0"}, {}, "absent", "since 5.0"),
        (
            {"rung": "sent", "status": "absent", "reason": "since 5.0"},
            {"a": proof(Outcome.PASSED, "observed")},
            "absent",
            "since 5.0",
        ),
        (
            {"rung": "sent", "status": "failed", "reason": "got 1"},
            {"a": proof(Outcome.PASSED, "observed")},
            "failed",
            "got 1",
        ),
        ({"rung": "flying", "status": "passed", "reason": ""}, {}, "failed", "rung flying"),
        ({}, {}, "failed", "no status"),
    ],
)
def test_a_fields_rung_is_the_highest_that_held_and_a_failure_outweighs_it(
    make_record: MakeRecord, wiring: dict[str, str] | None, tests: dict[str, Case], shown: str, reason: str
) -> None:
    fields = {} if wiring is None else {"pytorch.num_beams": wiring}
    state = field_states(make_record(tests=tests, fields=fields))["pytorch.num_beams"]
    assert state.shown == shown
    assert reason in state.reason


def test_the_newest_record_of_a_cell_counts_also_when_it_is_worse(make_record: MakeRecord, make_cell: MakeCell) -> None:
    good = make_record(ended="2026-11-01T10:00:00+00:00")
    bad = make_record(ended="2026-11-02T10:00:00+00:00", status=Outcome.CRASH)
    for records in ([good, bad], [bad, good]):
        matrix = merge(records, Spec((make_cell(),)))
        assert matrix.cells[0].status == "crash"
        assert [view.cell.name for view in matrix.red] == ["pytorch-5.23.0-cpu"]


def test_times_are_compared_across_zones(make_record: MakeRecord, make_cell: MakeCell) -> None:
    earlier = make_record(ended="2026-11-02T10:30:00+02:00")
    later = make_record(ended="2026-11-02T09:00:00+00:00")
    [view] = merge([later, earlier], Spec((make_cell(),))).cells
    assert view.record
    assert view.record.ended == later.ended


def test_a_pinned_cell_without_a_record_is_red(make_record: MakeRecord, make_cell: MakeCell) -> None:
    matrix = merge([make_record("5.23.0")], Spec((make_cell("5.0.0"), make_cell("5.23.0"))))
    assert [view.status for view in matrix.cells] == ["missing", "passed"]
    assert [view.cell.version for view in matrix.red] == ["5.0.0"]


@pytest.mark.parametrize(
    ("record", "status", "red", "behind_days"),
    [
        (None, "not run", False, 0),
        ({}, "passed", False, 0),
        ({"status": Outcome.FAILED}, "failed", True, 0),
        ({"ended": "2026-10-20T10:00:00+00:00"}, "passed", False, 13),
        ({"ended": "2026-10-20T10:00:00+00:00", "status": Outcome.CRASH}, "crash", True, 13),
    ],
)
def test_a_cell_that_runs_on_request_is_not_run_without_a_record_and_counts_with_one(
    make_record: MakeRecord,
    make_cell: MakeCell,
    record: dict[str, Any] | None,
    status: str,
    red: bool,
    behind_days: int,
) -> None:
    cells = (make_cell(), make_cell("0.33.0", "vllm", "cuda", expected=False))
    of_cuda = [] if record is None else [make_record("0.33.0", backend="vllm", platform="cuda", **record)]
    matrix = merge([make_record(), *of_cuda], Spec(cells))
    view = matrix.cells[1]
    assert (view.status, view.red, view.behind_days) == (status, red, behind_days)
    assert matrix.red == ((view,) if red else ())
    assert matrix.not_run == ((view,) if record is None else ())


def test_a_request_does_not_excuse_a_cell_of_another_platform(make_cell: MakeCell) -> None:
    cells = (make_cell("0.32.0", "vllm"), make_cell("0.32.0", "vllm", "cuda", expected=False))
    assert [view.status for view in merge([], Spec(cells)).cells] == ["missing", "not run"]


def test_age_counts_from_the_newest_record(make_record: MakeRecord, make_cell: MakeCell) -> None:
    records = [
        make_record("5.0.0", ended="2026-10-20T10:00:00+00:00"),
        make_record("5.23.0", ended="2026-11-02T10:00:00+00:00"),
        make_record("9.9.9", ended="2026-12-02T10:00:00+00:00"),
    ]
    matrix = merge(records, Spec((make_cell("5.0.0"), make_cell("5.23.0"))))
    assert [view.behind_days for view in matrix.cells] == [13, 0]
    assert matrix.strays == ("pytorch-9.9.9-cpu",)


def test_a_field_that_a_cell_says_nothing_of_is_not_run_there(make_record: MakeRecord, make_cell: MakeCell) -> None:
    records = [make_record("5.0.0"), make_record("5.23.0", fields={"pytorch.num_beams": ACCEPTED})]
    cells = (make_cell("4.57.6"), make_cell("5.0.0"), make_cell("5.23.0"), make_cell("0.33.0", "vllm"))
    assert merge(records, Spec(cells)).fields == {
        "pytorch.num_beams": {
            "pytorch-4.57.6-cpu": FieldState("not run"),
            "pytorch-5.0.0-cpu": FieldState("not run"),
            "pytorch-5.23.0-cpu": FieldState("accepted"),
        }
    }


def test_a_folder_with_a_broken_record_is_refused(make_record: MakeRecord, tmp_path: Path) -> None:
    write(make_record(), tmp_path / "a.json")
    assert len(list(read_folder(tmp_path))) == 1
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(RequestError, match=r"b\.json"):
        list(read_folder(tmp_path))
