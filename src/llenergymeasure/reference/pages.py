"""Every generated page of the docs, as text; writing and checking them is the command line's."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from llenergymeasure.audit.coverage import fields_of
from llenergymeasure.config.bindings import Section
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.results import Result
from llenergymeasure.matrix import history
from llenergymeasure.matrix.html import html
from llenergymeasure.matrix.merge import RUNGS, CellView, Matrix, Shown, merge, read_folder
from llenergymeasure.matrix.page import markdown
from llenergymeasure.matrix.spec import load
from llenergymeasure.reference import words
from llenergymeasure.reference.fields import chapters
from llenergymeasure.surface import ledger, snapshots
from llenergymeasure.surface.packages import BACKENDS

_LEDGER = {
    "owned": "Set by the tool itself in every run, from the configuration or because measuring needs it.",
    "passthrough": "No fields: reachable by name under `passthrough:`, checked against the installed version.",
    "excluded": "Out of reach.",
}


@dataclass(frozen=True)
class Row:
    """One field of a model, in words."""

    name: str
    takes: str
    null: bool
    default: str
    meaning: str
    examples: str
    unit: str


@dataclass(frozen=True)
class Table:
    """One model; `path` is every place where it stands, "" at the top."""

    path: str
    about: str
    rows: tuple[Row, ...]


def generated_pages(checkout: Path) -> dict[Path, str]:
    """Path and text of every generated page; the same checkout gives the same text."""
    docs = checkout / "docs"
    records = docs / "records"
    matrix = merge(read_folder(records), load(checkout / "matrix.toml"), history.read_folder(records))
    pages = {docs / "compatibility.md": markdown(matrix), docs / "compatibility.html": html(matrix, docs)}
    for backend in BACKENDS:
        pages[docs / "backends" / f"{backend}.md"] = backend_page(backend, matrix)
    example = (checkout / "examples" / "quickstart.yaml").read_text(encoding="utf-8")
    pages[docs / "configuration.md"] = configuration_page(example)
    pages[docs / "result.md"] = result_page()
    return pages


def backend_page(backend: str, matrix: Matrix) -> str:
    """The parameter reference of one backend."""
    versions = snapshots.versions(backend)
    entries = ledger.load(backend).entries
    return _render(
        "backend.md.j2",
        backend=backend,
        versions=versions,
        cells=[view.cell.name for view in _newest(backend, matrix)],
        package=snapshots.load(backend, versions[-1]).package,
        chapters=chapters(backend, _proofs(backend, matrix)),
        count=len(fields_of(backend)),
        ledger=[(kind, about, [entry for entry in entries if entry.kind == kind]) for kind, about in _LEDGER.items()],
    )


def configuration_page(example: str) -> str:
    """The parts of a configuration that are no backend's parameters."""
    return _render("configuration.md.j2", example=example.strip(), tables=_tables(ExperimentConfig))


def result_page() -> str:
    """The fields of result.json."""
    return _render("result.md.j2", tables=_tables(Result))


def _proofs(backend: str, matrix: Matrix) -> dict[str, str]:
    """The highest rung of each field in the backend's newest recorded cells, one of each platform."""
    names = [view.cell.name for view in _newest(backend, matrix)]
    shown = {
        path: [str(states[name].shown) for name in names if name in states] for path, states in matrix.fields.items()
    }
    return {path: max(found, key=_height) for path, found in shown.items() if found}


def _height(shown: str) -> int:
    """A rung goes before a failure, a failure before a version that lacks the field, and that before no check."""
    below = (Shown.NOT_RUN, Shown.ABSENT, Shown.FAILED)
    return len(below) + RUNGS.index(shown) if shown in RUNGS else below.index(Shown(shown))


def _newest(backend: str, matrix: Matrix) -> list[CellView]:
    """The last cell of each platform that has a record; where none has, the last cell."""
    views = [view for view in matrix.cells if view.cell.backend == backend]
    recorded = {view.cell.platform: view for view in views if view.record is not None}
    return list(recorded.values()) or views[-1:]


def _tables(model: type[BaseModel]) -> list[Table]:
    """The model and those inside it, each once, with every place where it stands."""
    places: dict[type[BaseModel], list[str]] = {}
    for path, found in _models(model, ""):
        places.setdefault(found, []).append(path)
    headings = {found: "`, `".join(paths) for found, paths in places.items()}
    return [
        Table(heading, (found.__doc__ or "").strip().split("\n\n")[0].replace("\n", " "), tuple(_rows(found, headings)))
        for found, heading in headings.items()
    ]


def _models(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, info in model.model_fields.items():
        many = "[]" if str(info.annotation).startswith("list") else ""
        for inner in words.models(info.annotation):
            if not issubclass(inner, Section):
                yield from _models(inner, f"{path}.{name}{many}" if path else f"{name}{many}")


def _rows(model: type[BaseModel], headings: Mapping[type[BaseModel], str]) -> Iterator[Row]:
    for name, info in model.model_fields.items():
        inner = next(words.models(info.annotation), None)
        takes = words.takes(info)
        if inner is not None:
            there = f"#{words.anchor(headings[inner])}" if inner in headings else f"backends/{name}.md"
            takes = re.sub(r"\b(sections?)\b", rf"[\1]({there})", takes, count=1)
        yield Row(
            name=name,
            takes=takes,
            null=type(None) in get_args(info.annotation),
            default=words.default(info),
            meaning=(info.description or "").replace("\n", " "),
            examples=words.examples(info),
            unit=words.unit(name, info.annotation),
        )


def _render(template: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - Markdown, not HTML
        loader=PackageLoader("llenergymeasure.reference"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = cell
    environment.filters["anchor"] = words.anchor
    return environment.get_template(template).render(**values)


def cell(text: str) -> str:
    """Text inside a table cell: no bar, no line break."""
    return text.replace("|", "\\|").replace("\n", " ")
