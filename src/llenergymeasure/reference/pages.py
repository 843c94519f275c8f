"""Every generated page of the docs, as text; writing and checking them is the command line's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from llenergymeasure.audit.coverage import fields_of
from llenergymeasure.config.bindings import Section
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.results import Result
from llenergymeasure.matrix.merge import Matrix, merge, read_folder
from llenergymeasure.matrix.page import markdown
from llenergymeasure.matrix.spec import load
from llenergymeasure.reference.fields import entries
from llenergymeasure.surface import ledger, snapshots

BACKENDS = ("pytorch",)


def generated_pages(checkout: Path) -> dict[Path, str]:
    """Path and text of every generated page; the same checkout gives the same text."""
    docs = checkout / "docs"
    matrix = merge(read_folder(docs / "records"), load(checkout / "matrix.toml"))
    pages = {docs / "compatibility.md": markdown(matrix)}
    for backend in BACKENDS:
        pages[docs / "backends" / f"{backend}.md"] = backend_page(backend, matrix)
    pages[docs / "configuration.md"] = configuration_page()
    pages[docs / "result.md"] = result_page()
    return pages


def backend_page(backend: str, matrix: Matrix) -> str:
    """The parameter reference of one backend."""
    return _render(
        "backend.md.j2",
        backend=backend,
        versions=snapshots.versions(backend),
        package=snapshots.load(backend, snapshots.versions(backend)[-1]).package,
        groups=entries(backend, _proofs(backend, matrix)),
        count=len(fields_of(backend)),
        ledger=ledger.load(backend).entries,
    )


def configuration_page() -> str:
    """The parts of a configuration that are no backend's parameters."""
    return _render(
        "model.md.j2", title="Configuration", intro=_CONFIGURATION, tables=list(_tables(ExperimentConfig, ""))
    )


def result_page() -> str:
    """The fields of result.json."""
    return _render("model.md.j2", title="result.json", intro=_RESULT, tables=list(_tables(Result, "")))


_CONFIGURATION = (
    "What an experiment is, the same on every backend. The sections of the backends have pages of their own: "
    "[pytorch](backends/pytorch.md). `llem schema` prints all of it as JSON Schema for an editor."
)
_RESULT = (
    "What `llem run` writes. Names carry their unit and denominator; null means that there is no reading, never zero. "
    "`schema_version` changes when a field changes its meaning or goes."
)


def _proofs(backend: str, matrix: Matrix) -> dict[str, str]:
    """The rung of each field in the newest cell of the backend."""
    cells = [view.cell.name for view in matrix.cells if view.cell.backend == backend]
    newest = cells[-1] if cells else ""
    return {path: str(states[newest].shown) for path, states in matrix.fields.items() if newest in states}


def _tables(model: type[BaseModel], path: str) -> Iterator[tuple[str, str, list[tuple[str, str, str, str]]]]:
    """Per model its path, its docstring's first line, and a row per field: name, type, default, description."""
    rows, inner = [], []
    for name, info in model.model_fields.items():
        nested = [item for item in _models(info.annotation) if not issubclass(item, Section)]
        default = "required" if info.is_required() else _default(info.get_default(call_default_factory=True))
        rows.append((name, _type(info.annotation), default, (info.description or "").replace("\n", " ")))
        inner += [(item, f"{path}.{name}" if path else name) for item in nested]
    yield path or "(top level)", (model.__doc__ or "").strip().splitlines()[0], rows
    for item, place in inner:
        yield from _tables(item, place)


def _default(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "its defaults"
    return (
        {None: "null", True: "true", False: "false"}.get(value, repr(value))
        if isinstance(value, bool | None)
        else repr(value)
    )


def _type(annotation: Any) -> str:
    return (
        str(getattr(annotation, "__name__", annotation))
        .replace("typing.", "")
        .replace("llenergymeasure.config.", "")
        .replace("pathlib.", "")
    )


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


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
    return environment.get_template(template).render(**values)


def cell(text: str) -> str:
    """Text inside a table cell: no bar, no line break."""
    return text.replace("|", "\\|").replace("\n", " ")
