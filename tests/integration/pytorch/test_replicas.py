"""Replicas in processes of their own on the real API: they share the work, and nothing of them is left."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.experiment import Progress, run_experiment
from llenergymeasure.core.results import Result
from llenergymeasure.errors import LlemError

from .fixtures_running import MIXED


def measured(model: Path, ticks: list[Progress] | None = None, **pytorch: Any) -> Result:
    data = {
        "model": str(model), "prompts": [*MIXED, "one more"], "output": {"max_tokens": 8},
        "pytorch": {"eos_token_id": list(range(3, 100)), **pytorch},  # so that answers differ in length
        "measurement": {"energy": False, "repeats": 2},
    }  # fmt: skip
    return run_experiment(ExperimentConfig.model_validate(data), (lambda _: None) if ticks is None else ticks.append)


def children() -> set[int]:
    """Processes that this one started and that still run, as the kernel sees them, but the tracker of shared memory."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := read(entry / "stat")):
            state, parent = stat.rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z" and "resource_tracker" not in read(entry / "cmdline"):
                found.add(int(entry.name))
    return found


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@pytest.mark.field("num_processes", "observed")
def test_two_processes_share_the_prompts_and_answer_as_one(tiny_llama: Path) -> None:
    before = children()
    seen: set[int] = set()

    class Ticks(list[Progress]):
        def append(self, item: Progress) -> None:
            seen.update(children() - before)
            super().append(item)

    ticks = Ticks()
    two = measured(tiny_llama, ticks, num_processes=2)
    assert children() == before
    assert multiprocessing.active_children() == []
    assert len(seen) == 2
    one = measured(tiny_llama)
    assert (one.replicas, two.replicas) == (1, 2)
    assert (one.status, two.status) == ("complete", "complete")

    def answers(result: Result) -> list[Any]:
        return sorted(
            (request.index, request.repeat, request.input_tokens, request.sequence_output_tokens, request.finish_reason)
            for request in result.requests
        )

    assert answers(two) == answers(one)
    assert len({request.output_tokens for request in one.requests}) > 1
    assert len(one.requests) == 2 * (len(MIXED) + 1)
    assert max(tick.done for tick in ticks) == 2 * (len(MIXED) + 1)


def test_an_error_in_a_replica_comes_home(tiny_llama: Path) -> None:
    before = children()
    with pytest.raises(LlemError, match="nowhere"):
        measured(tiny_llama, num_processes=2, assistant_model="/nowhere/assistant")
    assert children() == before
