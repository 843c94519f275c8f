"""Two records of an upgrade held against each other: what is the upgrade's own fault, and what only looks like it."""

import dataclasses
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from llenergymeasure.matrix.diff import Change, Kind, diff, renamed
from llenergymeasure.matrix.records import Case, CellRecord, Outcome

RERUNS = 4

Side = Literal["old", "new"]
Rerun = Callable[[Side, tuple[str, ...]], Mapping[str, Case]]
"""Runs exactly some tests in the old or the new cell once more; what it could not run is not in its answer."""


class Verdict(StrEnum):
    """What became of something that looks worse on the new version, the worst first."""

    REGRESSION = "regression"
    NEW_FAILURE = "new failure"
    KNOWN_GAP = "known gap"
    FLAKY = "flaky"
    NOT_THE_UPGRADES = "not the upgrade's"

    @property
    def red(self) -> bool:
        return self in (Verdict.REGRESSION, Verdict.NEW_FAILURE)


@dataclass(frozen=True)
class Finding:
    """One test, audit, field or run that is worse on the new version than on the old.

    Attributes:
        old: its outcome or rung there, "" where it was not run; so is `new`.
        reruns: what the reruns gave, in their order, each with the side it was made on.
    """

    identity: str
    verdict: Verdict
    old: str
    new: str
    reason: str = ""
    reruns: tuple[tuple[Side, str], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Two records, and what is left of their differences once the reruns are taken into account.

    Attributes:
        changes: by test and field, those that the reruns explained away as unchanged.
    """

    old: CellRecord
    new: CellRecord
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]

    @property
    def red(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict.red)

    def of(self, kind: Kind) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind is kind)


def compare(old: CellRecord, new: CellRecord, renames: Mapping[str, str], rerun: Rerun) -> Comparison:
    """Nothing is called a regression before it was rerun: once on the old version, then up to four times on the new.

    What fails on the old version, too, is not the upgrade's; what passes once on the new one is flaky. Audits and what
    they say of fields are computed, not tried: they are not rerun.
    """
    old_names = {renamed(name, renames): name for name in old.tests}
    known = {*old_names, *new.tests}
    worse = {change.identity: change for change in diff(old, new, renames) if _is_worse(change, known)}
    gaps = [change for change in worse.values() if change.new in _GAPS]
    tried = {name: change for name, change in worse.items() if change.new not in _GAPS}
    log: _Log = {name: [] for name in tried}
    failing = _failing_there(tried, old_names, rerun, log)
    passing = _passing_again(tuple(name for name in tried if name not in failing), rerun, log)
    findings = [
        *(_finding(change, _verdict(change, failing, passing), log[name]) for name, change in tried.items()),
        *(_finding(change, Verdict.KNOWN_GAP) for change in gaps),
        *_runs(old, new),
        *_audits(old, new),
        *_fields(old, new),
    ]
    order = list(Verdict)
    findings.sort(key=lambda finding: (order.index(finding.verdict), finding.identity))
    # A test that fails on both sides is unchanged, whichever way it fails.
    alike = {
        old_names[name]: dataclasses.replace(new.tests[name], proves=case.proves) for name, case in failing.items()
    }
    settled = (
        dataclasses.replace(old, tests={**old.tests, **alike}),
        dataclasses.replace(new, tests={**new.tests, **passing}),
    )
    return Comparison(old, new, tuple(diff(*settled, renames)), tuple(findings))


_GAPS = (Outcome.XFAIL_OURS, Outcome.XFAIL_UPSTREAM)
_BAD = tuple(outcome for outcome in Outcome if outcome.bad)
_Log = dict[str, list[tuple[Side, str]]]


def _is_worse(change: Change, tests: Container[str]) -> bool:
    """Also what fails and was not run before: a failure is never shown as a test that merely appeared."""
    appeared_bad = change.kind is Kind.APPEARED and change.new in _BAD
    return change.identity in tests and (change.kind is Kind.REGRESSED or appeared_bad)


def _failing_there(
    tried: Mapping[str, Change], old_names: Mapping[str, str], rerun: Rerun, log: _Log
) -> dict[str, Case]:
    """The tests that fail on the old version, too, once they are rerun there; not where they were not run at all."""
    there = {old_names[name]: name for name, change in tried.items() if change.kind is Kind.REGRESSED}
    found = rerun("old", tuple(there)) if there else {}
    for old_name, case in found.items():
        log[there[old_name]].append(("old", case.outcome))
    return {there[old_name]: case for old_name, case in found.items() if case.outcome.bad}


def _passing_again(names: tuple[str, ...], rerun: Rerun, log: _Log) -> dict[str, Case]:
    """The tests that passed in one of the reruns; one that did is not run again."""
    passing: dict[str, Case] = {}
    for _ in range(RERUNS):
        names = tuple(name for name in names if name not in passing)
        if not names:
            break
        found = rerun("new", names)
        for name in names:
            log[name].append(("new", found[name].outcome if name in found else Outcome.SKIPPED))
        passing |= {name: case for name, case in found.items() if case.outcome is Outcome.PASSED}
    return passing


def _verdict(change: Change, failing: Mapping[str, Case], passing: Mapping[str, Case]) -> Verdict:
    if change.identity in failing:
        return Verdict.NOT_THE_UPGRADES
    if change.identity in passing:
        return Verdict.FLAKY
    return Verdict.NEW_FAILURE if change.kind is Kind.APPEARED else Verdict.REGRESSION


def _finding(change: Change, verdict: Verdict, reruns: Iterable[tuple[Side, str]] = ()) -> Finding:
    return Finding(change.identity, verdict, change.old, change.new, change.reason, tuple(reruns))


def _runs(old: CellRecord, new: CellRecord) -> Iterable[Finding]:
    """A run that did not come to its end has not shown what it did not reach."""
    if new.reason:
        verdict = Verdict.NOT_THE_UPGRADES if old.reason == new.reason else Verdict.REGRESSION
        yield Finding(f"run {new.cell.name}", verdict, old.status, new.status, new.reason)


def _audits(old: CellRecord, new: CellRecord) -> Iterable[Finding]:
    for name, audit in sorted(new.audits.items()):
        before = old.audits.get(name)
        if audit.outcome.bad:
            was_bad = before is not None and before.outcome.bad
            verdict = Verdict.NOT_THE_UPGRADES if was_bad else Verdict.REGRESSION
            yield Finding(f"audit {name}", verdict, before.outcome if before else "", audit.outcome, audit.reason)


def _fields(old: CellRecord, new: CellRecord) -> Iterable[Finding]:
    """What the wiring audit alone says of a field; what a test says of it, the test's own finding does."""
    for change in diff(dataclasses.replace(old, tests={}), dataclasses.replace(new, tests={})):
        if change.kind is Kind.REGRESSED:
            yield _finding(change, Verdict.REGRESSION)
