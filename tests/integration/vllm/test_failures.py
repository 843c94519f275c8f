"""What a user of the command meets when vLLM fails: the exit code, two lines that say why, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.config.lowering import lower
from llenergymeasure.core.energy.nvml import memory_holders
from llenergymeasure.core.inference_backends.vllm_failures import explain
from llenergymeasure.errors import EnvironmentLacksError, LlemError, RequestError

from .conftest import QUICK, Engines, Load
from .fixtures_processes import descendants, is_living, mapped, shared
from .fixtures_running import memory_bytes, platform, require_cuda

CORE, WORKER = "VLLM::EngineCore", "VLLM::Worker"
# Runs on until it is ended, also where the tests beside it keep the cores busy.
LONG = {"output": {"max_tokens": 100}, "measurement": {"energy": False, "min_duration_s": 600}}


class Command:
    """One `llem run` in a folder and with temporary files of its own."""

    def __init__(self, folder: Path, model: Path, vllm: dict[str, Any], **settings: Any) -> None:
        self._folder = folder
        self.temporary = folder / "t"
        self.seen: dict[int, str] = {}
        self.shared: set[str] = set()
        config = {
            "model": str(model), "prompts": ["A few", "words"], "output": {"max_tokens": 4},
            "measurement": {"energy": False}, "vllm": {**QUICK, "ignore_eos": True, **vllm}, **settings,
        }  # fmt: skip
        folder.mkdir(exist_ok=True)
        self.temporary.mkdir()
        (folder / "x.yaml").write_text(json.dumps(config), encoding="utf-8")
        environment = {**os.environ, "TMPDIR": str(self.temporary), "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
        with (folder / "said").open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from llenergymeasure.cli import main; main()", "run", "x.yaml", "-o", "result"],
                cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return (self._folder / "said").read_text(encoding="utf-8")

    @property
    def written(self) -> list[str]:
        return sorted(str(path.relative_to(self._folder)) for path in self._folder.glob("result*/**/*"))

    def living(self) -> dict[int, str]:
        """Every process that the command started, also those whose parent is gone, with its title."""
        self.seen |= descendants(self.process.pid)
        living = {process: title for process, title in self.seen.items() if is_living(process)}
        self.shared |= mapped(living)
        return living

    def until(self, phase: str, title: str = "") -> int:
        """Wait for a phase and a process of this title; its id."""
        end = time.monotonic() + 180
        while time.monotonic() < end and self.process.poll() is None:
            if phase in self.said:
                if not title:
                    return self.process.pid
                # The first: what it starts itself bears its title until it runs a program of its own.
                if found := [pid for pid, shown in self.living().items() if shown.startswith(title)]:
                    return min(found)
            time.sleep(0.05)
        raise AssertionError(f"no {title or phase}: {self.said}")

    def end(self, within_s: float) -> int:
        """The exit code; nothing that the command started or made but its result may be left."""
        end = time.monotonic() + within_s
        while (code := self.process.poll()) is None and time.monotonic() < end:
            self.living()
            time.sleep(0.05)
        assert code is not None, f"still running after {within_s:g} s: {self.said}"
        end = time.monotonic() + 3.0  # Python's own tracker of shared memory ends after those that it tracks for
        while (living := self.living()) and time.monotonic() < end:
            time.sleep(0.05)
        assert living == {}
        # Kernels that one run compiled are there for the next.
        left = [path.name for path in self.temporary.iterdir() if not path.name.startswith("torchinductor_")]
        assert left == []
        assert self.shared & shared() == set()
        assert "Traceback" not in self.said
        return code

    def close(self) -> None:
        for pid in self.living():
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


Start = Callable[..., Command]


@pytest.fixture
def start(engines: Engines, tiny_llama: Path) -> Iterator[Start]:
    engines.close()
    commands: list[Command] = []
    with tempfile.TemporaryDirectory(prefix="llem-test-") as folder:  # a socket's path must stay short

        def make(vllm: dict[str, Any] | None = None, **settings: Any) -> Command:
            commands.append(Command(Path(folder) / str(len(commands)), tiny_llama, vllm or {}, **settings))
            return commands[-1]

        try:
            yield make
        finally:
            for command in commands:
                command.close()


@pytest.mark.parametrize(
    ("phase", "title"),
    [("loading", CORE), ("measuring", CORE), ("measuring", WORKER)],
    ids=["core while loading", "core while generating", "worker while generating"],
)
def test_an_engine_that_is_killed_ends_the_run_with_its_last_lines(start: Start, phase: str, title: str) -> None:
    if title == WORKER and platform() != "cpu":
        pytest.skip("needs two GPUs: the worker of one is the engine's own process")
    command = start(**LONG)
    pid = command.until(phase, title)
    os.kill(pid, signal.SIGKILL)
    assert command.end(20.0) == EnvironmentLacksError.exit_code, command.said
    assert "died (" in command.said
    assert "its last lines: " in command.said
    assert "  → see what the lines name" in command.said
    assert command.written == []


def test_an_interrupt_while_loading_leaves_nothing(start: Start) -> None:
    command = start(**LONG)
    command.until("loading", CORE)
    command.process.send_signal(signal.SIGINT)
    assert command.end(6.0) == 130
    assert "interrupted before anything was measured; nothing was written" in command.said
    assert command.written == []


def test_an_interrupt_while_generating_keeps_what_was_finished(start: Start) -> None:
    command = start(**LONG)
    command.until("measuring", CORE)
    time.sleep(3.0)
    command.process.send_signal(signal.SIGINT)
    assert command.end(6.0) == 130
    assert command.written == ["result/result.json"]
    assert "interrupted; what was finished is in result/result.json" in command.said


def test_a_second_run_is_told_who_holds_the_memory(start: Start) -> None:
    require_cuda("a host's memory is not taken beforehand")
    first = start({"kv_cache_memory_bytes": memory_bytes() // 5}, **LONG)
    first.until("measuring", CORE)
    second = start({"gpu_memory_utilization": 0.9})
    assert second.process.wait(180.0) == EnvironmentLacksError.exit_code
    assert "vllm.gpu_memory_utilization: Free memory on device" in second.said
    assert "→ end what holds the memory, or lower vllm.gpu_memory_utilization" in second.said
    # Inside a container NVML may tell of no process, or by numbers that are the host's.
    assert "it is held by process " in second.said or not memory_holders()
    assert second.written == []
    first.process.send_signal(signal.SIGINT)
    assert first.end(6.0) == 130


def refusal(load: Load, vllm: dict[str, Any]) -> LlemError:
    """What a user would see for an engine that does not load."""
    from llenergymeasure.config.models import ExperimentConfig

    config = {"model": "model", "prompts": ["x"], "vllm": {**QUICK, **vllm}}
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it becomes is looked at below
        load(config["vllm"])
    found = explain(caught.value, lower(ExperimentConfig.model_validate(config)), "model", "loading", "")
    assert "\n" not in found.cause
    assert found.remedy
    return found


@pytest.mark.parametrize(
    ("vllm", "field", "says"),
    [
        pytest.param(
            {"block_size": 7}, "vllm.block_size", "No common block size for 7|block_size not supported", id="a value"
        ),
        pytest.param({"quantization": "awq"}, "vllm.quantization", "config file for awq", id="named by its value"),
        pytest.param(
            {"max_num_batched_tokens": 4, "max_num_seqs": 16},
            "vllm.max_num_seqs, vllm.max_num_batched_tokens", "must be greater than or equal to max_num_seqs",
            id="a pair",
        ),
        pytest.param({"max_model_len": 100_000}, "vllm.max_model_len", "the model's context is", id="a long context"),
    ],
)  # fmt: skip
def test_what_the_engine_refuses_is_told_with_its_field(
    load: Load, vllm: dict[str, Any], field: str, says: str
) -> None:
    found = refusal(load, vllm)
    assert type(found) is RequestError
    assert found.cause.startswith(f"{field}: ")
    assert re.search(says, found.cause)


def test_a_cache_that_does_not_fit_is_told_with_what_is_free(load: Load) -> None:
    found = refusal(load, {"kv_cache_memory_bytes": 1 << 50})
    assert type(found) is EnvironmentLacksError
    if platform() == "cpu":
        assert found.cause.startswith("vllm.kv_cache_memory_bytes: ")
        assert "1048576.0 GiB" in found.cause
        assert "GiB) on kv cache allocation" in found.cause
    else:
        assert found.cause.startswith("out of memory while loading model: ")
        assert "GiB is free" in found.cause
        assert found.remedy.startswith("lower vllm.kv_cache_memory_bytes, ")


@pytest.mark.parametrize(
    ("sizes", "total"),
    [
        pytest.param({"tensor_parallel_size": 64}, 64, id="tensor"),
        pytest.param({"tensor_parallel_size": 16, "pipeline_parallel_size": 16}, 256, id="tensor and pipeline"),
    ],
)
def test_more_workers_than_devices_are_refused_before_loading(
    load: Load, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int], total: int
) -> None:
    monkeypatch.setattr("vllm.LLM.__init__", lambda *_, **__: pytest.fail("it was loaded"))
    found = refusal(load, sizes)
    assert type(found) is EnvironmentLacksError
    names = " times ".join(f"vllm.{name}" for name in sizes)
    assert found.cause.startswith(f"{names}: {total} ")
    there = len(os.sched_getaffinity(0)) if platform() == "cpu" else None
    assert there is None or f"{there} may be used" in found.cause
