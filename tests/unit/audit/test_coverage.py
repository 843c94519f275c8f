"""The coverage audit: green on every pinned version, and red for each way in which a gap can come in."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from llenergymeasure.audit import coverage as coverage_module
from llenergymeasure.audit.coverage import KINDS, UNACCOUNTED, coverage, fields_of, stale_entries
from llenergymeasure.config.pytorch.entry_points import GENERATION_CONFIG, SET_SEED
from llenergymeasure.surface import ledger, snapshots
from llenergymeasure.surface.ledger import Entry, Ledger
from llenergymeasure.surface.model import Parameter, Surface

VERSIONS = snapshots.versions("pytorch")
Changed = Callable[..., Surface]


def test_there_is_something_to_audit() -> None:
    assert len(VERSIONS) >= 5


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_unaccounted(version: str) -> None:
    result = coverage(snapshots.load("pytorch", version))
    assert result.problems == ()
    assert result.counts()[UNACCOUNTED] == 0
    assert sum(result.counts().values()) == len(result.rows) > 400


@pytest.mark.parametrize("version", VERSIONS)
def test_every_parameter_is_exactly_one_kind(version: str) -> None:
    surface = snapshots.load("pytorch", version)
    rows = coverage(surface).rows
    assert [(row.entry_point, row.name) for row in rows] == [(point, item.name) for point, item in surface.parameters()]
    assert {row.kind for row in rows} <= set(KINDS)
    assert all(row.detail for row in rows)  # a field's path or a reason
    assert all((row.kind == "excluded") == bool(row.category) for row in rows)


def test_no_ledger_entry_and_no_field_is_stale() -> None:
    assert stale_entries([snapshots.load("pytorch", version) for version in VERSIONS]) == []


def test_a_new_parameter_turns_it_red(newest: Surface, changed: Changed) -> None:
    surface = changed(newest, GENERATION_CONFIG, put=Parameter("brand_new", "int | None", None))
    result = coverage(surface)
    assert result.problems == (f"{GENERATION_CONFIG}:brand_new is neither a field nor in the ledger",)
    assert result.counts()[UNACCOUNTED] == 1


def test_a_field_that_lost_its_binding_turns_it_red(newest: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tuple(field for field in fields_of("pytorch") if field.path != "pytorch.num_beams")
    monkeypatch.setattr(coverage_module, "fields_of", lambda _: kept)
    assert coverage(newest).problems == (f"{GENERATION_CONFIG}:num_beams is neither a field nor in the ledger",)


def test_a_choice_that_a_version_gained_turns_it_red(newest: Surface, changed: Changed) -> None:
    known = newest.find(GENERATION_CONFIG, "cache_implementation")
    assert known is not None
    more = replace(known, choices=(*known.choices, "brand_new"))
    assert coverage(changed(newest, GENERATION_CONFIG, put=more)).problems == (
        f"pytorch.cache_implementation cannot express brand_new, which {GENERATION_CONFIG}:cache_implementation takes",
    )


@pytest.fixture
def with_entry(monkeypatch: pytest.MonkeyPatch) -> Callable[[Entry], None]:
    """Adds an entry to the ledger."""
    real = ledger.load("pytorch")

    def add(entry: Entry) -> None:
        book = Ledger((*real.entries, entry))
        monkeypatch.setattr(ledger, "load", lambda _: book)

    return add


def test_a_stale_ledger_entry_turns_it_red(newest: Surface, with_entry: Callable[[Entry], None]) -> None:
    with_entry(Entry("excluded", GENERATION_CONFIG, ("long_gone",), "plumbing", "Was once."))
    problem = f"the ledger names {GENERATION_CONFIG}:long_gone, which no pinned version has"
    assert problem in stale_entries([newest])
    assert coverage(newest).problems == ()  # one version alone cannot tell


def test_a_parameter_that_is_a_field_and_in_the_ledger_turns_it_red(
    newest: Surface, with_entry: Callable[[Entry], None]
) -> None:
    with_entry(Entry("excluded", GENERATION_CONFIG, ("num_beams",), "plumbing", "Forgotten here."))
    assert coverage(newest).problems == (
        f"{GENERATION_CONFIG}:num_beams is a field (pytorch.num_beams) and in the ledger, too",
    )


def test_a_binding_that_no_version_has_turns_it_red(newest: Surface, changed: Changed) -> None:
    surface = changed(newest, SET_SEED, drop="seed")
    assert f"seed sets {SET_SEED}:seed, which no pinned version has" in stale_entries([surface])


def test_the_number_of_typed_fields_counts_those_that_the_version_can_use(newest: Surface, changed: Changed) -> None:
    before = coverage(newest).typed_fields
    assert 0 < before <= len(fields_of("pytorch"))
    assert coverage(changed(newest, GENERATION_CONFIG, drop="num_beams")).typed_fields == before - 1


class TestLedger:
    def test_an_entry_by_name_goes_before_the_rest(self) -> None:
        rest = Entry("excluded", "a.B", (ledger.REST,), "plumbing", "The rest.")
        one = Entry("owned", "a.B", ("x",), "", "Ours.")
        for book in (Ledger((rest, one)), Ledger((one, rest))):
            assert book.find("a.B", "x") is one
            assert book.find("a.B", "y") is rest
            assert book.find("a.C", "x") is None

    def test_every_reason_says_something(self) -> None:
        entries = ledger.load("pytorch").entries
        assert entries
        assert all(len(entry.reason.split()) >= 3 and entry.reason.endswith(".") for entry in entries)

    @pytest.mark.parametrize(
        ("document", "says"),
        [
            ({"forbidden": []}, "unknown kind forbidden"),
            ({"excluded": [{"entry_point": "a", "names": ["x"], "reason": "r"}]}, "an exclusion needs one of"),
            (
                {"excluded": [{"entry_point": "a", "names": ["x"], "reason": "r", "category": "dislike"}]},
                "an exclusion needs one of",
            ),
            (
                {"owned": [{"entry_point": "a", "names": ["x"], "reason": "r", "category": "plumbing"}]},
                "nothing else has one",
            ),
        ],
    )
    def test_a_wrong_entry_is_refused(self, document: dict[str, list[dict[str, object]]], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            ledger._read(document, "test.toml")

    def test_a_parameter_that_stands_twice_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        twice = [Entry("owned", "a.B", ("x",), "", "r"), Entry("passthrough", "a.B", ("x",), "", "r")]
        monkeypatch.setattr(ledger, "_read", lambda *_: twice[:1])
        with pytest.raises(ValueError, match=r"a\.B:x stands twice"):
            ledger.load.__wrapped__("pytorch")  # two files with the same entry
