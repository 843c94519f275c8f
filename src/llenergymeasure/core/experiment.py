"""One experiment: check, load, warm up, measure in one window, and gather the result."""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llenergymeasure.config.lowering import as_document
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import FROM_PRETRAINED, PLAN_REPLICAS
from llenergymeasure.core import results
from llenergymeasure.core.api import Api, RealApi
from llenergymeasure.core.batching import BatchOutput
from llenergymeasure.core.checks import check_before_loading
from llenergymeasure.core.energy.meters import NoMeter
from llenergymeasure.core.energy.window import Meters, Window, open_meters
from llenergymeasure.core.environment import describe_environment
from llenergymeasure.core.replicas import LocalReplica, ProcessReplicas, Replicas
from llenergymeasure.core.requests import RequestRecord, from_step_times, summarise
from llenergymeasure.core.session import Opened, Share, version_calls


@dataclass(frozen=True)
class Progress:
    """What a run tells while it goes on.

    Attributes:
        phase: loading, warming up, measuring, done.
        done, total: requests answered in this pass, of all in a pass; 0, 0 before measuring.
        repeat: the pass, from 1.
    """

    phase: str
    done: int = 0
    total: int = 0
    repeat: int = 0


SHORT_WINDOW_S = 0.5  # below it, one hiccup of the machine decides the figures

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
        gpus = sorted({device for replica in opened for device in replica.devices})
        with _meters(config, gpus) as meters:
            measured = _measure(config, replicas, opened, meters, on_progress)
        found = replicas.finish() if measured.complete else []
    finally:
        replicas.close()
    on_progress(Progress("done"))
    return _result(config, opened, measured, started_at, found)


def plan(config: ExperimentConfig, api: Api) -> list[Share]:
    """The processes that a configuration asks for on this machine."""
    calls = version_calls(config, api)
    devices = 0
    if calls[FROM_PRETRAINED].get("device_map") != "cpu" and api.resolve("torch.cuda.is_available")():
        devices = api.resolve("torch.cuda.device_count")()
    shares: list[Share] = api.resolve(PLAN_REPLICAS)(
        **calls[PLAN_REPLICAS],
        ranks=_ranks(calls[FROM_PRETRAINED], devices),
        devices=devices,
        cores=os.cpu_count() or 1,
    )
    return shares


def _ranks(sent: dict[str, Any], devices: int) -> int:
    """Processes per replica: tensor, pipeline and data sharding multiply; `tp_plan` alone takes every device."""
    if "tp_plan" in sent:
        return int(sent.get("tp_size", max(1, devices)))
    if "distributed_config" not in sent:
        return 1
    sizes = sent["distributed_config"].arguments
    total = 1
    for name in ("tp_size", "pp_size", "fsdp_size", "dp_replicate_size"):
        total *= sizes.get(name) or 1
    return max(total, sizes.get("ep_size") or 1)


def _start(config: ExperimentConfig) -> Replicas:
    api = RealApi()
    shares = plan(config, api)
    return LocalReplica(config, shares[0], api) if len(shares) == 1 else ProcessReplicas(config, shares)


def _meters(config: ExperimentConfig, gpus: Sequence[int]) -> AbstractContextManager[Meters]:
    if config.measurement.energy:
        return open_meters(gpus)
    off = NoMeter("measurement.energy is false")
    return nullcontext(Meters(off, off))


@dataclass
class _Measured:
    window: Window
    passes: list[list[BatchOutput]]
    complete: bool
    warmup_s: float


def _measure(
    config: ExperimentConfig, replicas: Replicas, opened: Sequence[Opened], meters: Meters, on_progress: OnProgress
) -> _Measured:
    total = sum(replica.requests for replica in opened)
    on_progress(Progress("warming up"))
    before = time.perf_counter()
    replicas.warm_up()
    warmup_s = time.perf_counter() - before
    tracker = _Tracker(total, on_progress)
    passes: list[list[BatchOutput]] = []
    complete = False
    window = meters.window()
    try:
        with window:
            while not complete:
                tracker.next_pass()
                if not replicas.run(tracker.tick):
                    break
                passes.append([])  # the outputs are fetched after the window: moving them is no part of the work
                long_enough = time.perf_counter() - window.start_s >= config.measurement.min_duration_s
                complete = len(passes) >= config.measurement.repeats and long_enough
    except KeyboardInterrupt:
        # Whoever is impatient and presses it again must not lose what was finished.
        with _deaf_to_interrupts():
            replicas.stop()
            outputs = replicas.take()
        return _Measured(window, _by_pass(outputs), complete, warmup_s)
    outputs = replicas.take()
    return _Measured(window, _by_pass(outputs), complete, warmup_s)


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

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self._total, self._on_progress = total, on_progress
        self._done = self._repeat = 0

    def next_pass(self) -> None:
        self._done, self._repeat = 0, self._repeat + 1
        self.tick(0)

    def tick(self, count: int) -> None:
        self._done += count
        self._on_progress(Progress("measuring", self._done, self._total, self._repeat))


