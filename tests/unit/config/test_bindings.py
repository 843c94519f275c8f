"""What a declaration says: its targets, its conditions, and the walk over all of them."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from llenergymeasure.config.backend_configs import PyTorchConfig
from llenergymeasure.config.bindings import (
    BoundField,
    Model,
    Need,
    Section,
    Target,
    above,
    among,
    binds,
    discriminator,
    equals,
    is_set,
    walk,
)
from llenergymeasure.config.models import ExperimentConfig

FIELDS = [pytest.param(field, id=field.path) for field in walk(ExperimentConfig, "pytorch")]


class Left(Section):
    entry_point = "transformers.Left"
    kind: Literal["left"]
    size: int | None = binds()
    """Size on the left."""


class Right(Section):
    entry_point = "transformers.Right"
    kind: Literal["right"]
    size: int | None = binds()
    """Size on the right."""


class Outer(Section):
    entry_point = "transformers.Outer"

    number: int | None = binds()
    """A number."""

    switch: bool | None = binds("transformers.Elsewhere", effect="Costs something.")
    """A switch."""

    both: int | None = binds("transformers.Outer:first", "torch.second:other", "vllm.LLM:third")
    """Two places, and one of another backend."""

    side: Annotated[Left | Right, Field(discriminator="kind")] | None = binds()
    """One of two."""

    depends: int | None = binds(needs=equals("switch", value=True))
    """Acts only with the switch."""

    either: int | None = binds(needs=(is_set("number"), equals("switch", value=True)))
    """Acts with one of two."""

    rival: int | None = binds(excludes=(is_set("number"), equals("switch", value=False)))
    """Contradicts the number, and a switch that is off."""


class Whole(Model):
    pytorch: Outer


def by_path(model: type[Model], backend: str = "pytorch") -> dict[str, BoundField]:
    return {field.path: field for field in walk(model, backend)}


@pytest.mark.parametrize(
    ("path", "targets"),
    [
        ("pytorch.number", [("transformers.Outer", "number")]),
        ("pytorch.switch", [("transformers.Elsewhere", "switch")]),
        ("pytorch.both", [("transformers.Outer", "first"), ("torch.second", "other")]),
        ("pytorch.side", [("transformers.Outer", "side")]),
        ("pytorch.side[left].size", [("transformers.Left", "size")]),
        ("pytorch.side[right].size", [("transformers.Right", "size")]),
    ],
)
def test_a_field_binds_its_own_name_at_its_section_unless_it_says_otherwise(
    path: str, targets: list[tuple[str, str]]
) -> None:
    assert list(by_path(Whole)[path].targets("pytorch")) == [Target(*target) for target in targets]


def test_the_walk_tells_how_to_get_to_a_variant() -> None:
    field = by_path(Whole)["pytorch.side[right].size"]
    assert field.keys == ("pytorch", "side", "size")
    assert dict(field.variant) == {("pytorch", "side", "kind"): "right"}
    assert discriminator(Right) == ("kind", "right")
    assert discriminator(Outer) is None


def test_the_walk_leaves_other_backends_alone() -> None:
    assert by_path(Whole, "vllm") == {}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"depends": 1}, "depends"),
        ({"depends": 1, "switch": False}, "depends"),
        ({"either": 1}, "either"),
        ({"either": 1, "switch": False}, "either"),
    ],
)
def test_a_field_whose_condition_does_not_hold_would_be_ignored(values: dict[str, int], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(values)
    (problem,) = caught.value.errors()
    assert problem["type"] == "ignored"
    assert problem["loc"] == (field,)


@pytest.mark.parametrize(
    "values", [{"rival": 1, "number": 2}, {"rival": 1, "switch": False}, {"rival": 0, "number": 0}]
)
def test_a_contradiction_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(values)
    (problem,) = caught.value.errors()
    assert problem["type"] == "contradiction"
    assert problem["loc"] == ("rival",)


@pytest.mark.parametrize(
    "values",
    [
        {"depends": 1, "switch": True},
        {"either": 1, "number": 0},
        {"either": 1, "switch": True},
        {"rival": 1, "switch": True},
        {"rival": 1},
        {},
    ],
)
def test_a_field_whose_condition_holds_is_taken(values: dict[str, int]) -> None:
    assert Outer.model_validate(values).model_dump(exclude_none=True) == values


@pytest.mark.parametrize(
    ("need", "value", "holds"),
    [
        (is_set("number"), 0, True),
        (is_set("number"), None, False),
        (is_set("switch"), False, False),
        (equals("number", 3), 3, True),
        (equals("number", 3), 4, False),
        (above("number", 1), 2, True),
        (above("number", 1), 1, False),
        (above("number", 1), None, False),
        (among("number", 1, 2), 2, True),
        (among("number", 1, 2), 3, False),
    ],
)
def test_conditions(need: Need, value: int | None, holds: bool) -> None:
    assert need.holds(Outer.model_validate({need.field: value})) is holds


@pytest.mark.parametrize(
    ("need", "words"),
    [
        (is_set("number"), "number"),
        (equals("switch", value=True), "switch: true"),
        (equals("side", "left"), "side: left"),
        (above("number", 1), "number above 1"),
        (among("side", "left", "right"), "side one of left, right"),
    ],
)
def test_conditions_in_the_users_spelling(need: Need, words: str) -> None:
    assert str(need) == words


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_declared_whole(field: BoundField) -> None:
    """One sentence of description, and a parameter, a call of its own, or both."""
    assert field.description.strip().endswith(".")
    assert "\n\n" not in field.description
    assert field.targets("pytorch") or any(section.enables for section in field.nested)
    # Every condition names a sibling: a misspelt one would fail only when a user sets the field.
    for need in (*field.binding.needs, *field.binding.excludes):
        assert need.field in (PyTorchConfig.model_fields if len(field.keys) == 2 else field.section.model_fields)


def test_every_backend_field_is_none_unless_it_is_set() -> None:
    set_by_default = [
        field.path
        for field in walk(ExperimentConfig, "pytorch")
        if field.keys[0] == "pytorch" and not field.info.is_required() and field.info.default is not None
    ]
    assert set_by_default == []


def test_a_declaration_stands_for_one_place() -> None:
    """The path is what a user writes: no two fields may share one."""
    paths = [field.path for field in walk(ExperimentConfig, "pytorch")]
    assert len(paths) == len(set(paths))
