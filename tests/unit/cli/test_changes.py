"""`llem matrix diff` over folders, and as Markdown for the summary of a job."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from llenergymeasure.cli.changes import MOST_ROWS
from llenergymeasure.cli.matrix import app
from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.records import Audit, Case, CellRecord, Host, Outcome, write
from llenergymeasure.matrix.spec import Cell

Diff = Callable[..., Result]


def record(version: str, tests: dict[str, Case], ended: str = "2026-11-02T10:00:00+00:00") -> CellRecord:
    return CellRecord(
        cell=Cell("pytorch", version, "transformers", "cpu", python="3.11"),
        runner="venv",
        runner_why="asked for",
        status=Outcome.PASSED,
        reason="",
        tests=tests,
        audits={"wiring": Audit(Outcome.PASSED, report={"fields": {}})},
        packages={},
        python="3.11.2",
        platform="Linux x86_64",
        host=Host("a processor", 2, 8_000_000_000, (), None),
        commit=None,
        dirty=None,
        started="2026-11-02T09:00:00+00:00",
        ended=ended,
        duration_s=1.0,
    )


PASSED = Case(Outcome.PASSED)


@pytest.fixture
def diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Diff:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["diff", *arguments])


def test_folders_are_compared_cell_by_cell_by_the_newest_record_of_each(diff: Diff) -> None:
    write(record("5.0.0", {"a": Case(Outcome.FAILED)}, ended="2026-11-02T09:30:00+00:00"), Path("old/1.json"))
    write(record("5.0.0", {"a": PASSED}), Path("old/0.json"))
    write(record("5.17.0", {"a": PASSED}), Path("old/gone.json"))
    write(record("5.0.0", {"a": Case(Outcome.FAILED, reason="why")}), Path("new/any.json"))
    write(record("5.23.0", {"a": PASSED}), Path("new/first.json"))
    result = diff("old", "new")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "pytorch-5.0.0-cpu:",
        "regressed    a: passed -> failed  why",
        "1 regressed, 0 disappeared, 0 improved, 0 appeared, 0 unchanged",
        "not compared: pytorch-5.23.0-cpu: no record in old",
        "not compared: pytorch-5.17.0-cpu: no record in new",
    ]
    rows = json.loads(diff("old", "new", "--format", "json").stdout)
    assert {name: [row["kind"] for row in found] for name, found in rows.items()} == {
        "pytorch-5.0.0-cpu": ["regressed"]
    }


def test_folders_without_a_regression_end_well(diff: Diff) -> None:
    write(record("5.0.0", {"a": PASSED}), Path("old/a.json"))
    write(record("5.0.0", {"a": PASSED, "b": PASSED}), Path("new/a.json"))
    assert diff("old", "new").exit_code == 0


def test_markdown_is_a_table_that_no_name_and_no_reason_can_break(diff: Diff) -> None:
    name = "test_a[x|y]"
    write(record("5.0.0", {name: PASSED, "same": PASSED}), Path("old.json"))
    write(record("5.0.0", {name: Case(Outcome.FAILED, reason="`a`\n|b| <img> *c*"), "same": PASSED}), Path("new.json"))
    result = diff("old.json", "new.json", "--format", "md")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "### pytorch-5.0.0-cpu",
        "",
        "1 regressed, 0 disappeared, 0 improved, 0 appeared, 1 unchanged",
        "",
        "| change | test or field | before | after | why |",
        "| --- | --- | --- | --- | --- |",
        r"| regressed | test\_a\[x\|y\] | passed | failed | \`a\` \|b\| \<img\> \*c\* |",
    ]


def test_markdown_says_what_it_leaves_out_and_what_was_not_compared(diff: Diff) -> None:
    many = {f"test{number:03}": PASSED for number in range(MOST_ROWS + 7)}
    write(record("5.0.0", {}), Path("old/a.json"))
    write(record("5.0.0", many), Path("new/a.json"))
    write(record("5.23.0", {}), Path("new/b.json"))
    printed = diff("old", "new", "--format", "md").stdout
    assert printed.count("| appeared |") == MOST_ROWS
    assert "7 more changes are not shown." in printed
    assert "### Not compared\n\n- pytorch-5.23.0-cpu: no record in old\n" in printed


def test_without_a_change_there_is_no_empty_table(diff: Diff) -> None:
    write(record("5.0.0", {"a": PASSED}), Path("a.json"))
    printed = diff("a.json", "a.json", "--format", "md").stdout
    assert printed.splitlines()[-1] == "0 regressed, 0 disappeared, 0 improved, 0 appeared, 1 unchanged"


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["old", "a.json"], "old and a.json: one is a folder"),
        (["old", "empty"], "empty: no record in it"),
        (["a.json", "a.json", "--format", "html"], "--format html: no such format"),
    ],
)
def test_refuses_what_cannot_be_compared(diff: Diff, arguments: list[str], cause: str) -> None:
    write(record("5.0.0", {}), Path("a.json"))
    write(record("5.0.0", {}), Path("old/a.json"))
    Path("empty").mkdir()
    error = diff(*arguments).exception
    assert isinstance(error, RequestError)
    assert error.cause == cause
