"""`llem matrix upgrade`: what another version of a backend changes, and what it breaks."""

import dataclasses
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llenergymeasure.matrix.spec import Spec
    from llenergymeasure.matrix.upgrade import check
    from llenergymeasure.matrix.upgrade.wheel import Wheel


class Format(StrEnum):
    """How the report is printed; the folder gets it as Markdown and as JSON in any case."""

    TEXT = "text"
    MD = "md"
    JSON = "json"


def upgrade_command(
    backend: Annotated[str, typer.Argument(help="the backend: pytorch, vllm")],
    version: Annotated[str, typer.Argument(help="the version to look at, such as 0.33.0")],
    static: Annotated[bool, typer.Option("--static", help="stop before anything is installed or run: seconds")] = False,
    wheel: Annotated[Path | None, typer.Option(help="the version's wheel; else found, or downloaded")] = None,
    old: Annotated[
        str | None, typer.Option("--from", help="a pinned version; the newest older one when left out")
    ] = None,
    platform: Annotated[str | None, typer.Option(help="only cells of one platform: cpu or cuda")] = None,
    runner: Annotated[str | None, typer.Option(help="where to run, as for `llem matrix run`")] = None,
    renames: Annotated[Path | None, typer.Option(help="a JSON object of old test identities to new ones")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="the folder for the report; build/upgrade/… when left out")
    ] = None,
    spec: Annotated[Path, typer.Option("--spec", help="the pinned cells; its folder is the checkout")] = Path(
        "matrix.toml"
    ),
    output_format: Annotated[Format, typer.Option("--format", help="how to print the report")] = Format.TEXT,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="print all that goes on in a cell")] = False,
) -> None:
    """Say what an upgrade touches and breaks; exit code 1 on a regression or a parameter that nobody accounts for.

    Reads the new version's wheel, compares it with the pinned version, then runs the new cell beside the old one.
    """
    from llenergymeasure.cli.matrix import read_renames
    from llenergymeasure.matrix.spec import load
    from llenergymeasure.matrix.upgrade import check

    checkout = spec.resolve().parent
    request = check.Request(backend, version, checkout, old, wheel, read_renames(renames))
    try:
        pinned = load(spec)
        made, found = check.read(request, _say)
        folder = output or checkout / "build" / "upgrade" / f"{backend}-{made.old}-{made.new}"
        report = check.Report(made)
        # What was read stays, whatever becomes of the cells.
        _write(report, folder)
        if not static:
            report = _run(request, pinned, report, found, folder, platform, runner, verbose=verbose)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; no report of the cells was written\n")
        raise typer.Exit(130) from None
    _print(report, output_format, folder)
    if report.red:
        raise typer.Exit(1)


def _run(
    request: "check.Request",
    spec: "Spec",
    report: "check.Report",
    wheel: "Wheel",
    folder: Path,
    platform: str | None,
    runner: str | None,
    *,
    verbose: bool,
) -> "check.Report":
    """The report with the cells; until they have ended, the one on disk says that they did not."""
    from llenergymeasure.matrix import runners
    from llenergymeasure.matrix.upgrade import check

    picked, why = runners.pick(runner)
    _say(f"runner: {picked.name} ({why})")
    pairs, lacking = check.pairs(request, spec, report.plan.old, wheel, platform, picked, _say)
    ahead = {pair.new.name: "the check did not come so far" for pair in pairs}
    _write(dataclasses.replace(report, not_run={**lacking, **ahead}), folder)
    kept = (folder / "records", request.checkout / "docs" / "records")
    detail = _detail if verbose else (lambda _: None)
    bench = check.Bench(picked, why, request.checkout, folder / "records", kept, _say, detail)
    beside = tuple(bench.beside(pair, request.renames) for pair in pairs)
    done = dataclasses.replace(report, cells=beside, not_run=lacking)
    _write(done, folder)
    return done


def _write(report: "check.Report", folder: Path) -> None:
    from llenergymeasure.matrix.records import write_text
    from llenergymeasure.matrix.upgrade.report import as_json, markdown

    write_text(markdown(report), folder / "report.md")
    write_text(as_json(report), folder / "report.json")


def _print(report: "check.Report", output_format: Format, folder: Path) -> None:
    from llenergymeasure.matrix.upgrade import report as reports

    write = {Format.TEXT: reports.text, Format.MD: reports.markdown, Format.JSON: reports.as_json}
    sys.stdout.write(write[output_format](report))
    if output_format is Format.TEXT:
        sys.stdout.write(f"report: {folder / 'report.md'} and report.json\n")


def _say(line: str) -> None:
    """Progress goes beside the report, which may be JSON."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _detail(line: str) -> None:
    _say(f"  {line}")
