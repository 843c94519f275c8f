"""Regressions planted at the level of runs: a stand-in for the runner, with its real protocol, does as told."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.matrix import host
from llenergymeasure.matrix.diff import Kind
from llenergymeasure.matrix.records import Audit, Case, CellRecord, Outcome, write
from llenergymeasure.matrix.runners import base
from llenergymeasure.matrix.spec import Cell
from llenergymeasure.matrix.upgrade.cells import Pair
from llenergymeasure.matrix.upgrade.check import Bench, Beside
from llenergymeasure.matrix.upgrade.compare import Comparison, Verdict, compare

MakeRecord = Callable[..., CellRecord]
PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
OLD, NEW = "5.19.0", "5.23.0"


@dataclass
class Stand:
    """Implements `base.Runner`.

    Attributes:
        outcomes: of each version, each test's outcomes, run after run; the last one stays.
        asked: the version and the tests of each run, () for all.
    """

    make_record: MakeRecord
    outcomes: dict[str, dict[str, Iterator[Outcome]]]
    extras: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    name: str = "venv"

    def available(self) -> base.Availability:
        return base.Availability(ok=True, why="here")

    def reaches(self, platform: str, devices: Sequence[str] = ()) -> base.Availability:
        return base.Availability(ok=True, why="here")

    def run(
        self,
        cell: Cell,
        checkout: Path,
        out_dir: Path,
        deadline_s: float,
        on_line: Callable[[str], None],
        devices: Sequence[str] = (),
        *,
        tests: tuple[str, ...] = (),
    ) -> CellRecord:
        self.asked.append((cell.version, tests))
        known = self.outcomes[cell.version]
        cases = {name: Case(next(known[name]), reason="why") for name in tests or known}
        extras = {} if tests else self.extras.get(cell.version, {})
        return self.make_record(cell.version, tests=cases, **extras)


def outcomes(*first: Outcome) -> Iterator[Outcome]:
    return chain(first, repeat(first[-1]))


@pytest.fixture
def stand(make_record: MakeRecord) -> Stand:
    return Stand(make_record, {OLD: {}, NEW: {}})


@pytest.fixture
def beside(stand: Stand, make_cell: Callable[..., Cell], checkout: Path, tmp_path: Path) -> Callable[..., Beside]:
    def beside(
        before: dict[str, Iterable[Outcome]],
        after: dict[str, Iterable[Outcome]],
        renames: dict[str, str] | None = None,
        /,
        **extras: dict[str, Any],
    ) -> Beside:
        stand.outcomes = {
            OLD: {name: outcomes(*items) for name, items in before.items()},
            NEW: {name: outcomes(*items) for name, items in after.items()},
        }
        stand.extras = {OLD: extras.get("old", {}), NEW: extras.get("new", {})}
        bench = Bench(
            stand, "here", checkout, tmp_path / "records", (tmp_path / "kept",), lambda _: None, lambda _: None
        )
        return bench.beside(Pair(make_cell(OLD), make_cell(NEW)), renames or {})

    return beside


@pytest.fixture
def compared(beside: Callable[..., Beside]) -> Callable[..., Comparison]:
    def compared(*arguments: Any, **extras: Any) -> Comparison:
        return beside(*arguments, **extras).comparison

    return compared


def verdicts(found: Comparison) -> dict[str, Verdict]:
    return {finding.identity: finding.verdict for finding in found.findings}


@pytest.mark.parametrize(
    ("old", "new", "verdict", "reruns"),
    [
        ([PASSED], [FAILED], Verdict.REGRESSION, ["old", "new", "new", "new", "new"]),
        ([PASSED], [Outcome.CRASH], Verdict.REGRESSION, ["old", "new", "new", "new", "new"]),
        ([PASSED, FAILED], [FAILED], Verdict.NOT_THE_UPGRADES, ["old"]),
        ([PASSED, Outcome.TIMEOUT], [FAILED], Verdict.NOT_THE_UPGRADES, ["old"]),
        ([FAILED], [Outcome.CRASH], Verdict.NOT_THE_UPGRADES, ["old"]),
        ([PASSED], [FAILED, PASSED], Verdict.FLAKY, ["old", "new"]),
        ([PASSED], [FAILED, FAILED, FAILED, FAILED, PASSED], Verdict.FLAKY, ["old", "new", "new", "new", "new"]),
        ([PASSED], [FAILED, FAILED, FAILED, FAILED, FAILED, PASSED], Verdict.REGRESSION, ["old", *["new"] * 4]),
        ([PASSED], [FAILED, SKIPPED], Verdict.REGRESSION, ["old", "new", "new", "new", "new"]),
        ([SKIPPED], [FAILED], Verdict.NEW_FAILURE, ["new", "new", "new", "new"]),
        ([SKIPPED], [FAILED, FAILED, PASSED], Verdict.FLAKY, ["new", "new"]),
        ([PASSED], [Outcome.XFAIL_OURS], Verdict.KNOWN_GAP, []),
    ],
)
def test_each_test_that_is_worse_is_classified(
    compared: Callable[..., Comparison],
    old: list[Outcome],
    new: list[Outcome],
    verdict: Verdict,
    reruns: list[str],
) -> None:
    found = compared({"t": old, "good": [PASSED]}, {"t": new, "good": [PASSED]})
    [finding] = found.findings
    assert (finding.identity, finding.verdict) == ("t", verdict)
    assert [side for side, _ in finding.reruns] == reruns
    assert bool(found.red) == verdict.red
    explained = verdict in (Verdict.NOT_THE_UPGRADES, Verdict.FLAKY) and old[0] is not SKIPPED
    assert (found.of(Kind.UNCHANGED)[-1].identity == "t") == explained


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ([PASSED], [SKIPPED], Kind.DISAPPEARED),
        ([PASSED], None, Kind.DISAPPEARED),
        ([SKIPPED], [PASSED], Kind.APPEARED),
        (None, [PASSED], Kind.APPEARED),
        ([FAILED], [PASSED], Kind.IMPROVED),
        ([FAILED], [FAILED], Kind.UNCHANGED),
    ],
)
def test_what_is_not_worse_is_not_rerun(
    compared: Callable[..., Comparison],
    stand: Stand,
    old: list[Outcome] | None,
    new: list[Outcome] | None,
    kind: Kind,
) -> None:
    found = compared(
        {"t": old or [], "g": [PASSED]} if old else {"g": [PASSED]}, {"t": new} if new else {"g": [PASSED]}
    )
    assert next(change for change in found.changes if change.identity == "t").kind is kind
    assert found.findings == ()
    assert len(stand.asked) == 2


def test_a_new_test_that_fails_is_red_though_the_old_version_has_none_to_rerun(
    compared: Callable[..., Comparison], stand: Stand
) -> None:
    found = compared({"g": [PASSED]}, {"g": [PASSED], "t": [FAILED]})
    assert verdicts(found) == {"t": Verdict.NEW_FAILURE}
    assert (OLD, ("t",)) not in stand.asked


def test_only_the_suspects_are_rerun_and_each_only_as_long_as_needed(
    compared: Callable[..., Comparison], stand: Stand
) -> None:
    old = {"a": [PASSED], "b": [PASSED, FAILED], "c": [PASSED], "good": [PASSED]}
    new = {"a": [FAILED], "b": [FAILED], "c": [FAILED, FAILED, PASSED], "good": [PASSED]}
    found = compared(old, new)
    assert verdicts(found) == {"a": Verdict.REGRESSION, "b": Verdict.NOT_THE_UPGRADES, "c": Verdict.FLAKY}
    assert stand.asked == [
        (OLD, ()),
        (NEW, ()),
        (OLD, ("a", "b", "c")),
        (NEW, ("a", "c")),
        (NEW, ("a", "c")),
        (NEW, ("a",)),
        (NEW, ("a",)),
    ]


def test_a_test_renamed_through_the_map_is_one_test_and_is_rerun_under_each_name(
    compared: Callable[..., Comparison], stand: Stand
) -> None:
    renames = {"m.py::was[": "m.py::now["}
    fine = compared({"m.py::was[1]": [PASSED]}, {"m.py::now[1]": [PASSED]}, renames)
    assert [change.kind for change in fine.changes] == [Kind.UNCHANGED]
    stand.asked.clear()
    worse = compared({"m.py::was[1]": [PASSED, FAILED]}, {"m.py::now[1]": [FAILED]}, renames)
    assert verdicts(worse) == {"m.py::now[1]": Verdict.NOT_THE_UPGRADES}
    assert (OLD, ("m.py::was[1]",)) in stand.asked


def wiring(**fields: tuple[str, str]) -> dict[str, Any]:
    rows = {name: {"rung": rung, "status": status} for name, (rung, status) in fields.items()}
    bad = any(status == "failed" for _, status in fields.values())
    return {"audits": {"wiring": Audit(FAILED if bad else PASSED, "words" if bad else "", {"fields": rows})}}


def test_a_field_that_the_audit_proves_less_of_is_a_regression_without_reruns(
    compared: Callable[..., Comparison], stand: Stand
) -> None:
    tests = {"g": [PASSED]}
    found = compared(tests, tests, old=wiring(f=("accepted", "passed")), new=wiring(f=("sent", "passed")))
    assert verdicts(found) == {"field f": Verdict.REGRESSION}
    failed = compared(tests, tests, old=wiring(f=("sent", "passed")), new=wiring(f=("declared", "failed")))
    assert verdicts(failed) == {"audit wiring": Verdict.REGRESSION, "field f": Verdict.REGRESSION}
    both = wiring(f=("declared", "failed"))
    assert verdicts(compared(tests, tests, old=both, new=both)) == {"audit wiring": Verdict.NOT_THE_UPGRADES}
    assert {asked for _, asked in stand.asked} == {()}


def test_a_field_is_not_worse_where_only_a_flaky_test_says_so(make_record: MakeRecord) -> None:
    """The field's own row follows what became of the test."""
    old = make_record(tests={"t": Case(PASSED, proves=(("f", "observed"),))})
    new = make_record(tests={"t": Case(FAILED, proves=(("f", "observed"),))})
    again = {"old": {"t": Case(PASSED)}, "new": {"t": Case(PASSED, proves=(("f", "observed"),))}}
    found = compare(old, new, {}, lambda side, _: again[side])
    assert {change.identity: change.kind for change in found.changes} == {
        "t": Kind.UNCHANGED,
        "field f": Kind.UNCHANGED,
    }
    stays = compare(old, new, {}, lambda side, _: {"t": (old if side == "old" else new).tests["t"]})
    assert {change.identity: change.kind for change in stays.changes} == {
        "t": Kind.REGRESSED,
        "field f": Kind.REGRESSED,
    }


