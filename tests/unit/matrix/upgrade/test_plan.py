"""Regressions planted at the level of surfaces: what they touch is named, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.upgrade.plan import Plan, make, pinned_before
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import IGNORED, Parameter, Surface

GENERATION = "transformers.GenerationConfig"
GENERATE = "transformers.GenerationMixin.generate"
ROOT = Path(__file__).parents[4]

Plant = Callable[..., Surface]


@pytest.fixture
def planned(old: Surface, plant: Plant) -> Callable[..., Plan]:
    def planned(entry_point: str, **parameters: Parameter | None) -> Plan:
        return make(old, plant(entry_point, parameters), ROOT)

    return planned


def test_a_version_without_changes_touches_nothing(old: Surface) -> None:
    plan = make(old, replace(old, version="9.0.0"), ROOT)
    assert (plan.touched, plan.suggestions, plan.absent, plan.dangling, plan.findings) == ((), (), {}, (), ())
    assert plan.before == plan.after
    assert plan.after["unaccounted"] == 0


def test_a_renamed_parameter_is_suggested_with_its_field_and_the_docs_that_state_it(
    old: Surface, planned: Callable[..., Plan]
) -> None:
    was = old.entry_points[GENERATION].parameters["num_beams"]
    plan = planned(GENERATION, num_beams=None, beam_number=was)
    [pair] = plan.suggestions
    assert (pair.entry_point, pair.old, pair.new, pair.moved_to) == (GENERATION, "num_beams", "beam_number", "")
    gone = next(item for item in plan.touched if item.change.kind == "removed")
    assert gone.fields == ("pytorch.num_beams",)
    [place] = [place for place in gone.docs if place.page == "docs/backends/pytorch.md"]
    line = (ROOT / place.page).read_text(encoding="utf-8").splitlines()[place.line - 1]
    assert line.startswith("| `num_beams` |")
    assert place.generated
    assert list(plan.absent) == ["pytorch.num_beams"]
    assert [(item.entry_point, item.name) for item in plan.unaccounted] == [(GENERATION, "beam_number")]
    assert plan.findings == (f"{GENERATION}:beam_number is neither a field nor in the ledger",)


def test_a_changed_default_names_the_field_that_runs_otherwise_when_left_out(
    old: Surface, planned: Callable[..., Plan]
) -> None:
    was = old.entry_points[GENERATION].parameters["num_beams"]
    plan = planned(GENERATION, num_beams=replace(was, resolved=4))
    [item] = plan.defaults
    assert item.fields == ("pytorch.num_beams",)
    assert (item.change.old, item.change.new) == ("1", "4")
    assert plan.findings == ()


def test_a_changed_default_of_what_is_no_field_is_no_decision(old: Surface, planned: Callable[..., Plan]) -> None:
    name = "generation_config"
    was = old.entry_points[GENERATE].parameters[name]
    plan = planned(GENERATE, **{name: replace(was, default="another")})
    assert plan.defaults == ()
    [item] = plan.touched
    assert (item.fields, item.ledger) == ((), "excluded")
    assert "single arguments" in item.reason
    assert any("What is not a field" in place.section or "Excluded" in place.section for place in item.docs)


def test_a_removed_choice_that_the_field_needs_is_a_misfit(old: Surface, planned: Callable[..., Plan]) -> None:
    was = old.entry_points[GENERATION].parameters["cache_implementation"]
    plan = planned(GENERATION, cache_implementation=replace(was, choices=("brand-new",)))
    assert list(plan.misfits) == ["pytorch.cache_implementation"]
    assert plan.gaps == (
        f"pytorch.cache_implementation cannot express brand-new, which {GENERATION}:cache_implementation takes",
    )
    [item] = plan.touched
    assert item.change.kind == "choices"
    assert '"static"' in item.change.old
    assert len(plan.findings) == 2


def test_a_choice_less_is_told_and_is_no_finding(old: Surface, planned: Callable[..., Plan]) -> None:
    was = old.entry_points[GENERATION].parameters["cache_implementation"]
    plan = planned(
        GENERATION, cache_implementation=replace(was, choices=tuple(c for c in was.choices if c != "hybrid"))
    )
    assert [(item.change.kind, item.change.old) for item in plan.touched] == [("choices", '"hybrid"')]
    assert plan.findings == ()


def test_a_ledger_entry_whose_parameter_went_points_at_nothing(planned: Callable[..., Plan]) -> None:
    plan = planned(GENERATE, generation_config=None)
    [item] = plan.dangling
    assert (item.entry_point, item.name, item.kind) == (GENERATE, "generation_config", "excluded")
    assert item.still_in == tuple(snapshots.versions("pytorch"))


def test_a_field_that_the_version_ignores_is_absent_and_one_that_it_gains_is_back(old: Surface, plant: Plant) -> None:
    was = old.entry_points[GENERATION].parameters["num_beams"]
    without = plant(GENERATION, {"num_beams": replace(was, status=IGNORED)})
    assert make(old, without, ROOT).absent == {"pytorch.num_beams": "9.0.0 accepts it and ignores it"}
    assert make(without, old, ROOT).returning == ("pytorch.num_beams",)


@pytest.mark.parametrize(
    ("version", "asked", "found"),
    [
        ("9.0.0", None, "5.23.0"),
        ("5.23.0", None, "5.19.0"),
        ("5.18.1", None, "5.17.0"),
        ("4.0.0", None, "5.23.0"),
        ("9.0.0", "5.0.0", "5.0.0"),
    ],
)
def test_the_version_to_compare_with(version: str, asked: str | None, found: str) -> None:
    assert pinned_before("pytorch", version, asked) == found


def test_a_version_to_compare_with_that_is_not_pinned_is_refused() -> None:
    with pytest.raises(RequestError, match=r"5\.1\.0: no snapshot of this version; the nearest older one is 5\.0\.0"):
        pinned_before("pytorch", "9.0.0", "5.1.0")
