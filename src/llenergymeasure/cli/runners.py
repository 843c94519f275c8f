"""Options of `llem matrix run` about where cells run, and `llem matrix clean`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llenergymeasure.matrix.runners import Options
    from llenergymeasure.matrix.runners.base import Runner
    from llenergymeasure.matrix.spec import Cell

RunnerName = Annotated[str | None, typer.Option("--runner", help="where to run: venv, docker or podman")]
Image = Annotated[str | None, typer.Option("--image", help="run in this image instead of building one")]
Jobs = Annotated[int, typer.Option("-j", "--jobs", min=1, help="how many cells at a time, one to a GPU")]
Devices = Annotated[str | None, typer.Option("--devices", help="the GPUs to use, such as 0,1; all without it")]
Keep = Annotated[bool, typer.Option("--keep", help="leave containers and their results for a look")]


def chosen_devices(text: str | None, cells: "tuple[Cell, ...]") -> tuple[str, ...]:
    from llenergymeasure.errors import EnvironmentLacksError, RequestError
    from llenergymeasure.matrix import host
    from llenergymeasure.matrix.runners.gpu import parse_devices

    if text is None:
        return ()
    devices = parse_devices(text)
    if not any(cell.platform == "cuda" for cell in cells):
        raise RequestError(f"--devices {text}: none of these cells is on cuda", "leave it out, or choose another cell")
    there = host.devices()
    missing = [name for name in devices if name.isdecimal() and there and name not in there]
    if missing:
        remedy = f"the GPUs are {', '.join(there)}; `nvidia-smi -L` lists them"
        raise EnvironmentLacksError(f"--devices {text}: no GPU {', '.join(missing)} here", remedy)
    return devices


def picked(name: str | None, options: "Options", cells: "tuple[Cell, ...]") -> "tuple[Runner, str]":
    """The runner and why that one; refuses options that it would ignore."""
    from llenergymeasure.errors import RequestError
    from llenergymeasure.matrix import runners

    if options.image is not None and len(cells) > 1:
        cause = f"--image {options.image}: one image for {len(cells)} cells"
        raise RequestError(cause, "name the one cell that it is of")
    runner, why = runners.pick(name, options)
    ignored = [option for option, given in (("--image", options.image), ("--keep", options.keep)) if given]
    if ignored and runner.name == "venv":
        raise RequestError(f"{ignored[0]}: runner venv has no containers", "add --runner docker or --runner podman")
    return runner, why


def runnable(
    chosen: "tuple[Cell, ...]", runner: "Runner", devices: tuple[str, ...], *, named: bool
) -> "tuple[Cell, ...]":
    """What this machine can run of the chosen cells; nothing has been installed or built by then."""
    from llenergymeasure.errors import EnvironmentLacksError
    from llenergymeasure.matrix.run import lacking, not_run

    missing = lacking(chosen, runner, devices)
    if missing and (named or len(missing) == len(chosen)):
        reasons = ", ".join(dict.fromkeys(found.why for found in missing.values()))
        remedies = "; ".join(dict.fromkeys(found.remedy for found in missing.values()))
        raise EnvironmentLacksError(f"not run: {', '.join(missing)}: {reasons}", remedies)
    for name, found in missing.items():
        typer.echo(not_run(name, found.why))
    return tuple(cell for cell in chosen if cell.name not in missing)


def clean(
    everything: Annotated[bool, typer.Option("--all", help="also of runs that may still be under way")] = False,
) -> None:
    """Remove the containers that ended runs left behind, on every container daemon of this machine.

    Exit code 1 if one could not be removed, 3 if no daemon answers.
    """
    from llenergymeasure.errors import EnvironmentLacksError
    from llenergymeasure.matrix.runners import owners
    from llenergymeasure.matrix.runners.daemon import KINDS, DaemonError, connect

    refusals: list[DaemonError] = []
    failed = False
    for kind in KINDS:
        try:
            daemon = connect(kind)
        except DaemonError as error:
            refusals.append(error)
            continue
        with daemon:
            done = owners.clean(daemon.api, everything=everything)
        typer.echo(
            f"{daemon.words}: {len(done.removed)} removed{': ' if done.removed else ''}{', '.join(done.removed)}"
        )
        for names, words in ((done.running, "still running"), (done.unknown, "of another machine or an earlier boot")):
            for name in names:
                typer.echo(f"  left: {name}: {words}; --all removes it, too")
        for name, why in done.failed:
            typer.echo(f"  not removed: {name}: {why}", err=True)
            failed = True
    if len(refusals) == len(KINDS):
        raise EnvironmentLacksError("; ".join(error.cause for error in refusals), refusals[0].remedy)
    if failed:
        raise typer.Exit(1)
