"""Which cells run beside each other: as many as asked for, each on devices of its own, one to a GPU."""

import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import FrameType
from typing import Generic, TypeVar

from llenergymeasure.matrix.runners.process import Stop, stoppable
from llenergymeasure.matrix.spec import Cell

T = TypeVar("T")
Devices = tuple[str, ...]
_LOOK_S = 0.1  # how often the main thread looks whether it was told to stop


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
        stop = Stop()
        with ThreadPoolExecutor(self.jobs) as pool, _one_interrupt(stop):
            try:
                while waiting or running:
                    _raise_if_told(stop)
                    while len(running) < self.jobs and (cell := _next(waiting, on_gpu=bool(free))) is not None:
                        waiting.remove(cell)
                        group = free.pop(0) if cell.platform == "cuda" else None
                        work = functools.partial(self.work, cell, group or ())
                        running[pool.submit(_heeding, stop, work)] = (cell, group)
                    done, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                    for future in done:
                        cell, group = running.pop(future)
                        if group is not None:
                            free.append(group)
                        results[cell.name] = future.result()
                        self.ended(results[cell.name])
            finally:
                stop.told = True
                pool.shutdown(wait=True, cancel_futures=True)
        return [results[cell.name] for cell in self.cells]


def undisturbed(work: Callable[[], T]) -> T:
    """One piece of work under the same rule: Ctrl-C strikes only where it can be undone."""
    stop = Stop()
    with ThreadPoolExecutor(1) as pool, _one_interrupt(stop):
        try:
            future = pool.submit(_heeding, stop, work)
            while not wait([future], timeout=_LOOK_S).done:
                _raise_if_told(stop)
            return future.result()
        finally:
            stop.told = True
            pool.shutdown(wait=True)


def _raise_if_told(stop: Stop) -> None:
    if stop.told:
        raise KeyboardInterrupt


def _heeding(stop: Stop, work: Callable[[], T]) -> T:
    with stoppable(stop):
        return work()


def _next(waiting: Sequence[Cell], *, on_gpu: bool) -> Cell | None:
    """A cell that waits for a GPU does not hold up those that need none."""
    return next((cell for cell in waiting if on_gpu or cell.platform != "cuda"), None)


@contextlib.contextmanager
def _one_interrupt(stop: Stop) -> Iterator[None]:
    """Ctrl-C, a scheduler's SIGTERM and a closed terminal tell all to stop, once.

    Further ones change nothing: what was started is being ended, which takes its time and no longer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        # Raised from here it could strike while the pool starts a thread, which would then not be waited for.
        stop.told = True

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
