from dataclasses import replace

import pytest

from llenergymeasure.config.renames import Rename
from llenergymeasure.matrix.upgrade.suggest import Suggestion, suggest
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.diff import diff
from llenergymeasure.surface.model import EntryPoint, Parameter, Surface

POINT, OTHER = "vllm.LLM", "vllm.config.EPLBConfig"


def surface(version: str, *parameters: Parameter, other: tuple[Parameter, ...] = ()) -> Surface:
    points = {
        name: EntryPoint(name, {item.name: item for item in items})
        for name, items in ((POINT, parameters), (OTHER, other))
    }
    return Surface("vllm", "vllm", version, points)


def suggested(old: Surface, new: Surface, *known: Rename) -> list[Suggestion]:
    return list(suggest(old, new, diff(old, new, known)))


NUMBER = Parameter("max_batch_size", "int", 8)


@pytest.mark.parametrize(
    ("new", "found"),
    [
        (replace(NUMBER, name="max_batch_sizes"), True),
        (replace(NUMBER, name="batch_size_max"), True),
        (replace(NUMBER, name="max_batch_size_total", type="str", default="x"), True),
        (replace(NUMBER, name="scheduler_policy"), False),
        (replace(NUMBER, name="min_tile_shape", default=None), False),
    ],
)
def test_what_is_alike_in_name_type_and_default_is_suggested(new: Parameter, found: bool) -> None:
    pairs = suggested(surface("1", NUMBER), surface("2", new))
    assert [(pair.old, pair.new) for pair in pairs] == ([("max_batch_size", new.name)] if found else [])


def test_the_likest_pair_wins_and_nothing_stands_in_two() -> None:
    one, two = replace(NUMBER, name="max_batch_size_a"), replace(NUMBER, name="max_batch_sizes")
    [pair] = suggested(surface("1", NUMBER), surface("2", one, two))
    assert pair.new == "max_batch_sizes"


def test_a_switch_is_compared_without_its_verb() -> None:
    old, new = Parameter("enable_noop", "bool", True), Parameter("eliminate_noops", "bool", True)
    [pair] = suggested(surface("1", old), surface("2", new))
    assert pair.new == "eliminate_noops"


def test_a_known_rename_is_no_suggestion() -> None:
    new = replace(NUMBER, name="max_batch_sizes")
    known = Rename(POINT, "max_batch_size", "max_batch_sizes", "2")
    assert suggested(surface("1", NUMBER), surface("2", new), known) == []


def test_what_moved_into_a_nested_configuration_is_told_with_its_new_place() -> None:
    old, new = Parameter("eplb_window_size", "int", 1000), Parameter("window_size", "int", 1000)
    [pair] = suggested(surface("1", old), surface("2", other=(new,)))
    assert (pair.entry_point, pair.old, pair.moved_to, pair.new) == (POINT, "eplb_window_size", OTHER, "window_size")


def test_a_default_of_true_is_not_one_of_1() -> None:
    old, new = Parameter("a_count", "int", 1), Parameter("a_counts", "bool", True)
    [pair] = suggested(surface("1", old), surface("2", new))
    assert "default" not in pair.why


@pytest.mark.parametrize(("old", "new"), [("0.19.1", "0.26.0")])
def test_a_rename_of_the_pinned_versions_is_found_again(old: str, new: str) -> None:
    pairs = suggested(snapshots.load("vllm", old), snapshots.load("vllm", new))
    name = "encoder_cudagraph_max_images_per_batch"
    assert {pair.new for pair in pairs if pair.old == name} == {"encoder_cudagraph_max_vision_items_per_batch"}
