"""The audits in four forms, read back by the parsers that others use on them."""

import json

import pytest
from lxml import etree

from llenergymeasure.audit import report
from llenergymeasure.audit.coverage import Coverage, Row, coverage
from llenergymeasure.audit.wiring import ABSENT, FAILED, PASSED, Proof, Wiring, wiring
from llenergymeasure.surface import snapshots

COVERAGE = Coverage(
    "pytorch",
    "1.0",
    (
        Row("a.B", "bound", "field", detail="pytorch.bound"),
        Row("a.B", "ours", "owned", detail="The tool sets it."),
        Row("a.B", "gap", "unaccounted"),
    ),
    ("a.B:gap is neither a field nor in the ledger",),
    typed_fields=1,
)
PROOFS = (
    Proof("pytorch.good", "accepted", PASSED),
    Proof("pytorch.refused", "sent", PASSED, "ValueError: <not> today\x1b"),
    Proof("pytorch.lost", "declared", FAILED, 'a.B:lost got "nothing"'),
    Proof("pytorch.gone", "", ABSENT, "1.0 has no a.B:gone"),
)
WIRING = Wiring("pytorch", "1.0", "accepted", PROOFS)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def test_coverage_as_json() -> None:
    document = json.loads(report.coverage_json([COVERAGE], ["stale one"]))
    assert document["schema"] == 1
    assert document["stale"] == ["stale one"]
    (version,) = document["versions"]
    assert version["counts"] == {"field": 1, "owned": 1, "passthrough": 0, "excluded": 0, "unaccounted": 1}
    assert version["problems"] == ["a.B:gap is neither a field nor in the ledger"]
    assert [row["name"] for row in version["parameters"]] == ["bound", "ours", "gap"]


def test_coverage_as_markdown() -> None:
    header, rule, row = report.markdown(report.coverage_table([COVERAGE])).splitlines()
    assert set(cells(rule)) == {"---"}
    assert dict(zip(cells(header), cells(row), strict=True)) == {
        "backend": "pytorch", "version": "1.0", "parameters": "3", "field": "1", "owned": "1", "passthrough": "0",
        "excluded": "0", "unaccounted": "1", "typed fields": "1",
    }  # fmt: skip


def test_a_pipe_in_a_cell_does_not_break_the_table() -> None:
    assert report.markdown((("x",), [("int | None",)])).splitlines()[-1] == "| int \\| None |"


def test_a_table_lines_up() -> None:
    text = report.text((("a", "long header"), [("wide cell", "1")]))
    assert text == "a          long header\nwide cell  1\n"


def test_wiring_counts_stop_at_the_rung_that_was_asked_for() -> None:
    header, rows = report.wiring_table([WIRING])
    assert header == ("backend", "version", "fields", "declared", "sent", "accepted", "failed", "absent")
    assert rows == [("pytorch", "1.0", "4", "0", "1", "1", "1", "1")]


def test_no_version_is_an_empty_table() -> None:
    assert report.wiring_table([])[1] == report.coverage_table([])[1] == []


def test_what_is_sent_with_nothing_set_fails_a_case_of_its_own() -> None:
    bad = Wiring("pytorch", "1.0", "sent", PROOFS, unowned=("a.B:extra gets 1 with nothing set",))
    (suite,) = etree.fromstring(report.wiring_junit([bad]))
    (case,) = suite.xpath("testcase[@name=$name]", name=report.NOTHING_SET)
    assert case.find("failure").get("message") == "a.B:extra gets 1 with nothing set"
    assert suite.get("failures") == str(len(suite.findall("testcase/failure"))) == "2"
    assert json.loads(report.wiring_json([bad]))["unowned"] == ["a.B:extra gets 1 with nothing set"]


@pytest.mark.parametrize("version", snapshots.versions("pytorch"))
def test_the_legends_are_true(version: str) -> None:
    """The columns add up as the line under the table says, and one table's sum is the other's."""
    surface = snapshots.load("pytorch", version)
    header, (line,) = report.coverage_table([coverage(surface)])
    parameters = dict(zip(header, line, strict=True))
    summed = report.COVERAGE_LEGEND.partition(" = ")[2].partition(";")[0].split(" + ")
    assert int(parameters["parameters"]) == sum(int(parameters[name]) for name in summed)
    header, (line,) = report.wiring_table([wiring(surface, "declared")])
    fields = dict(zip(header, line, strict=True))
    assert int(fields["fields"]) == sum(int(fields[name]) for name in ("declared", "failed", "absent"))
    assert int(fields["fields"]) - int(fields["absent"]) == int(parameters["typed fields"])


def test_the_legend_stands_under_the_table() -> None:
    table = (("a",), [("1",)])
    assert report.text(table, "what it counts").splitlines() == ["a", "1", "what it counts"]
    assert report.markdown(table, "what it counts").splitlines()[-2:] == ["", "what it counts"]


def test_wiring_of_one_version_is_the_document_itself() -> None:
    document = json.loads(report.wiring_json([WIRING]))
    assert document["schema"] == 1
    assert document["version"] == "1.0"
    assert document["fields"]["pytorch.lost"] == {
        "rung": "declared", "status": "failed", "reason": 'a.B:lost got "nothing"',
    }  # fmt: skip
    assert [item["version"] for item in json.loads(report.wiring_json([WIRING, WIRING]))["versions"]] == ["1.0", "1.0"]


@pytest.fixture
def suite() -> etree._Element:
    (found,) = etree.fromstring(report.wiring_junit([WIRING]))
    return found


def test_wiring_as_junit_counts_right(suite: etree._Element) -> None:
    assert suite.get("name") == "wiring.pytorch.1.0"
    assert suite.get("tests") == str(len(suite.findall("testcase"))) == "5"  # the fields, and nothing set
    assert suite.get("failures") == str(len(suite.findall("testcase/failure"))) == "1"


@pytest.mark.parametrize(
    ("name", "outcome", "message", "rung"),
    [
        ("pytorch.good", None, None, "accepted"),
        ("pytorch.refused", "skipped", "ValueError: <not> today", "sent"),
        ("pytorch.lost", "failure", 'a.B:lost got "nothing"', "declared"),
        ("pytorch.gone", "skipped", "1.0 has no a.B:gone", None),
    ],
)
def test_wiring_as_junit_keeps_the_outcomes_apart(
    suite: etree._Element, name: str, outcome: str | None, message: str | None, rung: str | None
) -> None:
    (case,) = suite.xpath("testcase[@name=$name]", name=name)
    properties = {item.get("name"): item.get("value") for item in case.iter("property")}
    assert properties.get("field") == name
    assert properties.get("rung") == rung
    found = [child for child in case if child.tag != "properties"]
    assert [child.tag for child in found] == ([outcome] if outcome else [])
    assert [child.get("message").strip() for child in found] == ([message] if message else [])
