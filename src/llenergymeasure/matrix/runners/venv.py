"""The runner that is always there: a virtual environment per cell, kept until what it was made of changes."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llenergymeasure.matrix.records import CellRecord, Outcome
from llenergymeasure.matrix.runners import base, installing
from llenergymeasure.matrix.runners.process import run_group
from llenergymeasure.matrix.spec import Cell

# A backend's own switches: only those that the cell pins may be on in it.
_SWITCHES = ("VLLM_",)


@dataclass(frozen=True)
class VenvRunner:
    """Implements `base.Runner`.

    Attributes:
        python: makes the cell's environment in a folder and returns its interpreter; None for `installing.prepare`.
        program: what that interpreter runs, before the cell's name.
    """

    python: Callable[[Cell, Path, Path, base.OnLine], Path] | None = None
    program: tuple[str, ...] = ("-m", "llenergymeasure.matrix.cell")
    grace_s: float = 10.0

    @property
    def name(self) -> str:
        return "venv"

    def available(self) -> base.Availability:
        if os.name != "posix":
            return base.Availability(ok=False, why="needs process groups, which this system lacks")
        return base.Availability(ok=True, why="a virtual environment needs no container daemon")

    def reaches(self, platform: str, devices: Sequence[str] = ()) -> base.Availability:  # noqa: ARG002
        return base.Availability(ok=True, why="its programs run on this machine itself")

    def run(
        self,
        cell: Cell,
        checkout: Path,
        out_dir: Path,
        deadline_s: float,
        on_line: base.OnLine,
        devices: Sequence[str] = (),
        *,
        tests: tuple[str, ...] = (),
    ) -> CellRecord:
        checkout, out_dir = checkout.resolve(), out_dir.resolve()
        begun = base.start(cell, self.name, self.available().why, checkout)
        return base.recorded(
            begun, out_dir, deadline_s, lambda: self._run(begun, checkout, out_dir, deadline_s, on_line, devices, tests)
        )

    def _run(
        self,
        begun: base.Start,
        checkout: Path,
        out_dir: Path,
        deadline_s: float,
        on_line: base.OnLine,
        devices: Sequence[str],
        tests: tuple[str, ...],
    ) -> CellRecord:
        (out_dir / installing.LOG).unlink(missing_ok=True)
        try:
            python = (self.python or installing.prepare)(begun.cell, checkout, out_dir, on_line)
            env = cell_environment(os.environ, python, begun.cell.environment)
            ended = run_group(
                [str(python), *self.program, begun.cell.name, "--out", str(out_dir), *base.only(tests)],
                cwd=checkout,
                env=env | ({"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}),
                log=out_dir / base.LOG,
                on_line=on_line,
                deadline_s=deadline_s,
                grace_s=self.grace_s,
            )
        except installing.SetupTimeoutError as error:
            return base.broken(begun, Outcome.TIMEOUT, f"{error.cause}; {error.remedy}")
        except OSError as error:
            return base.broken(begun, Outcome.ERROR, f"the cell could not be started: {error}")
        return base.assemble(begun, out_dir, ended, deadline_s)


def cell_environment(outer: Mapping[str, str], python: Path, pinned: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would leak into the cell, what the cell pins, and no model hub."""
    kept = {
        key: value for key, value in outer.items() if key not in installing.DROPPED and not key.startswith(_SWITCHES)
    }
    path = os.pathsep.join([str(python.parent), outer.get("PATH", os.defpath)])
    return kept | dict(pinned) | {"PATH": path, **base.ENVIRONMENT}
