"""The runner that is always there: a virtual environment per cell, kept until what it was made of changes."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llenergymeasure.errors import LlemError, RequestError
from llenergymeasure.matrix import journal
from llenergymeasure.matrix.records import CellRecord, Outcome, write
from llenergymeasure.matrix.runners import base, installing
from llenergymeasure.matrix.runners.process import run_group
from llenergymeasure.matrix.spec import Cell

# A backend's own switches: only those that the cell pins may be on in it.
_SWITCHES = ("VLLM_",)

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class VenvRunner:
    """Implements `base.Runner`.

    Attributes:
        python: makes the cell's environment in a folder and returns its interpreter; None for `installing.prepare`.
        program: what that interpreter runs, before the cell's name.
    """

    python: Callable[[Cell, Path, Path, OnLine], Path] | None = None
    program: tuple[str, ...] = ("-m", "llenergymeasure.matrix.cell")
    grace_s: float = 10.0

    @property
    def name(self) -> str:
        return "venv"

    def available(self) -> base.Availability:
        if os.name != "posix":
            return base.Availability(ok=False, why="needs process groups, which this system lacks")
        return base.Availability(ok=True, why="a virtual environment needs no container daemon")

    def run(
        self,
        cell: Cell,
        checkout: Path,
        out_dir: Path,
        deadline_s: float,
        on_line: OnLine,
        *,
        tests: tuple[str, ...] = (),
    ) -> CellRecord:
        checkout, out_dir = checkout.resolve(), out_dir.resolve()
        out_dir.mkdir(parents=True, exist_ok=True)
        begun = base.start(cell, self.name, self.available().why, checkout)
        try:
            with _alone(out_dir):
                record = self._run(begun, checkout, out_dir, deadline_s, on_line, tests)
                write(record, out_dir / base.RECORD)
        except KeyboardInterrupt:
            write(base.assemble(begun, out_dir, None, deadline_s), out_dir / base.RECORD)
            raise
        return record

    def _run(
        self,
        begun: base.Start,
        checkout: Path,
        out_dir: Path,
        deadline_s: float,
        on_line: OnLine,
        tests: tuple[str, ...],
    ) -> CellRecord:
        # What an earlier run left must never be read as this one's.
        for name in (base.PART, base.LOG, base.RECORD, installing.LOG, journal.FILE, "junit.xml", "wiring.xml"):
            (out_dir / name).unlink(missing_ok=True)
        try:
            python = (self.python or installing.prepare)(begun.cell, checkout, out_dir, on_line)
            ended = run_group(
                [str(python), *self.program, begun.cell.name, "--out", str(out_dir), *base.only(tests)],
                cwd=checkout,
                env=cell_environment(os.environ, python, begun.cell.environment),
                log=out_dir / base.LOG,
                on_line=on_line,
                deadline_s=deadline_s,
                grace_s=self.grace_s,
            )
        except installing.SetupTimeoutError as error:
            return base.broken(begun, Outcome.TIMEOUT, _one_line(error))
        except LlemError as error:
            return base.broken(begun, Outcome.ERROR, _one_line(error))
        except OSError as error:
            return base.broken(begun, Outcome.ERROR, f"the cell could not be started: {error}")
        return base.assemble(begun, out_dir, ended, deadline_s)


def cell_environment(outer: Mapping[str, str], python: Path, pinned: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would leak into the cell, what the cell pins, and no model hub."""
    kept = {
        key: value for key, value in outer.items() if key not in installing.DROPPED and not key.startswith(_SWITCHES)
    }
    own = {
        "PATH": os.pathsep.join([str(python.parent), outer.get("PATH", os.defpath)]),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    return kept | dict(pinned) | own


@contextmanager
def _alone(out_dir: Path) -> Iterator[None]:
    """Two runs of one cell would read each other's results."""
    with (out_dir / ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RequestError("another run of this cell is under way", "wait for it, or end it") from error
        yield


def _one_line(error: LlemError) -> str:
    return "; ".join(part for part in (error.cause, error.remedy) if part)
