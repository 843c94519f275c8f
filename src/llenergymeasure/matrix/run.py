"""Running cells one after the other on one runner, each to its record."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

from llenergymeasure.matrix import history, host
from llenergymeasure.matrix.records import CellRecord, bad_tests, counts, in_words
from llenergymeasure.matrix.runners import base
from llenergymeasure.matrix.spec import Cell


def work_folder(checkout: Path, cell: Cell) -> Path:
    """What a cell needs while it runs and keeps for the next time: its environment, its logs."""
    return checkout / "build" / "cells" / cell.name


def lacking(cells: Iterable[Cell]) -> dict[str, str]:
    """The cells that this machine cannot run whatever is installed, by name, and what each of them needs."""
    found = {}
    needs: dict[str, str] = {}
    for cell in cells:
        if cell.platform not in needs:
            needs[cell.platform] = host.lacks(cell.platform)
        if needs[cell.platform]:
            found[cell.name] = f"needs {needs[cell.platform]}"
    return found


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
) -> list[CellRecord]:
    """One record each in `records`, also where the run died; of the one that it replaces the history keeps the figures.

    Args:
        say: gets one line for each cell once it has ended, and one for each of its tests that is bad.
        detail: gets each line of what goes on meanwhile; the cell's log has it in full.
    """
    done = []
    for cell in cells:
        detail(f"{cell.name}: on runner {runner.name} ({why}), deadline {cell.deadline_s:g} s")
        out_dir = work_folder(checkout, cell) / "out"
        record = runner.run(cell, checkout, out_dir, cell.deadline_s, detail)
        record = dataclasses.replace(record, runner_why=why)
        if problem := history.replace(record, records / f"{cell.name}.json"):
            say(f"{cell.name}: {problem}")
        say(ended(record, out_dir / base.LOG, checkout))
        for line in bad_tests(record):
            say(f"  {line}")
        done.append(record)
    return done


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
