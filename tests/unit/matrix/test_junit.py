import subprocess
import sys
from pathlib import Path

import pytest

from llenergymeasure.matrix import junit
from llenergymeasure.matrix.junit import JUnitReport
from llenergymeasure.matrix.records import Case, Outcome

UPSTREAM = '<properties><property name="xfail" value="upstream"/></properties>'


def parse(tmp_path: Path, text: str) -> JUnitReport:
    path = tmp_path / "junit.xml"
    path.write_text(text, encoding="utf-8")
    return junit.read(path)


def suite(cases: str) -> str:
    return f'<?xml version="1.0"?><testsuites><testsuite name="pytest">{cases}</testsuite></testsuites>'


@pytest.mark.parametrize(
    ("inside", "outcome", "reason"),
    [
        ("", Outcome.PASSED, ""),
        ('<failure message="assert 1 == 2">long text</failure>', Outcome.FAILED, "assert 1 == 2"),
        (
            '<error message="collection failure">t.py:1: in x\n    import y\nE   ModuleNotFoundError: y</error>',
            Outcome.ERROR,
            "collection failure ModuleNotFoundError: y",
        ),
        ("<failure>only\n  text</failure>", Outcome.FAILED, "only text"),
        ('<error message="fixture broke"/>', Outcome.ERROR, "fixture broke"),
        ('<error message="teardown"/><failure message="call"/>', Outcome.ERROR, "teardown"),
        ('<skipped type="pytest.skip" message="no GPU">a.py:3: no GPU</skipped>', Outcome.SKIPPED, "no GPU"),
        ("<skipped/>", Outcome.SKIPPED, ""),
        ('<skipped type="pytest.xfail" message="later"/>', Outcome.XFAIL_OURS, "later"),
        (
            UPSTREAM + '<skipped type="pytest.xfail" message="bug"/>',
            Outcome.XFAIL_UPSTREAM,
            "bug",
        ),
    ],
)
def test_outcomes_are_kept_apart(tmp_path: Path, inside: str, outcome: Outcome, reason: str) -> None:
    report = parse(tmp_path, suite(f'<testcase classname="t.m" name="test_a" time="0.5">{inside}</testcase>'))
    assert report == JUnitReport({"t.m::test_a": Case(outcome, 0.5, reason)})


@pytest.mark.parametrize(
    ("attributes", "identity"),
    [
        ('file="tests/a/test_m.py" classname="tests.a.test_m" name="test_x[1]"', "tests/a/test_m.py::test_x[1]"),
        ('file="tests/a/test_m.py" classname="tests.a.test_m.TestK" name="test_x"', "tests/a/test_m.py::TestK::test_x"),
        ('file="tests/a/test_m.py" classname="" name="tests.a.test_m"', "tests/a/test_m.py"),
        ('classname="tests.a.test_m" name="test_x"', "tests.a.test_m::test_x"),
        ('classname="" name="tests.a.test_m"', "tests.a.test_m"),
    ],
)
def test_an_identity_is_the_node_id_where_the_file_is_named(tmp_path: Path, attributes: str, identity: str) -> None:
    assert list(parse(tmp_path, suite(f"<testcase {attributes}/>")).cases) == [identity]


def test_proofs_are_pairs_in_their_order(tmp_path: Path) -> None:
    properties = "".join(
        f'<property name="{name}" value="{value}"/>'
        for name, value in [
            ("field", "p.a"),
            ("rung", "observed"),
            ("other", "x"),
            ("field", "p.b"),
            ("rung", "effective"),
        ]
    )
    report = parse(
        tmp_path, suite(f'<testcase classname="m" name="a"><properties>{properties}</properties></testcase>')
    )
    assert report.cases["m::a"].proves == (("p.a", "observed"), ("p.b", "effective"))


def test_a_test_that_failed_twice_keeps_the_worse(tmp_path: Path) -> None:
    case = '<testcase classname="m" name="a"><{0} message="{0}"/></testcase>'
    report = parse(tmp_path, suite(case.format("error") + case.format("failure")))
    assert report.cases["m::a"].outcome is Outcome.ERROR


def test_a_bare_testsuite_is_read_too(tmp_path: Path) -> None:
    assert parse(tmp_path, '<testsuite><testcase classname="m" name="a"/></testsuite>').cases


