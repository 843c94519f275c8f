"""The upgrade check from the request to its report: read the wheel, then run the new cell beside the old one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.version import Version

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix import host, records, run
from llenergymeasure.matrix.records import Case, CellRecord, Outcome
from llenergymeasure.matrix.runners import base
from llenergymeasure.matrix.spec import Cell, Spec
from llenergymeasure.matrix.upgrade import cells, compare, plan, wheel
from llenergymeasure.matrix.upgrade.cells import Pair
from llenergymeasure.matrix.upgrade.compare import Comparison, Side
from llenergymeasure.matrix.upgrade.plan import Plan
from llenergymeasure.matrix.upgrade.wheel import Wheel
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.packages import packages

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        old: the pinned version to compare with, None for the newest that is older.
        wheel: the new version's wheel, None to find or download it.
        renames: old test identities to new ones, as `llem matrix diff` takes them.
    """

    backend: str
    version: str
    checkout: Path
    old: str | None = None
    wheel: Path | None = None
    renames: Mapping[str, str] = field(default_factory=dict)

    @property
    def wheels(self) -> Path:
        return self.checkout / "build" / "wheels"


@dataclass(frozen=True)
class Beside:
    """One pair of cells that was run; `reused` where the old one's record was at hand."""

    pair: Pair
    comparison: Comparison
    reused: bool


@dataclass(frozen=True)
class Report:
    """What an upgrade brings; `not_run` says of each cell that was not run why."""

    plan: Plan
    cells: tuple[Beside, ...] = ()
    not_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def red(self) -> bool:
        return bool(self.plan.findings) or any(item.comparison.red for item in self.cells)


def read(request: Request, say: Say) -> tuple[Plan, Wheel]:
    """The static part: nothing is installed, and nothing runs."""
    package = next(iter(packages(request.backend).values()))
    version = str(wheel.exact(request.version))
    old = plan.pinned_before(request.backend, version, request.old)
    if Version(old) == Version(version):
        raise RequestError(f"--from {old}: the version that is looked at itself", "choose another pinned one")
    if request.wheel is None:
        found = wheel.get(package.name, version, request.wheels, say)
    else:
        found = wheel.read(request.wheel)
        if found.distribution not in package.distributions or Version(found.version) != Version(version):
            raise RequestError(
                f"--wheel {request.wheel}: a wheel of {found.distribution} {found.version}",
                f"give one of {' or '.join(package.distributions)} {version}",
            )
        say(f"wheel: {found.path.name}")
    made = plan.make(
        snapshots.load(request.backend, old), plan.surface_of(request.backend, found.path), request.checkout
    )
    say(f"surface: {len(made.touched)} changes from {old}, {len(made.unaccounted)} parameters unaccounted")
    return made, found


def pairs(
    request: Request, spec: Spec, old: str, read_wheel: Wheel, platform: str | None, runner: base.Runner, say: Say
) -> tuple[tuple[Pair, ...], dict[str, str]]:
    """The cells that can be run here on a runner, each with its old one; and why others cannot.

    Raises EnvironmentLacksError where none can.
    """
    pinned = cells.pinned(spec, request.backend, old, platform)
    lacking = {name: needed.why for name, needed in run.lacking(pinned, runner).items()}
    found: list[Pair] = []
    for cell in pinned:
        if cell.name in lacking:
            continue
        try:
            own = read_wheel
            if cell.package != read_wheel.distribution:
                own = wheel.get(cell.package, read_wheel.version, request.wheels, say)
        except (RequestError, EnvironmentLacksError) as error:
            lacking[cell.name] = f"needs {error.cause}; {error.remedy}"
            continue
        made = cells.pair(spec, cell, read_wheel.version, wheel.wants(own))
        for note in made.notes:
            say(f"cell: {note}")
        found.append(made)
    if not found:
        reasons = "; ".join(f"{name}: {why}" for name, why in lacking.items())
        raise EnvironmentLacksError(f"no cell can be run here: {reasons}", "add --static to stop before the cells")
    return tuple(found), lacking


@dataclass(frozen=True)
class Bench:
    """Where pairs are run.

    Attributes:
        folder: gets the records.
        kept: folders in which a record of the old cell may be at hand.
        detail: gets each line of what goes on in a cell.
    """

    runner: base.Runner
    why: str
    checkout: Path
    folder: Path
    kept: tuple[Path, ...]
    say: Say
    detail: Say

    def beside(self, pair: Pair, renames: Mapping[str, str]) -> Beside:
        """Run the new cell beside the old one, and again what looks worse.

        Raises EnvironmentLacksError where the old cell cannot be run: there is nothing to compare with.
        """
        old = self._at_hand(pair.old)
        reused = old is not None
        if old is None:
            self.say(f"cell: running {pair.old.name}")
            old = self._whole(pair.old)
        if not old.tests:
            raise EnvironmentLacksError(f"{pair.old.name} ran no test: {old.reason}", "make the old cell run first")
        self.say(f"cell: running {pair.new.name}")
        new = self._whole(pair.new)
        return Beside(pair, compare.compare(old, new, renames, _Reruns(self, pair)), reused)

    def _whole(self, cell: Cell) -> CellRecord:
        """A run that dies is made once more: what did not come to its end has not shown the rest."""
        record = self._run(cell)
        if record.reason and record.status in (Outcome.CRASH, Outcome.TIMEOUT):
            self.say(f"cell: {cell.name} did not come to its end; running it once more")
            record = self._run(cell)
        return record

    def _run(self, cell: Cell) -> CellRecord:
        [record] = run.run_cells(
            [cell], self.runner, self.why, self.checkout, records=self.folder, say=self.say, detail=self.detail
        )
        return record

    def _at_hand(self, cell: Cell) -> CellRecord | None:
        """A whole record of exactly this cell, commit, runner and machine, without changes to the checkout."""
        now = base.start(cell, self.runner.name, self.why, self.checkout)
        here = (cell, self.runner.name, now.commit, False, "", host.facts())
        for folder in self.kept if now.commit and not now.dirty else ():
            path = folder / f"{cell.name}.json"
            if path.is_file():
                found = records.read(path)
                if here == (found.cell, found.runner, found.commit, found.dirty, found.reason, found.host):
                    self.say(f"cell: the record of {cell.name} is of this commit and machine, and is taken")
                    return found
        return None


class _Reruns:
    """Implements `compare.Rerun` with a runner."""

    def __init__(self, bench: Bench, pair: Pair) -> None:
        self._bench = bench
        self._cells: dict[Side, Cell] = {"old": pair.old, "new": pair.new}
        self._count = 0

    def __call__(self, side: Side, names: tuple[str, ...]) -> Mapping[str, Case]:
        self._count += 1
        cell = self._cells[side]
        self._bench.say(f"rerun {self._count}: {len(names)} tests in {cell.name}")
        record = self._run(cell, names)
        found = {name: record.tests[name] for name in names if name in record.tests}
        if record.reason and len(names) > 1:
            # One that takes the run down with it must not decide for those after it.
            for name in names:
                if name not in found or found[name].outcome is Outcome.SKIPPED:
                    alone = self._run(cell, (name,)).tests
                    found |= {name: alone[name]} if name in alone else {}
        return found

    def _run(self, cell: Cell, names: tuple[str, ...]) -> CellRecord:
        out_dir = run.work_folder(self._bench.checkout, cell) / f"rerun-{self._count}"
        return self._bench.runner.run(
            cell, self._bench.checkout, out_dir, cell.deadline_s, self._bench.detail, tests=names
        )
