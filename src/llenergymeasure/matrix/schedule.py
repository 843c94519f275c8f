"""Which cells run beside each other: as many as asked for, each on devices of its own, one to a GPU."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from llenergymeasure.matrix.runners.process import stoppable, terminate_as_interrupt
from llenergymeasure.matrix.spec import Cell

T = TypeVar("T")
Devices = tuple[str, ...]


def share(devices: Devices, jobs: int) -> tuple[Devices, ...]:
    """Groups of GPUs, as many as there are jobs where there are GPUs enough, all of one size; the rest stays idle.

    Without a list, one group that means all there are: nothing says that they could be shared.
    """
    if not devices or jobs == 1:
        return (devices,)
    groups = min(jobs, len(devices))
    size = len(devices) // groups
    return tuple(devices[index * size : (index + 1) * size] for index in range(groups))


@dataclass
class Plan(Generic[T]):
    """Cells still to start, in order, and what is free for them.

    Attributes:
        work: runs one cell on a group of devices; raises KeyboardInterrupt once it is told to stop.
        groups: one for each cuda cell that may run at a time.
        ended: gets each result in the main thread, as it comes.
    """

    cells: Sequence[Cell]
    work: Callable[[Cell, Devices], T]
    jobs: int
    groups: Sequence[Devices]
    ended: Callable[[T], None]

    def run(self) -> list[T]:
        """The results in the cells' order; an error in one cell, or Ctrl-C, stops all of them and is raised.

        Each runs in a thread, so that Ctrl-C never strikes between a container's making and its removal.
        """
        waiting, free = list(self.cells), list(self.groups)
        running: dict[Future[T], tuple[Cell, Devices | None]] = {}
        results: dict[str, T] = {}
        stop = threading.Event()
        with ThreadPoolExecutor(self.jobs) as pool, terminate_as_interrupt():
            try:
                while waiting or running:
                    while len(running) < self.jobs and (cell := _next(waiting, on_gpu=bool(free))) is not None:
                        waiting.remove(cell)
                        group = free.pop(0) if cell.platform == "cuda" else None
                        running[pool.submit(self._guarded, stop, cell, group or ())] = (cell, group)
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        cell, group = running.pop(future)
                        if group is not None:
                            free.append(group)
                        results[cell.name] = future.result()
                        self.ended(results[cell.name])
            finally:
                stop.set()
                with _deaf():
                    wait(running)
        return [results[cell.name] for cell in self.cells]

    def _guarded(self, stop: threading.Event, cell: Cell, devices: Devices) -> T:
        with stoppable(stop):
            return self.work(cell, devices)


def _next(waiting: Sequence[Cell], *, on_gpu: bool) -> Cell | None:
    """A cell that waits for a GPU does not hold up those that need none."""
    return next((cell for cell in waiting if on_gpu or cell.platform != "cuda"), None)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """A second Ctrl-C changes nothing: what was started is being ended, which takes its time and no longer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
