"""What `llem doctor` says of GPUs; of backends and runners, tests of the command do."""

from collections.abc import Mapping

import pytest

from llenergymeasure.core import doctor
from llenergymeasure.core.energy.nvml import BoardFacts, Gpu

BOARD = Gpu(index=0, uuid="GPU-1", name="NVIDIA H100", handle=None, mig=False)


def finding(
    monkeypatch: pytest.MonkeyPatch, *, shown: list[tuple[Gpu, float]], there: dict[str, BoardFacts]
) -> doctor.Finding:
    def boards(_environ: Mapping[str, str]) -> list[tuple[Gpu, float]]:
        return shown

    monkeypatch.setattr(doctor, "visible_boards", boards)
    monkeypatch.setattr(doctor, "board_facts", lambda: there)
    [found] = [one for one in doctor.examine() if one.what == "GPU"]
    return found


def test_a_gpu_is_named_with_its_driver_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = finding(monkeypatch, shown=[(BOARD, 79.6)], there={"GPU-1": BoardFacts("580.95", 700.0)})
    assert found == doctor.Finding("GPU", ok=True, detail="NVIDIA H100 (driver 580.95), 80 GiB")


def test_without_a_driver_it_says_what_must_answer_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = finding(monkeypatch, shown=[], there={})
    assert not found.ok
    assert found.remedy.startswith("load NVIDIA's driver: `nvidia-smi` must list the GPU first (docs/gpu-runner.md)")


@pytest.mark.parametrize("mask", ["", "-1"])
def test_a_gpu_that_is_hidden_is_not_a_missing_driver(monkeypatch: pytest.MonkeyPatch, mask: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    found = finding(monkeypatch, shown=[], there={"GPU-1": BoardFacts(None, None)})
    assert found.detail == f"CUDA_VISIBLE_DEVICES={mask!r} hides all 1"
    assert found.remedy == "unset it, or name the one to use"
