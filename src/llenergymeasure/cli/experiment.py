"""`llem run`, `schema` and `doctor`."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llenergymeasure.cli.formats import Config, Format

if TYPE_CHECKING:
    from llenergymeasure.core.results import Result

INTERRUPTED = 130


def run(
    config: Config,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="folder for result.json [default: results/NAME]")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="print nothing but errors")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an earlier result in the folder")] = False,
    output_format: Annotated[Format, typer.Option("--format", help="how to print the summary")] = Format.TEXT,
) -> None:
    """Run one experiment: load, warm up, measure, write result.json, print a summary."""
    from llenergymeasure.cli.progress import showing_progress
    from llenergymeasure.config.loading import load_config
    from llenergymeasure.core.writing import prepare_folder, write_result

    loaded = load_config(config)
    place = Path(os.path.expanduser(output or Path("results") / config.stem))  # noqa: PTH111 - takes any name
    made = not os.path.lexists(place)
    folder = prepare_folder(place, overwrite=overwrite)
    os.environ.setdefault("TQDM_DISABLE", "1")  # the backend's bars; the tool shows progress of its own
    from llenergymeasure.core.experiment import run_experiment

    # A scheduler that ends the job asks with SIGTERM first; what was finished is then kept as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with showing_progress(quiet=quiet or output_format is Format.JSON) as on_progress:
            result = run_experiment(loaded, on_progress)
    except BaseException as error:
        if made and not any(folder.iterdir()):
            folder.rmdir()  # a run that came to nothing leaves nothing
        if isinstance(error, KeyboardInterrupt):
            sys.stderr.write("interrupted before anything was measured; nothing was written\n")
            raise typer.Exit(INTERRUPTED) from None
        raise
    path = write_result(result, folder)
    if output_format is Format.JSON:
        sys.stdout.write(json.dumps(result.summary.model_dump(), indent=1) + "\n")
    elif not quiet:
        _print_summary(result, path)
    if result.status == "interrupted":
        sys.stderr.write(f"interrupted; what was finished is in {path}\n")
        raise typer.Exit(INTERRUPTED)


def schema(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="write here instead of to standard output")
    ] = None,
) -> None:
    """Print the JSON Schema of a configuration, for editors."""
    from llenergymeasure.config.models import ExperimentConfig
    from llenergymeasure.core.writing import write_whole

    text = json.dumps(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **ExperimentConfig.model_json_schema()}, indent=1
    )
    if output is None:
        sys.stdout.write(text + "\n")
    else:
        write_whole(output, text + "\n")


def doctor(output_format: Annotated[Format, typer.Option("--format", help="how to print it")] = Format.TEXT) -> None:
    """Say what this machine can run: backends, meters, runners; for each missing thing, what to do."""
    from llenergymeasure.core.doctor import Finding, examine
    from llenergymeasure.matrix.runners import runners

    findings = examine()
    for runner in runners():
        availability = runner.available()
        detail, remedy = availability.why, availability.remedy
        findings.append(Finding(f"runner {runner.name}", ok=availability.ok, detail=detail, remedy=remedy))
    if output_format is Format.JSON:
        sys.stdout.write(json.dumps([finding.__dict__ for finding in findings], indent=1) + "\n")
        return
    for finding in findings:
        mark = "ok     " if finding.ok else "missing"
        sys.stdout.write(f"{mark}  {finding.what}: {finding.detail}\n")
        if finding.remedy:
            sys.stdout.write(f"         → {finding.remedy}\n")


def _print_summary(result: "Result", path: Path) -> None:
    """Warnings first: they decide whether the figures may be used."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _rows(result):
        table.add_row(name, value)
    console.print(table)
    console.print(f"written to {path}", markup=False, highlight=False, soft_wrap=True)


def _rows(result: "Result") -> list[tuple[str, str]]:
    summary = result.summary
    rows = [
        (
            "requests",
            (
                f"{summary.requests} in {summary.window_s:.2f} s ({_count(result.repeats, 'pass', 'passes')}, "
                f"{_count(result.replicas, 'replica', 'replicas')})"
            ),
        ),
        ("tokens", f"{summary.input_tokens} in, {summary.output_tokens} out"),
        ("output throughput", _figure(summary.output_tokens_per_second, "tokens/s") + _spread(result)),
        ("time to first token", _distribution(summary.time_to_first_token_ms)),
        ("inter-token latency", _distribution(summary.inter_token_latency_ms)),
        ("request latency", _distribution(summary.request_latency_ms)),
        ("energy", _figure(summary.energy_j, "J")),
        ("energy per output token", _figure(summary.energy_per_output_token_j, "J/token")),
    ]
    if summary.energy_j is None:
        rows[6:] = [("energy", _no_energy(result))]
    return rows


def _spread(result: "Result") -> str:
    """How much the passes differ: a reader sees noise, or a clock that falls, at once."""
    rates = [item.output_tokens_per_second for item in result.passes if item.output_tokens_per_second is not None]
    return f" (passes from {min(rates):.4g} to {max(rates):.4g})" if len(rates) > 1 else ""


def _no_energy(result: "Result") -> str:
    from llenergymeasure.core.energy.nvml import NO_GPU_IN_USE

    energy, reasons = result.energy, result.energy.reasons
    if "summary" in reasons:
        read = {"GPUs": energy.gpu_total_j, "CPU packages": energy.cpu_package_j}
        used = ", ".join(f"{_figure(value, 'J')} ({name})" for name, value in read.items() if value is not None)
        return f"{used} in {energy.window_s:.2f} s, the unfinished batch in it; none per token"
    wanted = [reason for reason in dict.fromkeys(reasons.values()) if reason != NO_GPU_IN_USE]
    return f"no reading: {'; '.join(wanted)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _figure(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{value:.4g} {unit}"


def _distribution(value: Any) -> str:
    return "none" if value is None else f"p50 {value.p50:.1f} ms, p90 {value.p90:.1f} ms, p99 {value.p99:.1f} ms"