def test_a_run_that_dies_is_made_once_more_and_is_red_if_it_dies_again(
    compared: Callable[..., Comparison], stand: Stand
) -> None:
    died = {"status": Outcome.CRASH, "reason": "ended by SIGSEGV"}
    found = compared({"g": [PASSED]}, {"g": [PASSED]}, new=died)
    assert stand.asked == [(OLD, ()), (NEW, ()), (NEW, ())]
    assert [(item.identity, item.verdict, item.reason) for item in found.red] == [
        ("run pytorch-5.23.0-cpu", Verdict.REGRESSION, "ended by SIGSEGV")
    ]


def test_a_new_cell_that_cannot_be_built_is_red(compared: Callable[..., Comparison]) -> None:
    broken = {"status": Outcome.ERROR, "reason": "pip install failed: conflict", "audits": {}}
    found = compared({"g": [PASSED]}, {}, new=broken)
    assert [finding.reason for finding in found.red] == ["pip install failed: conflict"]


def test_without_an_old_run_there_is_nothing_to_compare_with(beside: Callable[..., Beside], stand: Stand) -> None:
    with pytest.raises(EnvironmentLacksError, match=r"pytorch-5\.19\.0-cpu ran no test: no room"):
        beside({}, {"g": [PASSED]}, old={"status": Outcome.ERROR, "reason": "no room"})
    assert [version for version, _ in stand.asked] == [OLD]


