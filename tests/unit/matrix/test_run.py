import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llenergymeasure.matrix import host
from llenergymeasure.matrix.records import CellRecord, Outcome, read
from llenergymeasure.matrix.run import lacking, run_cells
from llenergymeasure.matrix.runners import base
from llenergymeasure.matrix.spec import Cell

MakeRecord = Callable[..., CellRecord]
MakeCell = Callable[..., Cell]
HERE = base.Availability(ok=True, why="here")


@dataclass
class Runner:
    """Implements `base.Runner` without a container: says two lines while another cell does the same."""

    make_record: MakeRecord
    together: threading.Barrier
    gpus: base.Availability = HERE
    given: dict[str, Sequence[str]] = field(default_factory=dict)
    asked: list[tuple[str, Sequence[str]]] = field(default_factory=list)
    name: str = "fake"

    def available(self) -> base.Availability:
        return HERE

    def reaches(self, platform: str, devices: Sequence[str] = ()) -> base.Availability:
        self.asked.append((platform, devices))
        return self.gpus

    def run(
        self,
        cell: Cell,
        checkout: Path,
        out_dir: Path,
        deadline_s: float,
        on_line: base.OnLine,
        devices: Sequence[str] = (),
    ) -> CellRecord:
        self.given[cell.name] = devices
        on_line("first")
        self.together.wait(10)
        on_line("second")
        return self.make_record(cell.version, backend=cell.backend, platform=cell.platform, status=Outcome.PASSED)


@pytest.fixture
def runner(make_record: MakeRecord) -> Runner:
    checked: base.Runner = Runner(make_record, threading.Barrier(1))
    assert isinstance(checked, Runner)
    return checked


def test_lines_of_cells_beside_each_other_say_whose_they_are(
    runner: Runner, make_cell: MakeCell, tmp_path: Path
) -> None:
    runner.together = threading.Barrier(2)
    cells, lines, said = [make_cell("1.0"), make_cell("2.0")], list[str](), list[str]()
    records = run_cells(
        cells, runner, "why", tmp_path, records=tmp_path / "r", say=said.append, detail=lines.append, jobs=2
    )
    assert [record.cell.version for record in records] == ["1.0", "2.0"]
    for cell in cells:
        own = [line.removeprefix(f"{cell.name}: ") for line in lines if line.startswith(f"{cell.name}: ")]
        assert own[1:] == ["first", "second"]
        assert read(tmp_path / "r" / f"{cell.name}.json").runner_why == "why"
    assert len(lines) == 6
    assert len(said) == 2


def test_each_cell_on_a_gpu_gets_its_own_and_the_others_none(
    runner: Runner, make_cell: MakeCell, tmp_path: Path
) -> None:
    runner.together = threading.Barrier(3)
    cells = [make_cell("1.0", platform="cuda"), make_cell("2.0", platform="cuda"), make_cell("3.0")]
    devices = ("0", "1", "2", "3")
    run_cells(cells, runner, "", tmp_path, records=tmp_path, say=lambda _: None, jobs=2 + 1, devices=devices)
    assert runner.given == {cells[0].name: ("0",), cells[1].name: ("1",), cells[2].name: ()}


def test_alone_a_cell_gets_all_gpus_that_this_process_may_use(
    runner: Runner, make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "devices", lambda: ("2", "5"))
    cells = [make_cell("1.0", platform="cuda")]
    run_cells(cells, runner, "", tmp_path, records=tmp_path, say=lambda _: None)
    assert runner.given == {cells[0].name: ("2", "5")}


def test_a_gpu_that_the_runner_does_not_reach_is_lacking_with_its_remedy(
    runner: Runner, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "lacks", lambda _platform: "")
    cells = [make_cell("1.0", platform="cuda"), make_cell("2.0", platform="cuda")]
    assert lacking(cells, runner, ("1",)) == {}
    assert runner.asked == [("cuda", ("1",))], "it is asked once for all of them"
    runner.gpus = base.Availability(ok=False, why="no container reaches a GPU", remedy="install it")
    assert lacking(cells, runner) == {cell.name: runner.gpus for cell in cells}


def test_a_machine_without_a_gpu_is_not_asked_how_to_reach_it(
    runner: Runner, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "lacks", lambda _platform: "an NVIDIA GPU")
    found = lacking([make_cell("1.0", platform="cuda")], runner)
    assert [availability.why for availability in found.values()] == ["needs an NVIDIA GPU"]
    assert runner.asked == []
