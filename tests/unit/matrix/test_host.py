"""What a machine lacks for a platform, with NVML's own names and signatures over made-up answers."""

from collections.abc import Callable
from typing import Any
from unittest.mock import create_autospec

import pynvml
import pytest

from llenergymeasure.matrix import host

Driver = Callable[..., None]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    def install(count: int | Exception = 0, *, init: Exception | None = None) -> None:
        answers: dict[str, Any] = {
            "nvmlInit": init,
            "nvmlShutdown": None,
            "nvmlDeviceGetCount": count,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetName": "H100",
            "nvmlSystemGetDriverVersion": "580.1",
        }
        for name, answer in answers.items():
            fake = create_autospec(getattr(pynvml, name), **_says(answer))
            monkeypatch.setattr(pynvml, name, fake)

    return install


def _says(answer: Any) -> dict[str, Any]:
    return {"side_effect": answer} if isinstance(answer, Exception) else {"return_value": answer}


def test_a_machine_with_a_gpu_lacks_nothing(driver: Driver) -> None:
    driver(2)
    assert host.lacks("cuda", {}) == host.lacks("cuda", {"CUDA_VISIBLE_DEVICES": "0"}) == ""
    assert (host.facts().gpus, host.facts().driver) == (("H100", "H100"), "580.1")


def test_a_cpu_cell_needs_no_driver(driver: Driver) -> None:
    driver(init=pynvml.NVMLError_LibraryNotFound())
    assert host.lacks("cpu", {}) == ""
    assert (host.facts().gpus, host.facts().driver) == ((), None)


@pytest.mark.parametrize(
    ("count", "init", "environ", "words"),
    [
        (0, pynvml.NVMLError_LibraryNotFound(), {}, "NVML does not answer (NVML Shared Library Not Found)"),
        (0, None, {}, "NVML shows none"),
        (pynvml.NVMLError_Unknown(), None, {}, "NVML could not list the GPUs"),
        (2, None, {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES='' hides every one"),
        (2, None, {"CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES='-1' hides every one"),
    ],
)
def test_why_there_is_no_gpu_is_said(
    driver: Driver, count: int | Exception, init: Exception | None, environ: dict[str, str], words: str
) -> None:
    driver(count, init=init)
    why = host.lacks("cuda", environ)
    assert why.startswith("an NVIDIA GPU, and ")
    assert words in why


@pytest.mark.parametrize(
    ("environ", "devices"),
    [
        ({}, ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ("1",)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-5e3f, 0"}, ("GPU-5e3f", "0")),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,0"}, ("1",)),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
    ],
)
def test_the_gpus_to_use_are_all_or_those_that_a_scheduler_has_given(
    driver: Driver, environ: dict[str, str], devices: tuple[str, ...]
) -> None:
    driver(2)
    assert host.devices(environ) == devices
