import json
from dataclasses import replace
from typing import Any

import pytest

from llenergymeasure.config.renames import Rename, renames
from llenergymeasure.surface.diff import Change, diff, format_json, format_markdown, format_table, summary
from llenergymeasure.surface.model import DEPRECATED, IGNORED, EntryPoint, Parameter, Surface
from llenergymeasure.surface.snapshots import load, versions

A = Parameter("a", "int | None", None)


def surface(version: str, *parameters: Parameter, point: str = "lib.f") -> Surface:
    return Surface("pytorch", "lib", version, {point: EntryPoint(point, {p.name: p for p in parameters})})


def changes(old: Parameter | None, new: Parameter | None, *known: Rename) -> list[tuple[str, str, str, str]]:
    found = diff(surface("1", *[old] if old else []), surface("2", *[new] if new else []), known)
    return [(change.kind, change.name, change.old, change.new) for change in found.changes]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (A, A, []),
        (None, A, [("added", "a", "", "null")]),
        (A, None, [("removed", "a", "null", "")]),
        (A, replace(A, default=1), [("default", "a", "null", "1")]),
        (replace(A, default=50), replace(A, resolved=50), []),
        (replace(A, default=1), replace(A, default=1.0), []),
        (replace(A, default=1), replace(A, default=True), [("default", "a", "1", "true")]),
        (replace(A, default=[1, 2]), replace(A, default=[2, 1]), [("default", "a", "[1, 2]", "[2, 1]")]),
        (Parameter("a"), replace(A, type=""), []),
        (A, replace(A, type="None | int"), []),
        (A, replace(A, type=""), []),
        (A, replace(A, type="int | str | None"), [("type", "a", "int | None", "int | str | None")]),
        (replace(A, type="torch.dtype"), replace(A, type="dtype"), []),
        (replace(A, choices=("x", "y")), replace(A, choices=("y", "x")), []),
        (replace(A, choices=("x", "y")), replace(A, choices=("y", "z")), [("choices", "a", '"x"', '"z"')]),
        (A, replace(A, choices=("x",)), [("choices", "a", "any", '"x"')]),
        (replace(A, minimum=0), replace(A, minimum=0.0), []),
        (replace(A, minimum=0), replace(A, minimum=1, maximum=4), [("bounds", "a", "0..", "1..4")]),
        (A, replace(A, status=DEPRECATED), [("status", "a", "active", "deprecated")]),
        (A, Parameter("a", "int | None", required=True), [("required", "a", "false", "true")]),
        (A, replace(A, via="pop"), []),
        (A, replace(A, decided_by=("engine",)), []),
        (replace(A, type="int"), A, []),  # a default of None says that None is taken
        (Parameter("a", "int", 1), Parameter("a", "int", None), [("default", "a", "1", "null")]),
        (Parameter("a", "int", 1), Parameter("a", "int | None", 1), [("type", "a", "int", "int | None")]),
        (replace(A, type="PretrainedConfig"), replace(A, type="PreTrainedConfig"), []),
        (replace(A, choices=("x",)), replace(A, choices=("x", "y")), [("choices", "a", "", '"y"')]),
        (replace(A, choices=("x", "y")), replace(A, choices=("x",)), [("choices", "a", '"y"', "")]),
        (replace(A, choices=("x",)), replace(A, choices=(None, "x")), []),
        pytest.param(
            replace(A, type="Literal['x', 'y'] | None", choices=("x", "y")),
            replace(A, type="Literal['x', 'z'] | str | None"),
            [("type", "a", "Literal | None", "Literal | str | None"), ("choices", "a", '"y"', '"z", any other')],
            id="opened",
        ),
        pytest.param(
            replace(A, type="Literal['x'] | str | None"),
            replace(A, type="str | Literal['z'] | None"),
            [("choices", "a", '"x"', '"z"')],
            id="known among others",
        ),
        pytest.param(
            replace(A, type="list[Literal['x']] | None"),
            replace(A, type="list[Literal['x', 'y']] | None"),
            [("choices", "a", "", '"y"')],
            id="in a list",
        ),
        pytest.param(
            Parameter("a", "int", 1, minimum=0),
            Parameter("a", "str", None, status=IGNORED),
            [("status", "a", "active", "ignored")],
            id="nothing else matters",
        ),
        pytest.param(A, replace(A, resolved=1, decided_by=("engine",)), [], id="a step on the way"),
        pytest.param(
            replace(A, default="cuda"),
            replace(A, default={"expr": "field(default_factory=device)"}, decided_by=("platform",)),
            [("default", "a", '"cuda"', "decided by the platform")],
            id="decided by another",
        ),
        (None, replace(A, status=DEPRECATED), [("added", "a", "", "null (deprecated)")]),
    ],
)
def test_what_counts_as_a_change(old: Any, new: Any, expected: list[tuple[str, str, str, str]]) -> None:
    assert changes(old, new) == expected


