"""`llem audit`: coverage and wiring."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llenergymeasure.audit.coverage import Coverage
    from llenergymeasure.audit.wiring import Wiring
    from llenergymeasure.surface.model import Surface

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Hold what a user may set against what the backend accepts."
)


class Format(StrEnum):
    """How an audit is printed."""

    TABLE = "table"
    JSON = "json"
    MD = "md"
    JUNIT = "junit"


class Rung(StrEnum):
    """How far the wiring audit climbs."""

    DECLARED = "declared"
    SENT = "sent"
    ACCEPTED = "accepted"


Backend = Annotated[str | None, typer.Argument(help="pytorch or vllm; all of them when left out")]
Version = Annotated[str | None, typer.Option(help="one pinned version; all of them when left out")]
Installed = Annotated[bool, typer.Option("--installed", help="the live surface of what is installed here")]
Output = Annotated[Format, typer.Option("--format", help="how to print it")]


@app.command("coverage")
def coverage_command(
    backend: Backend = None,
    version: Version = None,
    installed: Installed = False,
    output_format: Output = Format.TABLE,
) -> None:
    """Account for every parameter: a field, set by the tool, reachable by name, or left out for a reason."""
    from llenergymeasure.audit import report
    from llenergymeasure.audit.coverage import coverage, stale_entries

    names = _names(backend, version, installed=installed)
    surfaces = {name: [_live(name)] if installed else _surfaces(name, version) for name in names}
    results = [coverage(surface) for found in surfaces.values() for surface in found]
    whole = version is None and not installed
    stale = [entry for found in surfaces.values() for entry in stale_entries(found)] if whole else []
    if output_format is Format.JSON:
        sys.stdout.write(report.coverage_json(results, stale))
    else:
        write = report.markdown if output_format is Format.MD else report.text
        sys.stdout.write(write(report.coverage_table(results), report.COVERAGE_LEGEND))
    problems = [f"{_of(item)}: {problem}" for item in results for problem in item.problems] + stale
    _conclude(problems, "add a field, or an entry with its reason to the ledger")


@app.command("wiring")
def wiring_command(
    backend: Backend = None,
    version: Version = None,
    rung: Annotated[Rung, typer.Option(help="how far to climb; accepted needs the backend installed")] = Rung.SENT,
    installed: Installed = False,
    mutate: Annotated[
        bool, typer.Option("--mutate", help="prove the proof: unbind every field and see the audit turn red")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="also write JUnit here")] = None,
    output_format: Output = Format.TABLE,
) -> None:
    """Prove field by field that what is set is what the backend gets."""
    from llenergymeasure.audit import report
    from llenergymeasure.audit.wiring import mutation_survivors, never_sent, wiring

    installed = installed or rung is Rung.ACCEPTED
    surfaces, results, unsent = [], [], []
    for name in _names(backend, version, installed=installed):
        accept = None
        if rung is Rung.ACCEPTED:
            from llenergymeasure.audit.accepted import acceptor

            accept = acceptor(name)
        surfaces += (found := _surfaces(name, version, installed=installed))
        climbed = [wiring(surface, rung.value, accept) for surface in found]
        results += climbed
        if version is None and not installed:
            unsent += never_sent(climbed)
    if junit is not None:
        junit.write_bytes(report.wiring_junit(results))
    if output_format is Format.JSON:
        sys.stdout.write(report.wiring_json(results))
    elif output_format is Format.JUNIT:
        sys.stdout.buffer.write(report.wiring_junit(results))
    else:
        write = report.markdown if output_format is Format.MD else report.text
        sys.stdout.write(write(report.wiring_table(results), report.WIRING_LEGEND))
    problems = [problem for item in results for problem in _grouped(item)]
    problems += [f"{_of(item)}: {problem}" for item in results for problem in item.unowned]
    problems += unsent
    if mutate:
        survivors = [(_of(surface), path) for surface in surfaces for path in mutation_survivors(surface)]
        proven = sum(proof.status != "absent" for item in results for proof in item.proofs)
        sys.stderr.write(f"mutation proof: {proven - len(survivors)} of {proven} unbound fields turned the audit red\n")
        problems += [f"{of}: {path}: unbound, and the audit did not notice" for of, path in survivors]
    _conclude(problems, "mend the declaration, or the backend module")


def _grouped(result: "Wiring") -> list[str]:
    """One line per reason: what breaks the backend module breaks every field."""
    reasons: dict[str, list[str]] = {}
    for proof in result.failed:
        reasons.setdefault(proof.reason, []).append(proof.path)
    return [
        f"{_of(result)}: {', '.join(paths[:3])}{f' and {len(paths) - 3} more' if len(paths) > 3 else ''}: {reason}"
        for reason, paths in reasons.items()
    ]


def _of(result: "Wiring | Surface | Coverage") -> str:
    return f"{result.backend} {result.version}"


def _names(backend: str | None, version: str | None, *, installed: bool) -> list[str]:
    """The backends that are meant: the one that is named, else all, or all that are installed."""
    from llenergymeasure.errors import RequestError
    from llenergymeasure.surface import snapshots
    from llenergymeasure.surface.packages import BACKENDS

    if backend is not None:
        return [backend]
    if installed:
        return [name for name in BACKENDS if snapshots.is_installed(name)] or [
            BACKENDS[0]
        ]  # which says what is missing
    if version is not None:
        having = [name for name in BACKENDS if version in snapshots.versions(name)]
        if len(having) != 1:
            raise RequestError(
                f"--version {version}: {'no' if not having else 'more than one'} backend has a snapshot of it",
                f"name the backend: {' or '.join(having or BACKENDS)}",
            )
        return having
    return list(BACKENDS)


def _live(name: str) -> "Surface":
    """The live objects' own surface; where it and the source disagree, one of them was misread."""
    from llenergymeasure.errors import FindingError
    from llenergymeasure.surface import live, snapshots

    found = live.from_installed(name)
    if differences := live.compare(snapshots.installed(name), found):
        raise FindingError(
            f"{found.package} {found.version}: source and live objects disagree: {'; '.join(differences)}",
            "mend the extraction: a surface that is wrong hides what is missing",
        )
    return found


def _surfaces(name: str, version: str | None, *, installed: bool = False) -> "list[Surface]":
    from llenergymeasure.surface import snapshots

    if installed:
        return [snapshots.installed(name)]
    return [snapshots.load(name, item) for item in ([version] if version else snapshots.versions(name))]


def _conclude(problems: list[str], remedy: str) -> None:
    """Exit code 1 with every finding on stderr."""
    if not problems:
        return
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    sys.stderr.write(f"  → {remedy}\n")
    raise typer.Exit(1)
