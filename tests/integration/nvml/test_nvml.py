"""The real driver, on whatever GPUs the machine has; nothing runs on them."""

import os
import time
from collections.abc import Iterator

import pytest

from llenergymeasure.core.energy import Meters, NoMeter, open_meters
from llenergymeasure.core.energy.nvml import NvmlMeter


@pytest.fixture
def meters() -> Iterator[Meters]:
    with open_meters() as found:
        if isinstance(found.gpu, NoMeter):
            pytest.skip(f"needs a GPU that NVML can read: {found.gpu.reason}")
        if "gpu" in found.missing() or any(name.startswith("GPU-") for name in found.missing()):
            pytest.skip(f"needs a GPU with an energy counter: {found.missing()}")
        yield found


def test_every_visible_gpu_draws_plausible_power(meters: Meters) -> None:
    with meters.window() as window:
        time.sleep(1.5)

    report = window.energy()

    assert isinstance(meters.gpu, NvmlMeter)
    assert set(report.gpu_energy_j) == {gpu.uuid for gpu in meters.gpu.gpus}
    for energy_j in report.gpu_energy_j.values():
        assert energy_j is not None
        # An idle board draws a few watts, no board draws 2 kW.
        assert 1 < energy_j / report.duration_s < 2000
    assert report.gpu_total_j == pytest.approx(sum(energy for energy in report.gpu_energy_j.values() if energy))
    assert report.warnings


def test_a_gpu_is_the_same_by_number_and_by_uuid(meters: Meters) -> None:
    assert isinstance(meters.gpu, NvmlMeter)
    uuid = meters.gpu.gpus[0].uuid

    with open_meters([0]) as by_number, open_meters([uuid]) as by_uuid:
        assert list(by_number.gpu.read().counts) == list(by_uuid.gpu.read().counts) == [uuid]


def test_a_window_shorter_than_the_counters_step_never_reads_zero(meters: Meters) -> None:
    reports = []
    for _ in range(10):
        with meters.window() as window:
            pass
        reports.append(window.energy())

    assert all(report.gpu_total_j is None or report.gpu_total_j > 0 for report in reports)
    # Ten windows of some 10 ms; the counter steps every 100 ms, so most of them see it stand still.
    assert any(report.gpu_total_j is None and report.reasons for report in reports)


def test_hidden_gpus_are_not_measured(meters: Meters) -> None:
    with open_meters(environ={**os.environ, "CUDA_VISIBLE_DEVICES": ""}) as hidden:
        assert "CUDA shows no GPU" in hidden.missing()["gpu"]
