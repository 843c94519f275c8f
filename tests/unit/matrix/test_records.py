import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix import records
from llenergymeasure.matrix.records import (
    Audit,
    Case,
    CellRecord,
    Outcome,
    bad_tests,
    counts,
    from_json,
    in_words,
    read,
    to_json,
    write,
)
from llenergymeasure.matrix.spec import Cell

MakeRecord = Callable[..., CellRecord]

ONE_OF_EACH = {
    f"tests/test_a.py::test_{outcome}": Case(outcome, 0.25, f"because {outcome}", (("pytorch.num_beams", "observed"),))
    for outcome in Outcome
}


def test_a_record_reads_back_as_it_was(make_record: MakeRecord) -> None:
    audits = {"coverage": Audit(Outcome.ERROR, "gave no JSON"), "wiring": Audit(Outcome.PASSED, report={"fields": {}})}
    written = make_record(tests=ONE_OF_EACH, audits=audits, problems=("no test ran",), commit=None, dirty=None)
    assert from_json(to_json(written)) == written


def test_what_a_cells_image_is_made_of_is_kept_and_older_records_without_it_are_read(make_record: MakeRecord) -> None:
    written = make_record()
    cell = dataclasses.replace(written.cell, base_image="python:3.11-slim", system_packages=("g++",), disk_gb=2.5)
    assert from_json(to_json(dataclasses.replace(written, cell=cell))).cell == cell
    assert not {"base_image", "base_digest", "system_packages", "disk_gb"} & json.loads(to_json(written))["cell"].keys()


def test_every_kind_is_counted_apart(make_record: MakeRecord) -> None:
    assert counts(make_record(tests=ONE_OF_EACH)) == dict.fromkeys(Outcome, 1)
    assert counts(make_record()) == dict.fromkeys(Outcome, 0)


def test_a_red_record_says_in_a_line_what_is_bad(make_record: MakeRecord) -> None:
    audits = {"coverage": Audit(Outcome.ERROR, "gave no JSON"), "wiring": Audit(Outcome.PASSED, report={})}
    red = make_record(tests=ONE_OF_EACH, audits=audits, reason="still running after 5 s")
    words = (
        "still running after 5 s; audit coverage error; 1 test failed; 1 test in error; 1 test timeout; 1 test crash"
    )
    assert in_words(red) == words
    assert in_words(make_record()) == ""


def test_bad_tests_are_named_the_worst_first(make_record: MakeRecord) -> None:
    named = bad_tests(make_record(tests=ONE_OF_EACH), most=3)
    assert named == [
        "crash tests/test_a.py::test_crash: because crash",
        "timeout tests/test_a.py::test_timeout: because timeout",
        "error tests/test_a.py::test_error: because error",
        "and 1 more",
    ]
    assert bad_tests(make_record()) == []


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"schema": 2}, "record schema 2, this version of llem reads 1"),
        ({"schema": 0}, "record schema 0"),
        ({"schema": None}, "record schema None"),
        ({"schema": True}, "record schema True"),
        ({"schema": 1.0}, "record schema 1.0"),
        ({"schema": "1"}, "record schema '1'"),
        ({"kind": "result"}, "not a cell record"),
        ({"tests": {"a": {"outcome": "flaky", "duration_s": 1}}}, "not a whole cell record"),
        ({"tests": None}, "not a whole cell record"),
        ({"cell": {"backend": "pytorch"}}, "not a whole cell record"),
        ({"name": "pytorch-5.0.0-cpu"}, "it is named 'pytorch-5.0.0-cpu' and is of pytorch-5.23.0-cpu"),
        ({"retries": 3}, "unknown key retries"),
        ({"ended": "yesterday"}, "not a whole cell record"),
        ({"ended": "2026-11-02T10:00:00"}, "ended has no time zone"),
        ({"started": None}, "started is not a text"),
        ({"reason": None}, "reason is not a text"),
        ({"status": "fine"}, "not a whole cell record"),
        ({"tests": {"a": {"outcome": "passed", "duration_s": "1"}}}, "a test's row"),
        ({"tests": {"a": {"outcome": "failed", "duration_s": 1, "reason": ["x"]}}}, "a test's row"),
        ({"tests": {"a": {"outcome": "passed", "duration_s": 1, "proves": [["f", "observed"]]}}}, "not a whole"),
    ],
)
def test_another_schema_is_refused_not_misread(make_record: MakeRecord, change: dict[str, object], cause: str) -> None:
    document = json.loads(to_json(make_record())) | change
    with pytest.raises(RequestError) as caught:
        from_json(json.dumps(document), "a.json")
    assert caught.value.cause.startswith("a.json: ")
    assert cause in caught.value.cause


@pytest.mark.parametrize(
    ("schema", "remedy"),
    [(2, "update llem to the version that wrote it"), (0, "run the cell again with `llem matrix run`")],
)
def test_a_record_of_another_schema_says_what_to_do(make_record: MakeRecord, schema: int, remedy: str) -> None:
    with pytest.raises(RequestError) as caught:
        from_json(json.dumps(json.loads(to_json(make_record())) | {"schema": schema}))
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("text", ["", "[]", "3", '{"kind": "llenergymeasure cell rec', "[" * 100_000])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(RequestError, match=r"a\.json"):
        read(tmp_path / "a.json")


def test_a_record_without_a_key_is_refused(make_record: MakeRecord) -> None:
    document = json.loads(to_json(make_record()))
    del document["image_digest"]
    with pytest.raises(RequestError, match="image_digest"):
        from_json(json.dumps(document))


def test_a_write_that_fails_leaves_the_earlier_record_whole(
    make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write(make_record(), path)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(EnvironmentLacksError, match="No space left on device"):
        write(make_record(tests=ONE_OF_EACH), path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_made_is_named(make_record: MakeRecord, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentLacksError, match="cannot be written"):
        write(make_record(), tmp_path / "file" / "a.json")


def test_a_record_keeps_what_its_cell_left_out_and_pinned(make_record: MakeRecord, cell: Cell) -> None:
    pinned = dataclasses.replace(
        cell, without=("torchvision",), environment={"VLLM_NO_USAGE_STATS": "1"}, expected=False
    )
    written = make_record(cell=pinned)
    assert from_json(to_json(written)) == written


def test_a_record_from_before_a_cell_could_leave_anything_out_still_reads(make_record: MakeRecord) -> None:
    document = json.loads(to_json(make_record()))
    assert not {"without", "environment", "expected"} & document["cell"].keys()
    assert from_json(json.dumps(document)) == make_record()


def test_the_projects_own_records_read() -> None:
    folder = Path(__file__).parents[3] / "docs" / "records"
    found = [read(path) for path in sorted(folder.glob("*.json"))]
    assert {record.cell.backend for record in found} >= {"pytorch"}
    assert all(record.cell.expected for record in found if record.cell.platform == "cpu")
