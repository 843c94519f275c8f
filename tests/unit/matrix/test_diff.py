from collections.abc import Callable

import pytest

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.diff import Kind, diff
from llenergymeasure.matrix.records import Case, CellRecord, Outcome

MakeRecord = Callable[..., CellRecord]


def cases(**outcomes: Outcome) -> dict[str, Case]:
    return {name: Case(outcome) for name, outcome in outcomes.items()}


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (Outcome.PASSED, Outcome.PASSED, Kind.UNCHANGED),
        (Outcome.FAILED, Outcome.PASSED, Kind.IMPROVED),
        (Outcome.PASSED, Outcome.FAILED, Kind.REGRESSED),
        (Outcome.PASSED, Outcome.XFAIL_OURS, Kind.REGRESSED),
        (Outcome.FAILED, Outcome.CRASH, Kind.REGRESSED),
        (Outcome.TIMEOUT, Outcome.FAILED, Kind.IMPROVED),
        (Outcome.PASSED, Outcome.SKIPPED, Kind.DISAPPEARED),
        (Outcome.FAILED, Outcome.SKIPPED, Kind.DISAPPEARED),
        (Outcome.SKIPPED, Outcome.PASSED, Kind.APPEARED),
        (Outcome.SKIPPED, Outcome.SKIPPED, Kind.UNCHANGED),
        (None, Outcome.FAILED, Kind.APPEARED),
        (Outcome.PASSED, None, Kind.DISAPPEARED),
    ],
)
def test_each_test_is_compared_with_itself(
    make_record: MakeRecord, old: Outcome | None, new: Outcome | None, kind: Kind
) -> None:
    before = make_record(tests=cases(a=old) if old else {})
    after = make_record(tests=cases(a=new) if new else {})
    assert [change.kind for change in diff(before, after)] == [kind]


def test_one_breaking_and_one_healing_do_not_cancel_out(make_record: MakeRecord) -> None:
    old = make_record(tests=cases(a=Outcome.PASSED, b=Outcome.FAILED))
    new = make_record(tests=cases(a=Outcome.FAILED, b=Outcome.PASSED))
    changes = [(change.identity, change.kind, change.old, change.new) for change in diff(old, new)]
    assert changes == [("a", Kind.REGRESSED, "passed", "failed"), ("b", Kind.IMPROVED, "failed", "passed")]


@pytest.mark.parametrize(
    ("renames", "kinds"),
    [
        ({}, {Kind.APPEARED, Kind.DISAPPEARED}),
        ({"m.py::a[1]": "m.py::b[1]"}, {Kind.UNCHANGED}),
        ({"m.py::a[": "m.py::b["}, {Kind.UNCHANGED}),
        ({"m.py::": "n.py::"}, {Kind.APPEARED, Kind.DISAPPEARED}),
        ({"m.py::a": "m.py::b"}, {Kind.APPEARED, Kind.DISAPPEARED}),
    ],
)
def test_a_renamed_test_is_the_same_test(make_record: MakeRecord, renames: dict[str, str], kinds: set[Kind]) -> None:
    old = make_record(tests={"m.py::a[1]": Case(Outcome.PASSED)})
    new = make_record(tests={"m.py::b[1]": Case(Outcome.PASSED)})
    assert {change.kind for change in diff(old, new, renames)} == kinds


def test_two_renames_to_one_name_are_refused(make_record: MakeRecord) -> None:
    with pytest.raises(RequestError, match="both become 'c'"):
        diff(make_record(), make_record(), {"a": "c", "b": "c"})


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (("accepted", "passed"), ("observed", "passed"), Kind.IMPROVED),
        (("accepted", "passed"), ("sent", "passed"), Kind.REGRESSED),
        (("accepted", "passed"), ("accepted", "failed"), Kind.REGRESSED),
        (("accepted", "passed"), ("sent", "absent"), Kind.DISAPPEARED),
        (("sent", "absent"), ("accepted", "passed"), Kind.APPEARED),
        (("accepted", "passed"), ("accepted", "passed"), Kind.UNCHANGED),
    ],
)
def test_a_fields_rung_is_compared_too(
    make_record: MakeRecord, old: tuple[str, str], new: tuple[str, str], kind: Kind
) -> None:
    records = [
        make_record(fields={"pytorch.dtype": {"rung": rung, "status": status, "reason": "r"}})
        for rung, status in (old, new)
    ]
    [change] = diff(*records)
    assert (change.identity, change.kind) == ("field pytorch.dtype", kind)
