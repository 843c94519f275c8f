"""`llem matrix lock` and `llem matrix bake`: what the cells' container images are made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llenergymeasure.matrix.spec import Cell, Spec

_SpecPath = Annotated[Path, typer.Option("--spec", help="the pinned cells; its folder is the checkout")]
_Names = Annotated[list[str] | None, typer.Argument(help="cells such as pytorch-5.23.0-cpu; none for all")]


def lock(
    cells: _Names = None,
    spec: _SpecPath = Path("matrix.toml"),
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="take the newest of what matrix.toml does not pin")
    ] = False,
    digests: Annotated[bool, typer.Option(help="ask the registries for the base images' digests")] = True,
) -> None:
    """Pin and hash all that the cells' images hold, and the digests of their base images where a registry answers.

    A digest that could not be had stays as it was, and is said to be; exit code 3 then.
    """
    from llenergymeasure.matrix import locks
    from llenergymeasure.matrix.records import write_text
    from llenergymeasure.matrix.spec import load

    checkout = spec.resolve().parent
    pinned = load(spec)
    chosen = _chosen(pinned, cells)
    work = checkout / "build" / "locks"
    work.mkdir(parents=True, exist_ok=True)
    for cell in chosen:
        text = locks.make(cell, checkout, work, typer.echo, upgrade=upgrade)
        write_text(text, locks.path(checkout, cell.name))
    if not cells:
        pythons = [cell.python for cell in pinned.cells]
        write_text(locks.make_tools(pythons, checkout, work, upgrade=upgrade), locks.path(checkout, locks.TOOLS))
    if digests:
        _pin_bases(chosen, pinned, spec)


def bake(cells: _Names = None, spec: _SpecPath = Path("matrix.toml")) -> None:
    """Print a bake file of the cells' images, for `docker buildx bake -f FILE` in the checkout."""
    import json

    from llenergymeasure.matrix.images import bake as bake_file
    from llenergymeasure.matrix.spec import load

    document = bake_file(_chosen(load(spec), cells), spec.resolve().parent)
    typer.echo(json.dumps(document, indent=2))


def _chosen(spec: "Spec", names: list[str] | None) -> "tuple[Cell, ...]":
    return tuple(spec.cell(name) for name in dict.fromkeys(names)) if names else spec.cells


def _pin_bases(chosen: "tuple[Cell, ...]", spec: "Spec", path: Path) -> None:
    from llenergymeasure.errors import EnvironmentLacksError
    from llenergymeasure.matrix import digests

    found: dict[str, str] = {}
    refusals: list[str] = []
    for image in dict.fromkeys(cell.base_image for cell in chosen if cell.base_image):
        try:
            found[image] = digests.resolve(image)
            others = {cell.base_digest for cell in chosen if cell.base_image == image} - {"", found[image]}
            typer.echo(f"{image}: {found[image]}{f', was {other}' if (other := ', '.join(sorted(others))) else ''}")
        except EnvironmentLacksError as error:
            refusals.append(error.cause)
    pinned = {cell.name: found[cell.base_image] for cell in chosen if cell.base_image in found}
    if pinned:
        digests.write(path, pinned, spec.cells)
    if refusals:
        cause = "\n".join([*refusals, "the locks are written; these digests stay as they were"])
        raise EnvironmentLacksError(cause, "run it where the registries are reached; a run without a digest says so")
