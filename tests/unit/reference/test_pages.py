"""The generated pages, as somebody reads them: whole, linked, in plain words, and true to the declarations."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter

from llenergymeasure.audit.coverage import fields_of
from llenergymeasure.config.models import ExperimentConfig, Prompts, Synthetic
from llenergymeasure.core.results import Result
from llenergymeasure.matrix.merge import merge
from llenergymeasure.matrix.spec import load
from llenergymeasure.reference import words
from llenergymeasure.reference.fields import SHARED, chapters
from llenergymeasure.reference.pages import backend_page, configuration_page, result_page

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def backend() -> str:
    return backend_page("pytorch", merge([], load(CHECKOUT / "matrix.toml")))


@pytest.fixture(scope="module", params=["backend", "configuration", "result"])
def page(request: pytest.FixtureRequest, backend: str) -> str:
    example = (CHECKOUT / "examples" / "quickstart.yaml").read_text()
    return {"backend": backend, "configuration": configuration_page(example), "result": result_page()}[request.param]


def headings(text: str) -> list[str]:
    return [words.anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]


def rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_link_leads_to_a_heading(page: str) -> None:
    anchors = headings(page)
    assert len(set(anchors)) == len(anchors)
    inside = re.findall(r"\]\(#([^)]*)\)", page)
    assert inside
    assert set(inside) <= set(anchors)


def test_no_spelling_of_python_stands_in_a_table(page: str) -> None:
    for row in rows(page):
        assert not re.search(r"Literal|dict\[|list\[|tuple\[|NoneType|typing|<class|Annotated", " ".join(row)), row


def test_every_row_is_whole(page: str) -> None:
    found = list(rows(page))
    assert found
    for row in found:
        assert all(row[:3] if "result" not in page[:20] else row[:2]), row


def test_every_field_of_the_backend_has_its_row(backend: str) -> None:
    parts = chapters("pytorch", {})
    assert sum(part.count for part in parts) == len(fields_of("pytorch"))
    assert parts[0].title == SHARED
    listed = backend.partition("## What is not a field")[0]
    assert len(list(rows(listed))) == sum(len(group.entries) for part in parts for group in part.groups)


def test_a_default_that_another_field_gives_names_it(backend: str) -> None:
    assert "that of another field" not in backend
    assert next(row for row in rows(backend) if row[0] == "`tokenizer`")[2] == "that of `model`"


def test_what_a_row_says_comes_from_its_declaration_and_the_surfaces() -> None:
    entries = {
        entry.name: entry for part in chapters("pytorch", {}) for group in part.groups for entry in group.entries
    }
    temperature = entries["temperature"]
    assert (temperature.takes, temperature.default, temperature.proven) == ("number, > 0", "`1.0`", "not run")
    assert "*Acts only with* `do_sample: true`." in temperature.notes
    assert entries["bnb_4bit_compute_dtype"].default == "`float32`"  # torch.float32, as a user writes it
    assert "*Read by* the tool itself." in entries["num_processes"].notes
    assert entries["disable_compile"].default == "`false` (4.57.6); none (5.0.0, 5.17.0, 5.19.0, 5.23.0)"
    assert "*Only in* 5.17.0, 5.19.0, 5.23.0." in entries["use_mtp"].notes
    assert "*Sets* `GenerationConfig: max_new_tokens`." in entries["max_tokens"].notes


def test_a_default_that_says_nothing_says_that_it_is_decided_later() -> None:
    entries = {
        (group.title, entry.name): entry.default
        for part in chapters("vllm", {})
        for group in part.groups
        for entry in group.entries
    }
    found = {name: default for (_, name), default in entries.items()}
    assert found["block_size"] == "none, decided at the start"
    assert found["dtype"] == "`auto`, decided at the start"
    assert found["enable_lora"] == "`false`"
    assert found["quantization_config"] == "none, decided at the start"


def test_a_proof_shows_in_its_row() -> None:
    (temperature,) = [
        entry
        for part in chapters("pytorch", {"pytorch.temperature": "observed"})
        for group in part.groups
        for entry in group.entries
        if entry.name == "temperature"
    ]
    assert temperature.proven == "observed"


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for info in model.model_fields.values():
        for inner in words.models(info.annotation):
            yield from models(inner)


def is_figure(annotation: Any) -> bool:
    inside = get_args(annotation) if get_origin(annotation) in (UnionType, list) else (annotation,)
    return any(item in (int, float) for item in inside)


def test_every_figure_of_a_result_has_a_meaning_and_a_unit() -> None:
    numbering = {"index", "repeat", "batch", "schema_version"}  # these name something, they measure nothing
    for model in models(Result):
        for name, info in model.model_fields.items():
            assert info.description, f"{model.__name__}.{name}"
            if is_figure(info.annotation) and name not in numbering:
                assert words.unit(name, info.annotation), f"{model.__name__}.{name}"


@pytest.mark.parametrize("model", [item for item in models(ExperimentConfig) if item.__module__.endswith("models")])
def test_every_example_of_the_configuration_is_valid(model: type[BaseModel]) -> None:
    for name, info in model.model_fields.items():
        adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
        for example in info.examples or ():
            adapter.validate_python(example)
        if name not in ("chat_template", "seed"):
            assert info.examples, f"{model.__name__}.{name}"


@pytest.mark.parametrize(
    ("model", "name", "takes"),
    [
        (ExperimentConfig, "prompts", "section or list of texts or text"),
        (ExperimentConfig, "seed", "integer, ≥ 0, < 4294967296"),
        (ExperimentConfig, "passthrough", "mapping of texts to mappings of texts to values"),
        (ExperimentConfig, "revision", "text"),
        (Prompts, "inline", "list of texts, not empty"),
        (Prompts, "file", "path"),
        (Synthetic, "input_tokens", "integer or list of integers"),
    ],
)
def test_types_are_said_in_words(model: type[BaseModel], name: str, takes: str) -> None:
    assert words.takes(model.model_fields[name]) == takes


def test_the_order_of_choices_does_not_depend_on_what_was_imported_first() -> None:
    assert words.kind(Literal["b", "a"]) == words.kind(Literal["a", "b"]) == "one of `a`, `b`"
    assert words.kind(Literal[8, 2, 16]) == "one of `2`, `8`, `16`"
