"""Running cells one after the other on one runner, each to its record."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

from llenergymeasure.matrix.records import CellRecord, in_words, write
from llenergymeasure.matrix.runners import base
from llenergymeasure.matrix.spec import Cell


def work_folder(checkout: Path, cell: Cell) -> Path:
    """What a cell needs while it runs and keeps for the next time: its environment, its logs."""
    return checkout / "build" / "cells" / cell.name


def run_cells(
    cells: Iterable[Cell],
    runner: base.Runner,
    why: str,
    checkout: Path,
    *,
    records: Path,
    say: Callable[[str], None],
) -> list[CellRecord]:
    """One record each in `records`, replacing an earlier one, also where the run died."""
    done = []
    for cell in cells:
        say(f"{cell.name}: on runner {runner.name} ({why}), deadline {cell.deadline_s:g} s")
        out_dir = work_folder(checkout, cell) / "out"
        record = runner.run(cell, checkout, out_dir, cell.deadline_s, lambda line: say(f"  {line}"))
        record = dataclasses.replace(record, runner_why=why)
        write(record, records / f"{cell.name}.json")
        words = in_words(record)
        say(f"{cell.name}: {record.status}{': ' + words if words else ''} ({record.duration_s:.0f} s)")
        done.append(record)
    return done