def test_a_rerun_that_is_taken_down_by_one_test_is_made_test_by_test(
    beside: Callable[..., Beside], stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that crashes in company hides the others: alone, the other one passes."""
    plain = stand.run

    def run(cell: Cell, *arguments: Any, tests: tuple[str, ...] = ()) -> CellRecord:
        record = plain(cell, *arguments, tests=tests)
        if cell.version == NEW and len(tests) > 1:
            cases = {"a": Case(Outcome.CRASH), "b": Case(SKIPPED)}
            return replace(record, tests=cases, status=Outcome.CRASH, reason="ended by SIGSEGV")
        return record

    monkeypatch.setattr(stand, "run", run)
    found = beside({"a": [PASSED], "b": [PASSED]}, {"a": [Outcome.CRASH], "b": [FAILED, FAILED, PASSED]}).comparison
    assert verdicts(found) == {"a": Verdict.REGRESSION, "b": Verdict.FLAKY}
    assert (NEW, ("b",)) in stand.asked


class TestReuse:
    """An old record stands for a run only where nothing that decides it is another now."""

    @pytest.fixture(autouse=True)
    def now(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """The checkout's commit and whether it has changes."""
        state: dict[str, Any] = {"commit": "c0ffee", "dirty": False}

        def begun(cell: Cell, runner: str, why: str, _checkout: Path) -> base.Start:
            return base.Start(cell, runner, why, started=datetime.now(UTC), **state)

        monkeypatch.setattr(base, "start", begun)
        return state

    @pytest.mark.parametrize(
        ("other", "reused"),
        [
            ({}, True),
            ({"commit": "another"}, False),
            ({"dirty": True}, False),
            ({"runner": "docker"}, False),
            ({"reason": "interrupted"}, False),
            ({"host": None}, False),
            ({"cell": None}, False),
            ({"now": {"dirty": True}}, False),
            ({"now": {"commit": None}, "commit": None}, False),
        ],
    )
    def test_a_record_is_taken_only_of_the_same(
        self,
        beside: Callable[..., Beside],
        stand: Stand,
        make_record: MakeRecord,
        tmp_path: Path,
        now: dict[str, Any],
        other: dict[str, Any],
        reused: bool,
    ) -> None:
        record = make_record(OLD, tests={"g": Case(PASSED)}, commit="c0ffee", dirty=False)
        record = replace(record, host=host.facts())
        other = dict(other)
        now |= other.pop("now", {})
        if "host" in other:
            other = {"host": replace(record.host, cpu="another")}
        if "cell" in other:
            other = {"cell": replace(record.cell, torch="2.12.0")}
        write(replace(record, **other), tmp_path / "kept" / "pytorch-5.19.0-cpu.json")
        found = beside({"g": [PASSED]}, {"g": [PASSED]})
        assert found.reused is reused
        assert [version for version, _ in stand.asked] == ([NEW] if reused else [OLD, NEW])
