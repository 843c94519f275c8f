"""One experiment: check, load, warm up, measure in one window, and gather the result."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core import results
from llenergymeasure.core.api import Api, RealApi
from llenergymeasure.core.checks import check_before_loading
from llenergymeasure.core.energy.meters import NoMeter
from llenergymeasure.core.energy.window import Meters, open_meters
from llenergymeasure.core.gathering import Measured, by_pass, check_all_came_home, gather
from llenergymeasure.core.inference_backends.base import Share
from llenergymeasure.core.inference_backends.kinds import kind_of
from llenergymeasure.core.replicas import LocalReplica, ProcessReplicas, Replicas
from llenergymeasure.core.session import Opened, prompt_count, version_calls
from llenergymeasure.errors import RequestError


@dataclass(frozen=True)
class Progress:
    """What a run tells while it goes on.

    Attributes:
        phase: loading, warming up, measuring, done.
        done: requests answered in the window, over all passes.
        total: requests that the window has at least; it goes on until both these and min_duration_s are reached.
        elapsed_s, min_duration_s: time in the window, and how long it lasts at least.
        repeat: the pass over the workload, from 1; 0 before measuring.
    """

    phase: str
    done: int = 0
    total: int = 0
    elapsed_s: float = 0.0
    min_duration_s: float = 0.0
    repeat: int = 0

    @property
    def share(self) -> float:
        """How much of the window is done, 0 to 1: whichever of requests and time is further from its end."""
        shares = [self.done / self.total] if self.total else []
        shares += [self.elapsed_s / self.min_duration_s] if self.min_duration_s else []
        return min([*shares, 1.0]) if shares else 0.0


OnProgress = Callable[[Progress], None]


def run_experiment(config: ExperimentConfig, on_progress: OnProgress = lambda _: None) -> results.Result:
    """Run one experiment and return its result; nothing is written.

    Ctrl-C during the window ends it and returns what was finished, with status `interrupted`; before the window it
    raises KeyboardInterrupt. No process outlives the call.

    Raises:
        RequestError: the configuration cannot be run as it is; names the field.
        EnvironmentLacksError: this machine or environment cannot run it.
    """
    started_at = datetime.now(UTC)
    check_before_loading(config)
    on_progress(Progress("loading"))
    replicas = _start(config)
    try:
        opened = replicas.open()
        gpus = sorted({device for replica in opened for device in replica.devices}, key=str)
        with _meters(config, gpus) as meters:
            measured = _measure(config, replicas, opened, meters, on_progress)
        found = replicas.finish() if measured.complete else []
    finally:
        # Pressed again out of impatience, Ctrl-C must neither lose what was finished nor leave a process behind.
        with _deaf_to_interrupts():
            replicas.close()
    on_progress(Progress("done"))
    return gather(config, opened, measured, started_at, found, RealApi())


def _refuse_idle(config: ExperimentConfig, shares: Sequence[Share]) -> None:
    replicas, prompts = len({share.replica for share in shares}), prompt_count(config)
    if replicas > prompts:
        field = kind_of(config.backend).replicas
        raise RequestError(
            f"{field}: {replicas} replicas share {prompts} prompts, so {replicas - prompts} "
            "would draw power for nothing",
            f"give at least {replicas} prompts, or lower {field}",
        )


def plan(config: ExperimentConfig, api: Api) -> list[Share]:
    """The processes that a configuration asks for on this machine."""
    return kind_of(config.backend).plan(version_calls(config, api), api)


def _start(config: ExperimentConfig) -> Replicas:
    api = RealApi()
    shares = plan(config, api)
    _refuse_idle(config, shares)
    if len(shares) == 1 and not kind_of(config.backend).own_process:
        return LocalReplica(config, shares[0], api)
    return ProcessReplicas(config, shares)


def _meters(config: ExperimentConfig, gpus: Sequence[int | str]) -> AbstractContextManager[Meters]:
    if config.measurement.energy:
        return open_meters(gpus)
    off = NoMeter("measurement.energy is false")
    return nullcontext(Meters(off, off))


def _measure(
    config: ExperimentConfig, replicas: Replicas, opened: Sequence[Opened], meters: Meters, on_progress: OnProgress
) -> Measured:
    requests = sum(replica.requests for replica in opened)
    on_progress(Progress("warming up"))
    before = time.perf_counter()
    replicas.warm_up()
    warmup_s = time.perf_counter() - before
    tracker = _Tracker(config, requests, on_progress)
    runs, complete = 0, False  # outputs are fetched after the window: moving them is no part of the work
    window = meters.window()
    with window:
        try:
            tracker.start()
            while not complete:
                tracker.next_pass()
                if not replicas.run(tracker.tick):
                    break
                runs += 1
                long_enough = time.perf_counter() - window.start_s >= config.measurement.min_duration_s
                complete = runs >= config.measurement.repeats and long_enough
        except KeyboardInterrupt:
            # Whoever is impatient and presses it again must not lose what was finished. The batches that replicas are
            # in the middle of end inside the window, which counts their energy.
            with _deaf_to_interrupts():
                replicas.stop()
    with _deaf_to_interrupts():
        outputs = replicas.take()
    passes = by_pass(outputs)
    check_all_came_home(passes, requests, runs, complete=complete)
    return Measured(window, passes, complete, warmup_s)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Tracker:
    """Counts answered requests for the progress display; a callback per batch, nothing else inside the window."""

    def __init__(self, config: ExperimentConfig, requests: int, on_progress: OnProgress) -> None:
        self._total = requests * config.measurement.repeats
        self._min_duration_s = config.measurement.min_duration_s
        self._on_progress = on_progress
        self._done = self._repeat = 0
        self._start_s = 0.0

    def start(self) -> None:
        self._start_s = time.perf_counter()

    def next_pass(self) -> None:
        self._repeat += 1
        self.tick(0)

    def tick(self, count: int) -> None:
        self._done += count
        elapsed_s = time.perf_counter() - self._start_s
        self._on_progress(Progress("measuring", self._done, self._total, elapsed_s, self._min_duration_s, self._repeat))
