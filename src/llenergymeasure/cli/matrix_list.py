"""`llem matrix list`: the pinned cells, for a reader, or for a scheduler that starts each as a job of its own."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llenergymeasure.matrix.spec import Cell


def list_command(
    backend: Annotated[str | None, typer.Option(help="only cells of one backend")] = None,
    platform: Annotated[str | None, typer.Option(help="only cells of one platform: cpu or cuda")] = None,
    not_in: Annotated[Path | None, typer.Option(help="leave out cells that this other matrix.toml has, too")] = None,
    spec: Annotated[Path, typer.Option("--spec", help="the pinned cells")] = Path("matrix.toml"),
    output_format: Annotated[str, typer.Option("--format", help="text or json, which is one line")] = "text",
) -> None:
    """List the pinned cells. None is a list as well, and ends with exit code 0."""
    from llenergymeasure.matrix.spec import BACKENDS, PLATFORMS, load

    _check("--format", output_format, ("text", "json"))
    _check("--backend", backend, BACKENDS)
    _check("--platform", platform, PLATFORMS)
    left_out = {cell.name for cell in load(not_in).cells} if not_in else set()
    cells = [cell for cell in load(spec).of(backend, platform) if cell.name not in left_out]
    text = _as_json(cells) if output_format == "json" else _as_text(cells)
    if text:
        typer.echo(text)


def _check(option: str, value: str | None, known: tuple[str, ...]) -> None:
    from llenergymeasure.errors import RequestError

    if value is None or value in known:
        return
    near = difflib.get_close_matches(value, known, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"choose {', '.join(known[:-1])} or {known[-1]}"
    raise RequestError(f"{option} {value}: there is no such {option.removeprefix('--')}", remedy)


def _as_json(cells: "list[Cell]") -> str:
    """One line, since a job's output on GitHub is one."""
    import json

    keys = ("name", "backend", "version", "platform", "python", "deadline_s", "expected")
    return json.dumps([{key: getattr(cell, key) for key in keys} for cell in cells])


def _as_text(cells: "list[Cell]") -> str:
    width = max((len(cell.name) for cell in cells), default=0)
    return "\n".join(
        f"{cell.name:<{width}}  {cell.package} {cell.version}, Python {cell.python}, "
        f"at most {cell.deadline_s / 60:g} min{'' if cell.expected else ', on request'}"
        for cell in cells
    )
