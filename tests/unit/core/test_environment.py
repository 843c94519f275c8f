"""What a result says of the machine; torch and NVML are stood in for where a GPU is told of."""

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from llenergymeasure.core import environment
from llenergymeasure.core.energy.nvml import BoardFacts
from llenergymeasure.core.environment import Hardware, describe_environment, describe_hardware, describe_process, gpus
from llenergymeasure.core.results import Process


def torch(*uuids: str) -> Any:
    """A torch with these GPUs and three threads."""
    properties = [SimpleNamespace(uuid=uuid, name="H100", total_memory=80 * 2**30) for uuid in uuids]
    return SimpleNamespace(
        get_num_threads=lambda: 3,
        version=SimpleNamespace(cuda="13.0"),
        cuda=SimpleNamespace(
            is_available=lambda: bool(uuids),
            is_initialized=lambda: True,
            device_count=lambda: len(uuids),
            get_device_properties=properties.__getitem__,
        ),
    )


def test_a_machine_without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch())
    found = describe_environment("pytorch", [Process(cpu_threads=3, cpu_affinity=2)], describe_hardware())
    assert found.cpu
    assert found.python.count(".") == 2
    assert (found.cuda, found.gpus) == (None, [])
    assert "llenergymeasure" in found.packages


def test_a_process_tells_its_threads_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch())
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 5}, raising=False)
    assert describe_process() == Process(cpu_threads=3, cpu_affinity=2)
    # Where the system has no affinity, every core counts.
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert describe_process().cpu_affinity == 8
    monkeypatch.delitem(sys.modules, "torch")
    assert describe_process().cpu_threads is None


def test_gpus_are_named_as_the_energy_figures_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch("aa-00", "GPU-bb-11", "cc-22"))
    facts = {"GPU-aa-00": BoardFacts("580.1", 700.0), "GPU-bb-11": BoardFacts("580.1", None)}
    monkeypatch.setattr(environment, "board_facts", lambda: facts)
    assert [(gpu.uuid, gpu.driver, gpu.power_limit_w, gpu.memory_gib) for gpu in gpus()] == [
        ("GPU-aa-00", "580.1", 700.0, 80),
        ("GPU-bb-11", "580.1", None, 80),
        ("GPU-cc-22", None, None, 80),
    ]
    assert describe_hardware() == Hardware("13.0", tuple(gpus()))
