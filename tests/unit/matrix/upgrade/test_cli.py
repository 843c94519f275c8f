"""The command as a maintainer starts it; only the reading of a real wheel's source and the runner are stand-ins."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llenergymeasure.cli import app
from llenergymeasure.errors import EnvironmentLacksError, LlemError, RequestError
from llenergymeasure.matrix import host, runners
from llenergymeasure.matrix.records import Case, CellRecord, Outcome
from llenergymeasure.matrix.runners import base
from llenergymeasure.matrix.spec import Cell
from llenergymeasure.matrix.upgrade import plan
from llenergymeasure.matrix.upgrade import wheel as wheels
from llenergymeasure.matrix.upgrade.wheel import Wheel
from llenergymeasure.surface.model import Parameter, Surface

GENERATION = "transformers.GenerationConfig"
SPEC = """
[[cell]]
backend = "pytorch"
version = "5.23.0"
package = "transformers"
platform = "cpu"
python = "3.11"
torch = "2.13.0"

[[cell]]
backend = "pytorch"
version = "5.19.0"
package = "transformers"
platform = "cuda"
python = "3.11"
"""


@dataclass
class Machine:
    """Where the command runs.

    Attributes:
        surface: what its wheel holds.
        outcomes: of each version's one test.
    """

    folder: Path
    wheel: Path
    surface: Surface
    outcomes: dict[str, Outcome]
    cells: list[Cell]

    def llem(self, *arguments: object) -> Result:
        argv = ["matrix", "upgrade", *map(str, arguments)]
        return CliRunner().invoke(app, argv, catch_exceptions=True)

    @property
    def report(self) -> dict[str, Any]:
        [path] = self.folder.glob("build/upgrade/*/report.json")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found


@pytest.fixture
def machine(
    old: Surface,
    make_wheel: Callable[..., Path],
    make_record: Callable[..., CellRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Machine:
    folder = tmp_path / "checkout"
    wheel = make_wheel(
        folder / "build" / "wheels", "transformers-9.0.0-py3-none-any.whl", "Requires-Dist: torch==2.14.0"
    )
    (folder / "matrix.toml").write_text(SPEC)
    made = Machine(
        folder, wheel, replace(old, version="9.0.0"), {"5.23.0": Outcome.PASSED, "9.0.0": Outcome.PASSED}, []
    )

    class Runner:
        name = "venv"

        def available(self) -> base.Availability:
            return base.Availability(ok=True, why="here")

        def reaches(self, platform: str, devices: Sequence[str] = ()) -> base.Availability:
            return base.Availability(ok=True, why="here")

        def run(
            self,
            cell: Cell,
            checkout: Path,
            out_dir: Path,
            deadline_s: float,
            on_line: Callable[[str], None],
            devices: Sequence[str] = (),
            *,
            tests: tuple[str, ...] = (),
        ) -> CellRecord:
            made.cells.append(cell)
            outcome = made.outcomes[cell.version]
            return make_record(cell.version, tests={"t": Case(outcome)}, cell=cell, status=outcome)

    monkeypatch.chdir(folder)
    monkeypatch.setattr(plan, "surface_of", lambda _backend, _path: made.surface)
    monkeypatch.setattr(runners, "pick", lambda _name: (Runner(), "here"))
    monkeypatch.setattr(host, "lacks", lambda platform: "a GPU" if platform == "cuda" else "")
    return made


def planted(surface: Surface) -> Surface:
    point = surface.entry_points[GENERATION]
    parameters = point.parameters | {"brand_new": Parameter("brand_new", "int", 1)}
    return replace(surface, entry_points=surface.entry_points | {GENERATION: replace(point, parameters=parameters)})


def test_an_upgrade_that_breaks_nothing_is_green(machine: Machine) -> None:
    done = machine.llem("pytorch", "9.0.0")
    assert done.exit_code == 0, done.output
    assert machine.report["verdict"] == "green: no regression found, every parameter accounted for"
    assert [cell.name for cell in machine.cells] == ["pytorch-5.23.0-cpu", "pytorch-9.0.0-cpu"]
    assert machine.cells[1] == replace(machine.cells[0], version="9.0.0", torch="2.14.0")
    [path] = machine.folder.glob("build/upgrade/pytorch-5.23.0-9.0.0/report.md")
    assert "torch 2.13.0 → 2.14.0: transformers 9.0.0 asks for torch==2.14.0" in path.read_text(encoding="utf-8")
    assert {path.name for path in path.parent.iterdir()} == {"report.md", "report.json", "records"}


def test_a_regression_is_red(machine: Machine) -> None:
    machine.outcomes["9.0.0"] = Outcome.FAILED
    assert machine.llem("pytorch", "9.0.0").exit_code == 1
    assert machine.report["cells"][0]["findings"][0]["verdict"] == "regression"


def test_an_unaccounted_parameter_is_red_before_anything_runs(machine: Machine) -> None:
    machine.surface = planted(machine.surface)
    done = machine.llem("pytorch", "9.0.0", "--static")
    assert done.exit_code == 1
    assert "transformers.GenerationConfig:brand_new" in done.stdout
    assert machine.cells == []
    assert machine.report["red"] is True


def test_json_is_all_that_stdout_gets_and_each_phase_is_said_beside_it(machine: Machine) -> None:
    done = machine.llem("pytorch", "9.0.0", "--format", "json")
    assert json.loads(done.stdout) == machine.report
    said = [line.split(":")[0] for line in done.stderr.splitlines()]
    assert said[:2] == ["wheel", "surface"]
    assert "runner" in said
    assert said.count("cell") >= 2


def test_the_folder_and_the_version_to_compare_with_can_be_chosen(machine: Machine) -> None:
    done = machine.llem("pytorch", "9.0.0", "--from", "5.0.0", "--static", "-o", "there", "--wheel", machine.wheel)
    assert done.exit_code == 0, done.output
    assert (machine.folder / "there" / "report.md").read_text(encoding="utf-8").startswith("# pytorch 5.0.0 → 9.0.0\n")


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["pytorch", "9.0"], None, ""),
        (["pytorch", "nine"], RequestError, "'nine' is no version"),
        (["pytorch", "9.0.0", "--from", "5.1.0"], RequestError, "no snapshot of this version"),
        (["pytorch", "5.23.0", "--from", "5.23.0"], RequestError, "the version that is looked at itself"),
        (["torch", "9.0.0"], RequestError, "did you mean pytorch"),
        (["tensorrt", "9.0.0"], RequestError, "no backend of this name has a surface"),
        (["pytorch", "9.0.0", "--from", "5.0.0"], RequestError, "has a cell (5.23.0, 5.19.0), or add --static"),
        (["pytorch", "9.0.0", "--from", "5.19.0"], EnvironmentLacksError, "pytorch-5.19.0-cuda: needs a GPU"),
        (["pytorch", "8.0.0", "--wheel", "WHEEL"], RequestError, "give one of transformers 8.0.0"),
        (["vllm", "9.0.0", "--wheel", "WHEEL"], RequestError, "a wheel of transformers 9.0.0"),
        (["pytorch", "9.0.0", "--wheel", "nowhere.whl"], RequestError, "no such file"),
        (["pytorch", "9.0.0", "--renames", "nowhere.json"], RequestError, "cannot be read"),
        (["pytorch", "9.0.0", "--spec", "nowhere.toml"], RequestError, "holds matrix.toml"),
    ],
)
def test_bad_requests_say_what_to_do(
    machine: Machine, arguments: list[str], kind: type[LlemError] | None, words: str
) -> None:
    given = [str(machine.wheel) if item == "WHEEL" else item for item in arguments]
    done = machine.llem(*given)
    assert (type(done.exception) if done.exception else None) == kind, done.exception
    assert words in str(done.exception)
    assert bool(machine.cells) == (kind is None)


def test_where_no_cell_can_be_run_what_was_read_is_there(machine: Machine) -> None:
    done = machine.llem("pytorch", "9.0.0", "--from", "5.19.0")
    assert isinstance(done.exception, EnvironmentLacksError)
    assert machine.report["plan"]["old"] == "5.19.0"
    assert machine.cells == []


def test_another_build_of_the_package_has_to_have_the_version_too(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(distribution: str, version: str, *_: object) -> Wheel:
        raise RequestError(f"{distribution} {version}: no such version", "the nearest are 8.0.0")

    (machine.folder / "matrix.toml").write_text(SPEC.replace('"transformers"', '"transformers-cpu"'))
    monkeypatch.setattr(wheels, "get", missing)
    done = machine.llem("pytorch", "9.0.0", "--wheel", machine.wheel)
    assert isinstance(done.exception, EnvironmentLacksError)
    assert "needs transformers-cpu 9.0.0: no such version; the nearest are 8.0.0" in done.exception.cause


def test_ctrl_c_keeps_what_was_read_and_says_that_nothing_ran(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> CellRecord:
        raise KeyboardInterrupt

    picked, _ = runners.pick(None)
    monkeypatch.setattr(type(picked), "run", interrupted)
    done = machine.llem("pytorch", "9.0.0")
    assert done.exit_code == 130
    assert machine.report["not_run"] == {"pytorch-9.0.0-cpu": "the check did not come so far"}
    assert "no cell was run" in machine.report["verdict"]


def test_the_verb_is_there_and_starts_light() -> None:
    heavy = ("yaml", "packaging.metadata", "llenergymeasure.surface.diff")
    code = f"import sys; from llenergymeasure.cli import app; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert "--static" in CliRunner().invoke(app, ["matrix", "upgrade", "--help"]).stdout
