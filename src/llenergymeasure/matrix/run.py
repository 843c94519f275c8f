"""Running cells on one runner, each to its record."""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from llenergymeasure.matrix import history, host, schedule
from llenergymeasure.matrix.records import CellRecord, bad_tests, counts, in_words
from llenergymeasure.matrix.runners import base
from llenergymeasure.matrix.spec import Cell


def work_folder(checkout: Path, cell: Cell) -> Path:
    """What a cell needs while it runs and keeps for the next time: its environment, its logs."""
    return checkout / "build" / "cells" / cell.name


def lacking(cells: Iterable[Cell], runner: base.Runner, devices: Sequence[str] = ()) -> dict[str, base.Availability]:
    """The cells that this machine cannot run whatever is installed, by name, and what each of them needs."""
    found = {}
    needs: dict[str, base.Availability] = {}
    for cell in cells:
        if cell.platform not in needs:
            needs[cell.platform] = _needs(cell.platform, runner, devices)
        if not needs[cell.platform].ok:
            found[cell.name] = needs[cell.platform]
    return found


def _needs(platform: str, runner: base.Runner, devices: Sequence[str]) -> base.Availability:
    if missing := host.lacks(platform):
        remedy = "run it on a machine that has one; `llem doctor` says what is here"
        return base.Availability(ok=False, why=f"needs {missing}", remedy=remedy)
    return schedule.undisturbed(lambda: runner.reaches(platform, devices))


def not_run(name: str, why: str) -> str:
    """The line of a cell that is passed over; it leaves no record, so that an earlier one stays."""
    return _line(name, "not run", why)


def run_cells(
    cells: Iterable[Cell],
    runner: base.Runner,
    why: str,
    checkout: Path,
    *,
    records: Path,
    say: Callable[[str], None],
    detail: Callable[[str], None] = lambda _: None,
    jobs: int = 1,
    devices: Sequence[str] = (),
) -> list[CellRecord]:
    """One record each in `records`, also where the run died; of the one that it replaces the history keeps the figures.

    Args:
        say: gets one line for each cell once it has ended, and one for each of its tests that is bad.
        detail: gets each line of what goes on meanwhile; the cell's log has it in full.
        jobs: how many cells run beside each other, each with GPUs of its own.
        devices: the GPUs to use; empty for all that this process may use.
    """
    whole_lines = threading.Lock()

    def tell(line: str) -> None:
        with whole_lines:
            detail(line)

    def one(cell: Cell, group: Sequence[str]) -> CellRecord:
        on_line: base.OnLine = tell if jobs == 1 else lambda line: tell(f"{cell.name}: {line}")
        on = f", on GPU {','.join(group)}" if group else ""
        tell(f"{cell.name}: on runner {runner.name} ({why}){on}, deadline {cell.deadline_s:g} s")
        out_dir = work_folder(checkout, cell) / "out"
        record = runner.run(cell, checkout, out_dir, cell.deadline_s, on_line, group)
        record = dataclasses.replace(record, runner_why=why)
        if problem := history.replace(record, records / f"{cell.name}.json"):
            with whole_lines:
                say(f"{cell.name}: {problem}")
        return record

    def say_ended(record: CellRecord) -> None:
        log = work_folder(checkout, record.cell) / "out" / base.LOG
        with whole_lines:
            say(ended(record, log, checkout))
            for line in bad_tests(record):
                say(f"  {line}")

    chosen = list(cells)
    on_gpus = any(cell.platform == "cuda" for cell in chosen)
    known = tuple(devices) or (host.devices() if on_gpus else ())
    return schedule.Plan(chosen, one, jobs, schedule.share(known, jobs), say_ended).run()


def ended(record: CellRecord, log: Path, checkout: Path) -> str:
    """How a cell ended, how long it took, and where all of it stands."""
    tests = [
        f"{number} {'not run' if outcome == 'skipped' else outcome.value.replace('_', ' ')}"
        for outcome, number in counts(record).items()
        if number and not outcome.bad
    ]
    bad = in_words(record)
    minutes, seconds = divmod(round(record.duration_s), 60)
    shown = log.relative_to(checkout) if log.is_relative_to(checkout) else log
    parts = [
        f"{minutes} min {seconds:2d} s",
        *([", ".join(tests)] if tests else []),
        *([bad] if bad else []),
        f"log: {shown}",
    ]
    return _line(record.cell.name, record.status, "; ".join(parts))


def _line(name: str, status: str, words: str) -> str:
    return f"{name:<24} {status:<8} {words}"
