"""The measurement window: counters are read at its two edges and nothing else happens inside it.

All arithmetic and all writing wait until the window is closed.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from llenergymeasure.core.energy.meters import Meter, Reading, energy_between
from llenergymeasure.core.energy.nvml import NvmlMeter
from llenergymeasure.core.energy.rapl import POWERCAP, RaplMeter

SHORTEST_SOUND_S = 5.0
COUNTER_PERIOD_S = 0.1  # an H100's counter, watched: one new value every 100 ms


@dataclass(frozen=True)
class EnergyReport:
    """Gross energy of one window in joules: what the devices drew, idle draw included. None is "no reading", never 0.

    Attributes:
        gpu_energy_j: by GPU UUID, one entry for every GPU in use.
        gpu_total_j: their sum; None as soon as one of them could not be read.
        cpu_package_j: the sum over all CPU packages of the machine, under the same rule.
        duration_s: between the readings at the two edges.
        reasons: why a figure is None, by GPU UUID or CPU package, or under `gpu` and `cpu` for all of them.
        warnings: why a figure that is there deserves doubt.
    """

    gpu_energy_j: dict[str, float | None]
    gpu_total_j: float | None
    cpu_package_j: float | None
    duration_s: float
    reasons: dict[str, str]
    warnings: tuple[str, ...]


class Window:
    """A context manager around the work to measure; on an exception it closes, too, and a partial run keeps its figure.

    Work that a GPU still has queued when the block ends is not in the window: synchronise inside it.
    """

    def __init__(self, gpu: Meter, cpu: Meter, clock: Callable[[], float]) -> None:
        self._gpu = gpu
        self._cpu = cpu
        self._clock = clock
        self._before: tuple[Reading, Reading] | None = None
        self._after: tuple[Reading, Reading] | None = None
        self.start_s = 0.0
        self.stop_s = 0.0

    def __enter__(self) -> Self:
        self._before = (self._gpu.read(), self._cpu.read())
        self.start_s = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_s = self._clock()
        # In the same order as at the start: every counter then spans the block and one round of readings.
        self._after = (self._gpu.read(), self._cpu.read())

    @property
    def duration_s(self) -> float:
        return self.stop_s - self.start_s

    def energy(self) -> EnergyReport:
        """What the window used.

        Raises:
            RuntimeError: the window is not closed yet.
        """
        if self._before is None or self._after is None:
            raise RuntimeError("a window's energy is known once its `with` block has ended")
        (gpu_before, cpu_before), (gpu_after, cpu_after) = self._before, self._after
        gpu_energy_j, gpu_reasons = _used(gpu_before, gpu_after, self.duration_s, "gpu")
        cpu_energy_j, cpu_reasons = _used(cpu_before, cpu_after, self.duration_s, "cpu")
        gpu_total_j = _total(gpu_energy_j)
        return EnergyReport(
            gpu_energy_j=gpu_energy_j,
            gpu_total_j=gpu_total_j,
            cpu_package_j=_total(cpu_energy_j),
            duration_s=self.duration_s,
            reasons=gpu_reasons | cpu_reasons,
            warnings=() if gpu_total_j is None else _doubts(self.duration_s),
        )


@dataclass(frozen=True)
class Meters:
    """The meters of one machine, opened once and used for any number of windows."""

    gpu: Meter
    cpu: Meter
    clock: Callable[[], float] = time.perf_counter

    def window(self) -> Window:
        return Window(self.gpu, self.cpu, self.clock)

    def missing(self) -> dict[str, str]:
        """What cannot be read on this machine now, and why, under the names that a report's `reasons` have."""
        found = {}
        for family, reading in (("gpu", self.gpu.read()), ("cpu", self.cpu.read())):
            if reading.reason:
                found[family] = reading.reason
            found |= {name: count.reason for name, count in reading.counts.items() if count.value_uj is None}
        return found

    def close(self) -> None:
        self.gpu.close()
        self.cpu.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_meters(
    gpus: Sequence[int | str] | None = None, *, environ: Mapping[str, str] | None = None, rapl_root: Path = POWERCAP
) -> Meters:
    """Everything on this machine that counts joules. What cannot be read is a reason in the report, never an error.

    Args:
        gpus: every GPU that the run uses, tensor, pipeline and data parallel together: CUDA ordinals of this process or
            board UUIDs. Empty for a run on CPU, None for every GPU that CUDA shows.
        environ: where CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are looked up; this process's own when None.
        rapl_root: where the RAPL domains are.
    """
    return Meters(NvmlMeter.open(gpus, os.environ if environ is None else environ), RaplMeter.open(rapl_root))


def _used(
    before: Reading, after: Reading, duration_s: float, family: str
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Joules by counter, and the reasons for those that are None."""
    if before.reason:
        return {}, {family: before.reason}
    energy_j: dict[str, float | None] = {}
    reasons = {}
    for name, count in before.counts.items():
        energy_j[name], reason = energy_between(count, after.counts[name], duration_s)
        if reason:
            reasons[name] = reason
    return energy_j, reasons


def _total(energy_j: Mapping[str, float | None]) -> float | None:
    """The sum over all counters; a sum over some of them would pass for less energy than was used."""
    known = [value for value in energy_j.values() if value is not None]
    return sum(known) if known and len(known) == len(energy_j) else None


def _doubts(duration_s: float) -> tuple[str, ...]:
    if duration_s >= SHORTEST_SOUND_S:
        return ()
    share = COUNTER_PERIOD_S / duration_s if duration_s else float("inf")
    doubt = (
        f"the window lasted {duration_s:.2f} s and GPU counters move every 100 ms: the joules may be off by "
        f"{share:.0%} for that alone; measure at least {SHORTEST_SOUND_S:.0f} s"
    )
    return (doubt,)
