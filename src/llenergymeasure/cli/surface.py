"""`llem surface`: what a backend's version accepts, and what changed between two versions."""

import os
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llenergymeasure.surface.model import Surface

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="What a backend accepts, version by version.")

_Installed = Annotated[bool, typer.Option("--installed", help="read the live objects of what is installed here")]


class Format(StrEnum):
    """How a comparison is printed."""

    TABLE = "table"
    JSON = "json"
    MD = "md"


@app.command("extract")
def extract_command(
    backend: Annotated[str, typer.Argument(help="the backend: pytorch, vllm")],
    wheel: Annotated[Path | None, typer.Option(help="read a wheel; nothing is installed")] = None,
    source: Annotated[Path | None, typer.Option(help="read a package folder or a checkout")] = None,
    installed: _Installed = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="write here instead of to standard output")
    ] = None,
) -> None:
    """Read every parameter of a backend's entry points into one JSON file."""
    from llenergymeasure.errors import RequestError
    from llenergymeasure.surface.model import to_json

    if sum((wheel is not None, source is not None, installed)) != 1:
        raise RequestError(
            "surface extract: one source is needed", "give one of --wheel FILE, --source FOLDER, --installed"
        )
    text = to_json(_extract(backend, wheel, source))
    if output is None:
        sys.stdout.write(text)
    else:
        _write(output, text)


def _extract(backend: str, wheel: Path | None, source: Path | None) -> "Surface":
    from llenergymeasure.surface import extract

    if wheel is not None:
        return extract.from_wheel(backend, wheel)
    if source is not None:
        return extract.from_source(backend, source)
    from llenergymeasure.surface.live import from_installed

    return from_installed(backend)


@app.command("diff")
def diff_command(
    backend: Annotated[str, typer.Argument(help="the backend: pytorch, vllm")],
    old: Annotated[str, typer.Argument(help="a pinned version, or a surface file")],
    new: Annotated[str, typer.Argument(help="a pinned version, or a surface file")],
    output_format: Annotated[Format, typer.Option("--format", help="how to print it")] = Format.TABLE,
) -> None:
    """Print what changed from one version to another, and which config fields that touches."""
    from llenergymeasure.config.renames import renames
    from llenergymeasure.surface import diff

    result = diff.diff(_surface(backend, old), _surface(backend, new), renames(backend))
    fields = _fields(backend)
    if output_format is Format.JSON:
        sys.stdout.write(diff.format_json(result, fields))
    elif output_format is Format.MD:
        sys.stdout.write(diff.format_markdown(result, fields))
    else:
        sys.stdout.write(diff.format_table(result, fields))


def _surface(backend: str, version: str) -> "Surface":
    from llenergymeasure.errors import RequestError
    from llenergymeasure.surface import model, snapshots

    path = Path(version)
    if path.suffix != ".json":
        return snapshots.load(backend, version)
    if not path.is_file():
        raise RequestError(f"{version}: no such surface file", "write one with `llem surface extract`")
    surface = model.read(path)
    if surface.backend != backend:
        raise RequestError(f"{version}: a surface of the backend {surface.backend}", f"compare it as {surface.backend}")
    return surface


def _fields(backend: str) -> dict[tuple[str, str], str]:
    """The path of the config field that sets each parameter."""
    from llenergymeasure.config.bindings import walk
    from llenergymeasure.config.models import ExperimentConfig

    return {
        (target.entry_point, target.name): field.path
        for field in walk(ExperimentConfig, backend)
        for target in field.targets(backend)
    }


def _write(path: Path, text: str) -> None:
    """Through a temporary file beside it: an earlier surface stays whole if the disk is full."""
    from llenergymeasure.errors import EnvironmentLacksError

    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise EnvironmentLacksError(
            f"{path}: cannot be written ({reason})", "give another path with -o, or make room"
        ) from error
