"""`llem matrix`: run the pinned cells, merge their records into the compatibility page, compare two records."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llenergymeasure.cli import images
from llenergymeasure.cli import runners as where
from llenergymeasure.cli.matrix_list import list_command

if TYPE_CHECKING:
    from llenergymeasure.matrix.spec import Cell, Spec

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Run the pinned cells and merge what they found.")
app.command("list")(list_command)
app.command("lock")(images.lock)
app.command("bake")(images.bake)

_SpecPath = Annotated[Path, typer.Option("--spec", help="the pinned cells; its folder is the checkout")]
_Records = Annotated[Path, typer.Option("--records", help="the folder of records")]


@app.command("run")
def run_command(
    cells: Annotated[list[str] | None, typer.Argument(help="cells such as pytorch-5.23.0-cpu; none for all")] = None,
    backend: Annotated[str | None, typer.Option(help="all cells of one backend")] = None,
    platform: Annotated[str | None, typer.Option(help="all cells of one platform: cpu or cuda")] = None,
    runner: where.RunnerName = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder for the records")] = Path("docs/records"),
    spec: _SpecPath = Path("matrix.toml"),
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="print all that goes on in a cell")] = False,
    jobs: where.Jobs = 1,
    devices: where.Devices = None,
    image: where.Image = None,
    keep: where.Keep = False,
) -> None:
    """Run cells, one line for each as it ends, and write a record each; exit code 1 if any of them is red.

    A cell that this machine cannot run is not run, and said to be; exit code 3 if that is all, or if it was named.
    """
    from llenergymeasure.matrix.run import run_cells
    from llenergymeasure.matrix.runners import Options
    from llenergymeasure.matrix.spec import load

    chosen = _chosen(load(spec), cells or [], backend, platform)
    gpus = where.chosen_devices(devices, chosen)
    picked, why = where.picked(runner, Options(image, jobs, keep), chosen)
    chosen = where.runnable(chosen, picked, gpus, named=bool(cells))
    count = f"{len(chosen)} cell{'s' if len(chosen) != 1 else ''}"
    typer.echo(f"{count} on runner {picked.name} ({why}); what goes on is in build/cells/CELL/out/, -v prints it")
    try:
        with _shown(verbose) as (say, detail):
            checkout = spec.resolve().parent
            shown = {"say": say, "detail": detail}
            records = run_cells(chosen, picked, why, checkout, records=output, jobs=jobs, devices=gpus, **shown)
    except KeyboardInterrupt:
        typer.echo("interrupted; records of cells that had ended are written", err=True)
        raise typer.Exit(130) from None
    if any(record.status.bad for record in records):
        raise typer.Exit(1)


app.command("clean")(where.clean)


@app.command("merge")
def merge_command(
    records: _Records = Path("docs/records"),
    output: Annotated[Path, typer.Option("-o", "--output", help="the page")] = Path("docs/compatibility.md"),
    spec: _SpecPath = Path("matrix.toml"),
) -> None:
    """Merge records into the compatibility page, in Markdown and in HTML; exit code 1 if a cell is red or missing."""
    from llenergymeasure.errors import RequestError
    from llenergymeasure.matrix import history
    from llenergymeasure.matrix.html import html
    from llenergymeasure.matrix.merge import merge, read_folder, without_collector
    from llenergymeasure.matrix.page import markdown, summary, totals
    from llenergymeasure.matrix.records import bad_tests, in_words, write_text
    from llenergymeasure.matrix.spec import load

    if output.suffix == ".html":
        raise RequestError(
            f"-o {output}: the page in HTML is written beside it", "give the name of the one in Markdown"
        )
    try:
        with without_collector():
            matrix = merge(read_folder(records), load(spec), history.read_folder(records))
            pages = {output: markdown(matrix), output.with_suffix(".html"): html(matrix, output.parent)}
        for path, text in pages.items():
            write_text(text, path)
    except KeyboardInterrupt:
        typer.echo("interrupted; no page is half written", err=True)
        raise typer.Exit(130) from None
    typer.echo(totals(matrix))
    typer.echo(f"{', '.join(map(str, pages))}: {summary(matrix)}")
    for view in matrix.red:
        reason = in_words(view.record) if view.record else f"no record in {records}"
        typer.echo(f"  red: {view.cell.name}: {view.status}{': ' + reason if reason else ''}")
        for line in bad_tests(view.record) if view.record else ():
            typer.echo(f"    {line}")
    for view in matrix.not_run:
        typer.echo(f"  not run: {view.cell.name}: no record in {records}, and none is expected of every run")
    if matrix.red:
        raise typer.Exit(1)


@app.command("diff")
def diff_command(
    old: Annotated[Path, typer.Argument(help="the earlier record, or a folder of records")],
    new: Annotated[Path, typer.Argument(help="the later record, or a folder of records")],
    renames: Annotated[Path | None, typer.Option(help="a JSON object of old identities to new ones")] = None,
    output_format: Annotated[str, typer.Option("--format", help="table, md or json")] = "table",
) -> None:
    """Compare two records test by test and field by field; exit code 1 if anything regressed or disappeared.

    Of two folders, the newest records of each cell that both have.
    """
    from llenergymeasure.cli.changes import as_json, as_markdown, as_table, compare
    from llenergymeasure.errors import RequestError
    from llenergymeasure.matrix.diff import Kind

    if output_format not in ("table", "md", "json"):
        raise RequestError(f"--format {output_format}: no such format", "choose table, md or json")
    changes, alone = compare(old, new, read_renames(renames))
    folders = new.is_dir()
    if output_format == "json":
        typer.echo(as_json(changes, folders=folders))
    else:
        typer.echo(as_markdown(changes, alone) if output_format == "md" else as_table(changes, alone, folders=folders))
    if any(change.kind in (Kind.REGRESSED, Kind.DISAPPEARED) for found in changes.values() for change in found):
        raise typer.Exit(1)


@contextmanager
def _shown(verbose: bool) -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """Printers of a cell's line and of what goes on meanwhile: all of it, on a terminal the last line, else none."""
    if verbose:
        yield typer.echo, lambda line: typer.echo(f"  {line}")
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.markup import escape

        console = Console(highlight=False, markup=False)
        with console.status("starting") as status:
            yield (
                lambda line: console.print(line, soft_wrap=True),
                lambda line: status.update(escape(line[: console.width - 4])),
            )
    else:
        yield typer.echo, lambda _: None


def _chosen(spec: "Spec", names: list[str], backend: str | None, platform: str | None) -> "tuple[Cell, ...]":
    from llenergymeasure.errors import RequestError

    options = [f"--{key} {value}" for key, value in (("backend", backend), ("platform", platform)) if value is not None]
    if names and options:
        raise RequestError(f"both cells and {options[0]} are given", "give one of the two")
    if names:
        return tuple(spec.cell(name) for name in dict.fromkeys(names))
    found = spec.of(backend, platform)
    if not found:
        known = sorted({f"{cell.backend} on {cell.platform}" for cell in spec.cells})
        raise RequestError(f"{' '.join(options)}: matrix.toml has no such cell", f"it has cells of {', '.join(known)}")
    return found


def read_renames(path: Path | None) -> dict[str, str]:
    """A file of old test identities to new ones; none without a file."""
    import json

    from llenergymeasure.errors import RequestError

    if path is None:
        return {}
    try:
        renames = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: cannot be read ({error})", 'write a JSON object such as {"old": "new"}') from error
    if not isinstance(renames, dict) or not all(isinstance(new, str) for new in renames.values()):
        raise RequestError(f"{path}: not an object of texts", 'write a JSON object such as {"old": "new"}')
    return renames