def test_a_rename_is_one_change_and_the_rest_is_compared_through_it() -> None:
    known = Rename("lib.f", "a", "b", "2")
    assert changes(A, replace(A, name="b"), known) == [("renamed", "b", "a", "b")]
    assert changes(A, Parameter("b", "str", "x"), known) == [
        ("renamed", "b", "a", "b"),
        ("default", "b", "null", '"x"'),
        ("type", "b", "int | None", "str"),
    ]
    assert changes(A, replace(A, name="b"), Rename("lib.g", "a", "b", "2")) == [
        ("removed", "a", "null", ""),
        ("added", "b", "", "null"),
    ]


def test_no_rename_is_reported_between_versions_that_know_both_names() -> None:
    both = surface("1", A, replace(A, name="b"))
    assert diff(both, replace(both, version="2"), [Rename("lib.f", "a", "b", "1")]).changes == ()


def test_an_old_name_kept_beside_the_new_one_is_not_lost() -> None:
    new = surface("2", replace(A, status=DEPRECATED), replace(A, name="b"))
    found = diff(surface("1", A), new, [Rename("lib.f", "a", "b", "2")])
    assert [change.kind for change in found.changes] == ["renamed"]


def test_entry_points_that_come_and_go() -> None:
    found = diff(surface("1", A, point="lib.f"), surface("2", A, point="lib.g"))
    assert [(c.kind, c.entry_point) for c in found.changes] == [
        ("entry point removed", "lib.f"),
        ("entry point added", "lib.g"),
    ]


@pytest.mark.parametrize("version", versions("pytorch"))
def test_a_version_does_not_differ_from_itself(version: str) -> None:
    assert diff(load("pytorch", version), load("pytorch", version), renames("pytorch")).changes == ()


def test_pinned_versions_show_their_known_changes() -> None:
    known = renames("pytorch")
    first = diff(load("pytorch", "4.57.6"), load("pytorch", "5.0.0"), known).changes
    loading = "transformers.AutoModelForCausalLM.from_pretrained"
    assert Change("removed", loading, "load_in_8bit", "false") in first
    added = Change("entry point added", "transformers.KernelConfig", "", "", "kernel_mapping, use_local_kernel")
    assert added in first
    # The default moved from the signature to a table of defaults: no change.
    assert not [
        c
        for c in first
        if c.entry_point == "transformers.GenerationConfig" and c.kind == "default" and c.name == "top_k"
    ]
    second = diff(load("pytorch", "5.17.0"), load("pytorch", "5.19.0"), known).changes
    assert Change("renamed", "transformers.ContinuousBatchingConfig", "page_size", "block_size", "page_size") in second


FOUND = diff(surface("1", A), surface("2", replace(A, type="str | int")))
FIELDS = {("lib.f", "a"): "pytorch.section.a"}


def test_formats_name_the_field() -> None:
    assert format_markdown(FOUND, FIELDS) == (
        "## pytorch: 1 to 2\n\n1 type\n\n"
        "| entry point | change | parameter | old | new | field |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| lib.f | type | a | int \\| None | str \\| int | pytorch.section.a |\n"
    )
    document = json.loads(format_json(FOUND, FIELDS))
    assert document["changes"] == [
        {
            "entry_point": "lib.f",
            "kind": "type",
            "name": "a",
            "old": "int | None",
            "new": "str | int",
            "field": "pytorch.section.a",
        }
    ]
    table = format_table(FOUND, FIELDS)
    assert "pytorch.section.a" in table
    assert "1 type" in table


def test_what_a_live_surface_cannot_say_is_no_change() -> None:
    full = Parameter("a", "str", None, resolved="x", choices=("x", "y"), minimum=1, status=DEPRECATED)
    static, live = surface("1", full), surface("1", Parameter("a", "str", None))
    live.provenance["method"] = "live"
    assert diff(static, live).changes == diff(live, static).changes == ()
    other = replace(live, entry_points=surface("1", Parameter("a", "str", "y")).entry_points)
    assert [change.kind for change in diff(static, other).changes] == ["default"]
    assert {change.kind for change in diff(static, surface("2", A)).changes} >= {"choices", "bounds", "status"}


def test_a_long_list_does_not_push_the_fields_of_other_rows_aside() -> None:
    many = tuple(f"choice number {index}" for index in range(20))
    old = surface("1", A, replace(A, name="b", choices=("x", "y")))
    new = surface("2", replace(A, default=1), replace(A, name="b", choices=("x", *many)))
    lines = format_table(diff(old, new), {("lib.f", "a"): "pytorch.section.a"}).splitlines()
    assert '  choices  b  - "y" + "choice number 0", "choice number 1"' in lines[4][:58]
    assert lines[3].split() == ["default", "a", "null", "→", "1", "pytorch.section.a"]
    assert len(lines[3]) < 60


def test_a_field_is_found_by_the_old_name_of_what_it_sets() -> None:
    found = diff(surface("1", A), surface("2", replace(A, name="b")), [Rename("lib.f", "a", "b", "2")])
    assert json.loads(format_json(found, FIELDS))["changes"][0]["field"] == "pytorch.section.a"


def test_nothing_changed_is_said() -> None:
    same = diff(surface("1", A), surface("2", A))
    assert summary(same) == "no changes"
    assert format_markdown(same, {}) == "## pytorch: 1 to 2\n\nno changes\n"