def _by_pass(outputs: Sequence[BatchOutput]) -> list[list[BatchOutput]]:
    """Outputs grouped by the pass they belong to: the n-th answer to a prompt is of the n-th pass."""
    seen: dict[int, int] = {}
    passes: list[list[BatchOutput]] = []
    for output in outputs:
        first = output.prompts[0].index
        number = seen.get(first, 0)
        seen[first] = number + 1
        while len(passes) <= number:
            passes.append([])
        passes[number].append(output)
    return passes


def _finished(passes: Sequence[Sequence[BatchOutput]], requests: int) -> int:
    """Passes in which every prompt was answered."""
    return sum(sum(len(output.prompts) for output in outputs) == requests for outputs in passes)


def _records(passes: Sequence[Sequence[BatchOutput]]) -> list[RequestRecord]:
    ordered = sorted(
        ((output.end_s, repeat, output) for repeat, outputs in enumerate(passes) for output in outputs),
        key=lambda item: item[:2],
    )
    return [
        record for batch, (_, repeat, output) in enumerate(ordered) for record in _records_of(output, repeat, batch)
    ]


def _records_of(output: BatchOutput, repeat: int, batch: int) -> list[RequestRecord]:
    records = []
    for prompt, sequences, steps, finished in zip(
        output.prompts, output.sequences, output.steps or ((),) * len(output.prompts), output.finished, strict=True
    ):
        counts = tuple(len(sequence) for sequence in sequences)
        first, between, whole = None, None, (output.end_s - output.start_s) * 1000
        if steps:
            latencies = from_step_times(output.start_s, steps, max(counts))
            first, between, whole = dataclasses.astuple(latencies)
        records.append(
            RequestRecord(prompt.index, repeat, batch, len(prompt.ids), counts, first, between, whole, finished)
        )
    return records


def _result(
    config: ExperimentConfig,
    opened: Sequence[Opened],
    measured: _Measured,
    started_at: datetime,
    found: Sequence[str],
) -> results.Result:
    energy = measured.window.energy()
    used_gpus = any(replica.devices for replica in opened)
    records = _records(measured.passes)
    figure_j = energy.gpu_total_j if used_gpus else energy.cpu_package_j
    summary = summarise(records, measured.window.duration_s, figure_j)
    effective = opened[0].effective
    differences = [dataclasses.asdict(difference) for difference in effective.differences]
    warnings = [
        *(f"{difference}" for difference in effective.differences),
        *effective.warnings,
        *energy.warnings,
        *found,
    ]
    if measured.window.duration_s < SHORT_WINDOW_S:
        warnings.append(
            f"the window lasted {measured.window.duration_s:.3f} s: figures of so short a run are mostly chance; "
            "set measurement.min_duration_s"
        )
    if not measured.complete:
        warnings.insert(
            0,
            "interrupted: the figures are those of the batches that were finished, "
            "and energy includes the one that was not",
        )
    return results.Result(
        status="complete" if measured.complete else "interrupted",
        backend=config.backend,
        started_at=started_at.isoformat(timespec="seconds"),
        summary=results.SummaryResult.model_validate(dataclasses.asdict(summary)),
        energy=results.Energy(
            gpu_energy_j=energy.gpu_energy_j,
            gpu_total_j=energy.gpu_total_j,
            cpu_package_j=energy.cpu_package_j,
            reasons=energy.reasons,
        ),
        warnings=warnings,
        configuration=results.Configuration(
            requested=config.model_dump(mode="json", exclude_none=True),
            sent=as_document(version_calls(config, RealApi())),
            effective=effective.values,
            differences=differences,
        ),
        replicas=len(opened),
        load_s=max(replica.load_s for replica in opened),
        warmup_s=measured.warmup_s,
        repeats=_finished(measured.passes, sum(replica.requests for replica in opened)),
        environment=describe_environment(config.backend),
        requests=[
            results.RequestResult.model_validate(
                {**dataclasses.asdict(record), "sequence_output_tokens": list(record.sequence_output_tokens)}
            )
            for record in records
        ],
    )
