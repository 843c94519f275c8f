"""The report as a maintainer reads it: the verdict first, everything counted, nothing that a pull request chokes on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llenergymeasure.matrix.records import Case, CellRecord, Outcome
from llenergymeasure.matrix.spec import Cell
from llenergymeasure.matrix.upgrade import report as reports
from llenergymeasure.matrix.upgrade.cells import Pair
from llenergymeasure.matrix.upgrade.check import Beside, Report
from llenergymeasure.matrix.upgrade.compare import compare
from llenergymeasure.matrix.upgrade.plan import Plan, make
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import Parameter, Surface

GENERATION = "transformers.GenerationConfig"
ROOT = Path(__file__).parents[4]
HOSTILE = "@maintainer see #1 | <details> `x`\nnext"

MakeRecord = Callable[..., CellRecord]


@pytest.fixture
def plan(old: Surface, plant: Callable[..., Surface]) -> Plan:
    return make(old, plant(GENERATION, {"brand_new": Parameter("brand_new", "int", 1)}), ROOT)


@pytest.fixture
def same(old: Surface) -> Plan:
    return make(old, replace(old, version="9.0.0"), ROOT)


@pytest.fixture
def beside(make_record: MakeRecord, make_cell: Callable[..., Cell]) -> Callable[..., Beside]:
    def beside(new: Outcome, again: Outcome = Outcome.FAILED) -> Beside:
        proves = (("pytorch.num_beams", "observed"),)
        passed, worse = Case(Outcome.PASSED, proves=proves), Case(new, reason=HOSTILE, proves=proves)
        before = make_record(tests={"t.py::t": passed, "t.py::gone": Case(Outcome.PASSED)})
        after = make_record("9.0.0", tests={"t.py::t": worse, "t.py::come": Case(Outcome.PASSED)})
        cases = {"old": passed, "new": Case(again, proves=proves)}
        pair = Pair(make_cell("5.23.0"), make_cell("9.0.0"), ("torch 2.13.0 → 2.14.0: because",))
        return Beside(pair, compare(before, after, {}, lambda side, _: {"t.py::t": cases[side]}), reused=True)

    return beside


def test_the_verdict_says_what_makes_it_red_and_what_was_not_run(
    plan: Plan, same: Plan, beside: Callable[..., Beside]
) -> None:
    assert reports.verdict(Report(plan)) == "red: 1 unaccounted parameter; no cell was run"
    assert reports.verdict(Report(same)) == "green: every parameter accounted for; no cell was run"
    green = Report(same, (beside(Outcome.PASSED),))
    assert (green.red, reports.verdict(green)) == (False, "green: no regression found, every parameter accounted for")
    red = Report(same, (beside(Outcome.FAILED),))
    assert (red.red, reports.verdict(red)) == (True, "red: 1 regression")
    flaky = Report(same, (beside(Outcome.FAILED, again=Outcome.PASSED),))
    assert (flaky.red, reports.verdict(flaky)) == (False, reports.verdict(green))


def test_markdown_has_the_table_first_then_decisions_then_what_is_folded(
    plan: Plan, beside: Callable[..., Beside]
) -> None:
    page = reports.markdown(Report(plan, (beside(Outcome.FAILED),), {"vllm-1.0-cuda": "needs a GPU"}))
    marks = [
        "# pytorch 5.23.0 → 9.0.0",
        "|  | 5.23.0 | 9.0.0 |",
        "| pytorch on cpu: tests failed | 0 | 1 |",
        "Not run: `vllm-1.0-cuda`: needs a GPU.",
        "## Needs a decision",
        "### Worse on the new version (1)",
        "old: passed<br>new: failed<br>new: failed<br>new: failed<br>new: failed",
        "### Fields that fall with it (1)",
        "| `pytorch.num_beams` | observed | failed | `t.py::t: @maintainer",
        "### Unaccounted parameters (1)",
        "`transformers.GenerationConfig:brand_new`",
        "### No longer shown",
        "`t.py::gone`",
        "## For information",
        "<details>\n<summary>",
        "`t.py::come`",
        "torch 2.13.0 → 2.14.0: because",
        "record at hand",
    ]
    places = [page.find(mark) for mark in marks]
    assert -1 not in places, marks[places.index(-1)]
    assert places == sorted(places)


def test_what_a_test_says_cannot_break_the_page(same: Plan, beside: Callable[..., Beside]) -> None:
    page = reports.markdown(Report(same, (beside(Outcome.FAILED),)))
    [row] = [line for line in page.splitlines() if line.startswith("| `t.py::t` |")]
    assert row.endswith("| `@maintainer see #1 \\| <details> 'x' next` |")


def test_a_report_of_any_size_fits_a_pull_request_and_says_what_it_left_out() -> None:
    report = Report(make(snapshots.load("vllm", "0.11.2"), snapshots.load("vllm", "0.33.0"), ROOT))
    page = reports.markdown(report)
    assert len(reports._page(report, 10_000)) > reports.LIMIT
    assert len(page) <= reports.LIMIT
    assert "more in the JSON report." in page
    assert len(json.loads(reports.as_json(report))["plan"]["touched"]) == len(report.plan.touched) > 100


def test_choices_say_which_are_gone_and_which_are_new(old: Surface, plant: Callable[..., Surface]) -> None:
    was = old.entry_points[GENERATION].parameters["cache_implementation"]
    choices = (*(choice for choice in was.choices if choice != "hybrid"), "mixed")
    new = plant(GENERATION, {"cache_implementation": replace(was, choices=choices)})
    assert '| gone: `"hybrid"`<br>new: `"mixed"` |' in reports.markdown(Report(make(old, new, ROOT)))


def test_json_holds_what_the_markdown_says(plan: Plan, beside: Callable[..., Beside]) -> None:
    document = json.loads(reports.as_json(Report(plan, (beside(Outcome.FAILED),), {"c": "why"})))
    assert (document["schema"], document["red"], document["not_run"]) == (1, True, {"c": "why"})
    [cell] = document["cells"]
    [finding] = cell["findings"]
    assert (finding["identity"], finding["verdict"], len(finding["reruns"])) == ("t.py::t", "regression", 5)
    assert cell["numbers"] == {"regressed": 2, "disappeared": 1, "improved": 0, "appeared": 1, "unchanged": 0}
    assert document["plan"]["unaccounted"][0]["name"] == "brand_new"


def test_the_terminal_gets_the_decisions(plan: Plan, beside: Callable[..., Beside]) -> None:
    text = reports.text(Report(plan, (beside(Outcome.FAILED),)))
    assert text.startswith("pytorch 5.23.0 → 9.0.0: red: 1 regression, 1 unaccounted parameter\n")
    assert "  transformers.GenerationConfig:brand_new  int  1  active\n" in text
    assert "<" not in text.replace("<details>", "")