@pytest.mark.parametrize("time", ["nan", "inf", "-1", "1,5", ""])
def test_a_time_that_is_no_duration_counts_as_none(tmp_path: Path, time: str) -> None:
    report = parse(tmp_path, suite(f'<testcase classname="m" name="a" time="{time}"/>'))
    assert report.cases["m::a"].duration_s == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "broken after 0 tests"),
        ("Traceback (most recent call last):", "broken after 0 tests"),
        ("<html><body/></html>", "its root is <html>"),
        ('<testsuites><testsuite><testcase classname="m" name="a"/><testcase', "broken after 1 tests"),
        ('<testsuites><testsuite><testcase classname="m" name="a"/>', "broken after 1 tests"),
        ('<!DOCTYPE t SYSTEM "http://localhost/x.dtd"><testsuites/>', "declares a DOCTYPE"),
    ],
)
def test_a_bad_file_is_a_problem_and_what_was_read_stays(tmp_path: Path, text: str, problem: str) -> None:
    report = parse(tmp_path, text)
    assert problem in report.problems[0]
    assert len(report.cases) == (1 if "after 1" in problem else 0)


def test_entities_are_never_expanded(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret words")
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE t [<!ENTITY l0 "ha">{levels}<!ENTITY file SYSTEM "{tmp_path}/secret">]>'
    for use in ('<testcase classname="m" name="&l9;"/>', "<testcase><failure>&l9;&file;</failure></testcase>"):
        report = parse(tmp_path, f"{bomb}<testsuites><testsuite>{use}</testsuite></testsuites>")
        assert report.problems
        assert "secret words" not in repr(report)
        assert len(repr(report)) < 1000


@pytest.mark.parametrize("depth", [1, 200])
def test_suites_inside_suites_lose_no_test(tmp_path: Path, depth: int) -> None:
    inside = '<testcase classname="m" name="a{0}"/><testsuite><testcase classname="m" name="b{0}"/>'
    text = "".join(inside.format(level) for level in range(depth)) + "</testsuite>" * depth
    report = parse(tmp_path, suite(text + '<testcase classname="m" name="last"/>'))
    assert not report.problems
    assert len(report.cases) == 2 * depth + 1


def test_suites_nested_without_end_are_a_problem(tmp_path: Path) -> None:
    report = parse(tmp_path, "<testsuites>" + "<testsuite>" * 100_000)
    assert "broken after 0 tests" in report.problems[0]


def test_a_long_output_inside_a_test_is_a_problem_not_the_end(tmp_path: Path) -> None:
    first = '<testcase classname="m" name="a"/>'
    report = parse(tmp_path, suite(f"{first}<testcase><failure>{'x' * 11_000_000}</failure></testcase>"))
    assert list(report.cases) == ["m::a"]
    assert "broken after 1 tests" in report.problems[0]


def test_a_large_file_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    output = "x" * 1_000_000
    with path.open("w") as file:
        file.write("<testsuites><testsuite>")
        for number in range(100):
            file.write(f'<testcase classname="m" name="t{number}"><system-out>{output}</system-out></testcase>')
        file.write("</testsuite></testsuites>")
    # In a process of its own: the most that this one ever took is in it already.
    script = (
        "import resource, sys; from pathlib import Path; from llenergymeasure.matrix import junit\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "report = junit.read(Path(sys.argv[1]))\n"
        "assert len(report.cases) == 100 and not report.problems, report\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    path.unlink()  # pytest would keep its 100 MB
    kilobytes = int(done.stdout) / (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 30_000


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    assert junit.read(tmp_path / "junit.xml").problems == ("junit.xml: No such file or directory",)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "junit.xml").open("wb") as file:
        file.truncate(junit.MAX_BYTES + 1)  # sparse: takes no room
    assert "more than the" in junit.read(tmp_path / "junit.xml").problems[0]


def test_a_long_reason_is_cut_to_one_line(tmp_path: Path) -> None:
    report = parse(tmp_path, suite(f'<testcase name="a"><failure message="{"word&#10;" * 1000}"/></testcase>'))
    reason = report.cases["a"].reason
    assert len(reason) <= 400
    assert "\n" not in reason
