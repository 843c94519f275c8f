import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from llenergymeasure.core.energy import Count, Meters, NoMeter, Reading, open_meters


class Scripted:
    """A meter that answers from a list, and a log of who was asked when."""

    def __init__(self, name: str, readings: list[Reading], log: list[str]) -> None:
        self._name = name
        self._readings = iter(readings)
        self._log = log

    def read(self) -> Reading:
        self._log.append(self._name)
        return next(self._readings)

    def close(self) -> None:
        self._log.append(f"{self._name} closed")


def _clock(log: list[str], *times: float) -> Callable[[], float]:
    ticks: Iterator[float] = iter(times)

    def tick() -> float:
        log.append("clock")
        return next(ticks)

    return tick


def _gpus(**joules: float | None) -> Reading:
    return Reading({n: Count(None, f"{n} is off") if j is None else Count(round(j * 1e6)) for n, j in joules.items()})


NO_CPU = NoMeter("no RAPL here")


def test_a_window_reads_at_its_edges_and_nothing_inside() -> None:
    log: list[str] = []
    gpu = Scripted("gpu", [_gpus(a=1, b=1), _gpus(a=101, b=51)], log)
    cpu = Scripted("cpu", [_gpus(p=5), _gpus(p=35)], log)

    with Meters(gpu, cpu, _clock(log, 100.0, 110.0)).window() as window:
        log.append("work")

    assert log == ["gpu", "cpu", "clock", "work", "clock", "gpu", "cpu"]
    report = window.energy()
    assert report.gpu_energy_j == pytest.approx({"a": 100, "b": 50})
    assert report.gpu_total_j == pytest.approx(150)
    assert report.cpu_package_j == pytest.approx(30)
    assert report.duration_s == 10
    assert (report.reasons, report.warnings) == ({}, ())
    assert json.loads(json.dumps(asdict(report), allow_nan=False))["gpu_total_j"] == pytest.approx(150)


def test_the_total_is_none_when_one_gpu_in_use_was_not_read() -> None:
    gpu = Scripted("gpu", [_gpus(a=1, b=None), _gpus(a=101, b=None)], [])

    with Meters(gpu, NO_CPU, _clock([], 0.0, 10.0)).window() as window:
        pass

    report = window.energy()
    assert report.gpu_energy_j == {"a": pytest.approx(100), "b": None}
    assert report.gpu_total_j is None
    assert report.cpu_package_j is None
    assert report.reasons == {"b": "b is off", "cpu": "no RAPL here"}


def test_nothing_to_read_is_none_and_never_zero() -> None:
    with Meters(NoMeter("no driver"), NO_CPU, _clock([], 0.0, 1.0)).window() as window:
        pass

    report = window.energy()
    assert (report.gpu_energy_j, report.gpu_total_j, report.cpu_package_j) == ({}, None, None)
    assert report.reasons == {"gpu": "no driver", "cpu": "no RAPL here"}
    assert report.warnings == ()


@pytest.mark.parametrize(("stop_s", "warned"), [(4.99, True), (5.0, False)])
def test_a_short_window_over_gpus_is_doubted(stop_s: float, warned: bool) -> None:
    gpu = Scripted("gpu", [_gpus(a=1), _gpus(a=2)], [])

    with Meters(gpu, NO_CPU, _clock([], 0.0, stop_s)).window() as window:
        pass

    assert bool(window.energy().warnings) is warned


def test_the_doubt_says_how_much() -> None:
    gpu = Scripted("gpu", [_gpus(a=1), _gpus(a=2)], [])

    with Meters(gpu, NO_CPU, _clock([], 0.0, 0.5)).window() as window:
        pass

    # A counter up to 100 ms old, in a window of 500 ms.
    assert "off by 20%" in window.energy().warnings[0]


def test_an_interrupted_window_keeps_its_figure() -> None:
    gpu = Scripted("gpu", [_gpus(a=1), _gpus(a=7)], [])
    window = Meters(gpu, NO_CPU, _clock([], 0.0, 10.0)).window()

    with pytest.raises(KeyboardInterrupt), window:
        raise KeyboardInterrupt

    assert window.energy().gpu_total_j == pytest.approx(6)


def test_an_open_window_has_no_energy_yet() -> None:
    gpu = Scripted("gpu", [_gpus(a=1), _gpus(a=2)], [])

    with Meters(gpu, NO_CPU).window() as window, pytest.raises(RuntimeError, match="once its `with` block has ended"):
        window.energy()


def test_meters_serve_several_windows_and_close_at_the_end() -> None:
    log: list[str] = []
    gpu = Scripted("gpu", [_gpus(a=1), _gpus(a=2), _gpus(a=10), _gpus(a=14)], log)

    with Meters(gpu, NO_CPU, _clock([], 0.0, 10.0, 20.0, 30.0)) as meters:
        with meters.window() as first:
            pass
        with meters.window() as second:
            pass

    assert (first.energy().gpu_total_j, second.energy().gpu_total_j) == (pytest.approx(1), pytest.approx(4))
    assert log[-1] == "gpu closed"


def test_what_is_missing_is_told_without_a_window() -> None:
    gpu = Scripted("gpu", [_gpus(a=1, b=None)], [])

    assert Meters(gpu, NO_CPU).missing() == {"b": "b is off", "cpu": "no RAPL here"}


def test_a_run_on_cpu_measures_the_packages_alone(tmp_path: Path) -> None:
    domain = tmp_path / "intel-rapl:0"
    domain.mkdir()
    for name, text in {"name": "package-0", "energy_uj": "1000000", "max_energy_range_uj": "262143328850"}.items():
        (domain / name).write_text(text)

    with open_meters([], rapl_root=tmp_path) as meters, meters.window() as window:
        (domain / "energy_uj").write_text("4000000")

    report = window.energy()
    assert report.cpu_package_j == pytest.approx(3)
    assert report.reasons == {"gpu": "the run uses no GPU"}
    assert report.warnings == ()


def test_importing_energy_imports_no_driver_library() -> None:
    program = "import sys, llenergymeasure.core.energy; sys.exit('pynvml' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
