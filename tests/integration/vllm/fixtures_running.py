"""What tests of engines share: fields that one engine takes together, and what a running engine says of them."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from llenergymeasure.core.batching import Prompt


def platform() -> str:
    """What the installed build of vLLM runs on."""
    from vllm.platforms import current_platform

    return "cpu" if current_platform.is_cpu() else "cuda"


def require_cuda(why: str) -> None:
    if platform() == "cpu":
        pytest.skip(f"needs CUDA: {why}")


def generate(backend: Any, *prompts: Sequence[int]) -> list[Any]:
    """vLLM's own answers to prompts of token ids, in their order."""
    numbered = [Prompt(index, tuple(ids)) for index, ids in enumerate(prompts)]
    (batch,) = backend.prepare(numbered)
    return list(backend.generate(batch).returned)


def tokens(backend: Any, *prompts: Sequence[int]) -> list[tuple[int, ...]]:
    """The first sequence of each answer."""
    return [tuple(request.outputs[0].token_ids) for request in generate(backend, *prompts)]


@dataclass
class Step:
    """What the scheduler handed out for one step: tokens by request, in its order."""

    scheduled: dict[str, int]
    running: int

    @property
    def tokens(self) -> int:
        return sum(self.scheduled.values())


@contextlib.contextmanager
def steps_of(backend: Any) -> Iterator[list[Step]]:
    """Note every step of the engine that schedules something; it must run in this process."""
    scheduler = backend.llm.llm_engine.engine_core.engine_core.scheduler
    seen: list[Step] = []
    real = scheduler.schedule

    def schedule(*positional: Any, **named: Any) -> Any:
        made = real(*positional, **named)
        if made.num_scheduled_tokens:
            seen.append(Step(dict(made.num_scheduled_tokens), len(scheduler.running)))
        return made

    scheduler.schedule = schedule
    try:
        yield seen
    finally:
        del scheduler.schedule


@contextlib.contextmanager
def drafts_of(backend: Any) -> Iterator[list[Any]]:
    """Note the engine's own `SpecDecodingStats` of every step that has some."""
    processor = backend.llm.llm_engine.output_processor
    seen: list[Any] = []
    real = processor.update_scheduler_stats

    def update(stats: Any) -> None:
        if stats is not None and stats.spec_decoding_stats is not None:
            seen.append(stats.spec_decoding_stats)
        real(stats)

    processor.update_scheduler_stats = update
    try:
        yield seen
    finally:
        del processor.update_scheduler_stats


def memory_bytes() -> int:
    """Of the device that the engine computes on."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
