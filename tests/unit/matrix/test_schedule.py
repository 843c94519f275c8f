"""Real threads: cells that wait for each other prove that they run beside each other."""

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.runners.process import raise_if_stopped
from llenergymeasure.matrix.schedule import Devices, Plan, share
from llenergymeasure.matrix.spec import Cell

MakeCell = Callable[..., Cell]


@pytest.mark.parametrize(
    ("devices", "jobs", "groups"),
    [
        ((), 1, ((),)),
        ((), 4, ((),)),
        (("0", "1"), 1, (("0", "1"),)),
        (("0", "1"), 2, (("0",), ("1",))),
        (("0", "1"), 8, (("0",), ("1",))),
        (("0", "1", "2", "3"), 2, (("0", "1"), ("2", "3"))),
        (("0", "1", "2"), 2, (("0",), ("1",))),
    ],
)
def test_gpus_are_shared_out_in_groups_of_one_size(devices: Devices, jobs: int, groups: tuple[Devices, ...]) -> None:
    assert share(devices, jobs) == groups


def run(
    cells: list[Cell], work: Callable[[Cell, Devices], str], *, jobs: int = 1, groups: tuple[Devices, ...] = ((),)
) -> list[str]:
    return Plan(cells, work, jobs, groups, ended=lambda _: None).run()


def test_as_many_as_asked_for_run_beside_each_other_and_results_keep_the_order(make_cell: MakeCell) -> None:
    cells = [make_cell(version) for version in ("1.0", "2.0", "3.0")]
    together = threading.Barrier(3)

    def work(cell: Cell, _devices: Devices) -> str:
        together.wait(10)
        time.sleep(0.05 * (3 - cells.index(cell)))
        return cell.version

    assert run(cells, work, jobs=3) == ["1.0", "2.0", "3.0"]


def test_without_more_jobs_one_runs_at_a_time(make_cell: MakeCell) -> None:
    lock = threading.Lock()

    def work(cell: Cell, _devices: Devices) -> str:
        assert lock.acquire(blocking=False)
        time.sleep(0.02)
        lock.release()
        return cell.version

    assert run([make_cell(f"{n}.0") for n in range(4)], work) == ["0.0", "1.0", "2.0", "3.0"]


def test_one_gpu_runs_one_cell_and_holds_up_no_cell_that_needs_none(make_cell: MakeCell) -> None:
    on_gpu = [make_cell(f"{n}.0", platform="cuda") for n in range(3)]
    on_cpu = [make_cell(f"{n}.0") for n in range(3)]
    busy: dict[Devices, threading.Lock] = {("0",): threading.Lock(), ("1",): threading.Lock()}
    cpu_ran = threading.Event()

    def work(cell: Cell, devices: Devices) -> str:
        if cell.platform == "cpu":
            assert devices == ()
            cpu_ran.set()
            return cell.name
        assert busy[devices].acquire(blocking=False), "two cells on one GPU"
        assert cpu_ran.wait(10), "both GPUs are taken, and a cpu cell waits"
        busy[devices].release()
        return cell.name

    cells = [*on_gpu, *on_cpu]
    assert run(cells, work, jobs=3, groups=(("0",), ("1",))) == [cell.name for cell in cells]


def test_each_result_is_told_as_it_comes(make_cell: MakeCell) -> None:
    told: list[str] = []
    slow, quick = make_cell("1.0"), make_cell("2.0")
    ended = threading.Event()

    def work(cell: Cell, _devices: Devices) -> str:
        assert cell is quick or ended.wait(10)
        return cell.version

    def tell(version: str) -> None:
        told.append(version)
        ended.set()

    assert Plan([slow, quick], work, 2, ((),), tell).run() == ["1.0", "2.0"]
    assert told == ["2.0", "1.0"]


def until_stopped(cell: Cell, began: threading.Barrier, undone: list[str]) -> str:
    began.wait(10)
    try:
        while True:
            raise_if_stopped()
            time.sleep(0.01)
    finally:
        time.sleep(0.2)  # as long as a container's removal
        undone.append(cell.version)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_all_and_waits_until_they_have_undone_what_they_did(
    make_cell: MakeCell, number: signal.Signals
) -> None:
    began, undone = threading.Barrier(3), list[str]()

    def strike() -> None:
        began.wait(10)
        os.kill(os.getpid(), number)
        time.sleep(0.1)
        os.kill(os.getpid(), number)  # the second one changes nothing

    striker = threading.Thread(target=strike)
    striker.start()
    cells = [make_cell(f"{n}.0") for n in range(5)]
    with pytest.raises(KeyboardInterrupt):
        run(cells, lambda cell, _: until_stopped(cell, began, undone), jobs=2)
    striker.join()
    assert sorted(undone) == ["0.0", "1.0"], "what was not started stays so"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_one_stops_the_others_and_is_raised(make_cell: MakeCell) -> None:
    began, undone = threading.Barrier(2), list[str]()

    def work(cell: Cell, _devices: Devices) -> str:
        if cell.version == "0.0":
            began.wait(10)
            raise RequestError("another run of this cell is under way")
        return until_stopped(cell, began, undone)

    with pytest.raises(RequestError):
        run([make_cell("0.0"), make_cell("1.0")], work, jobs=2)
    assert undone == ["1.0"]


def test_it_runs_in_another_thread_than_the_main_one_too(make_cell: MakeCell) -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(run([make_cell("1.0")], lambda cell, _: cell.version)))
    thread.start()
    thread.join()
    assert found == ["1.0"]
