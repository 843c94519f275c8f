"""Which requests, and how many of their tokens, the running engine's scheduler hands out for each step."""

from typing import Any

import pytest

from .conftest import Engines
from .fixtures_engine import STEPWISE, Running, core, running, steps
from .fixtures_requests import surface
from .fixtures_running import Step, require_cuda

EIGHT = tuple((start, start + 1, start + 2) for start in range(5, 13))
LONG = tuple(range(5, 305))
LONGS = (LONG, LONG[1:], LONG[2:])


@pytest.fixture
def run(engines: Engines) -> Running:
    running_engine = running(engines)
    return lambda vllm, **settings: running_engine({**STEPWISE, "max_num_seqs": 8, **vllm}, **settings)


def most_requests(seen: list[Step]) -> int:
    return max(len(step.scheduled) for step in seen)


def most_tokens(seen: list[Step]) -> int:
    return max(step.tokens for step in seen)


@pytest.mark.field("max_num_seqs", "observed")
@pytest.mark.parametrize("limit", [2, 8])
def test_no_more_requests_run_at_once(run: Running, limit: int) -> None:
    assert most_requests(steps(run({"max_num_seqs": limit}), *EIGHT)) == limit


@pytest.mark.field("max_num_active_seqs", "observed")
def test_fewer_requests_run_than_there_is_room_for(run: Running) -> None:
    assert most_requests(steps(run({"max_num_active_seqs": 3}), *EIGHT)) == 3
    assert most_requests(steps(run({}), *EIGHT)) == 8


@pytest.mark.field("max_num_batched_tokens", "observed")
@pytest.mark.parametrize(("limit", "read"), [(64, [64, 64, 64, 64, 44]), (512, [300])])
def test_long_prompt_is_read_in_steps_of_the_limit(run: Running, limit: int, read: list[int]) -> None:
    seen = steps(run({"max_num_batched_tokens": limit}), LONG)
    assert [step.tokens for step in seen if step.tokens > 1] == read


@pytest.mark.field("max_num_batched_tokens", "observed")
def test_no_step_takes_more_tokens_whatever_waits(run: Running) -> None:
    assert most_tokens(steps(run({"max_num_batched_tokens": 512}), *LONGS)) == 512
    assert most_tokens(steps(run({"max_num_batched_tokens": 1024}), *LONGS)) == sum(map(len, LONGS))


@pytest.mark.field("max_num_scheduled_tokens", "observed")
def test_scheduler_hands_out_fewer_tokens_than_a_step_may_have(run: Running) -> None:
    seen = steps(run({"max_num_batched_tokens": 512, "max_num_scheduled_tokens": 50}), LONG)
    assert [step.tokens for step in seen if step.tokens > 1] == [50] * 6


@pytest.mark.field("enable_chunked_prefill", "observed")
def test_prompt_that_does_not_fit_waits_instead_of_being_cut(run: Running) -> None:
    whole = {"max_num_batched_tokens": 512}
    cut = steps(run(whole), *LONGS)
    rest = sum(map(len, LONGS)) - 512
    assert [step.tokens for step in cut if step.tokens > 3] == [512, rest + 1]  # beside the first prompt's answer
    uncut = steps(run({**whole, "enable_chunked_prefill": False}), *LONGS)
    read = [tokens for step in uncut for tokens in step.scheduled.values() if tokens > 1]
    assert read == [len(prompt) for prompt in LONGS]


@pytest.mark.field("long_prefill_token_threshold", "observed")
def test_no_prompt_takes_more_of_a_step_beside_others(run: Running) -> None:
    def most(vllm: dict[str, Any]) -> int:
        return max(max(step.scheduled.values()) for step in steps(run(vllm), *LONGS))

    assert most({"long_prefill_token_threshold": 64}) == 64
    assert most({}) == len(LONG)


@pytest.mark.field("long_prefill_token_threshold_adaptive", "observed")
def test_limit_per_prompt_rises_to_an_even_share_of_the_step(run: Running) -> None:
    section = {"long_prefill_token_threshold": 64, "max_num_batched_tokens": 512}
    seen = steps(run({**section, "long_prefill_token_threshold_adaptive": True}), *LONGS)
    assert max(seen[0].scheduled.values()) == 512 // 3
    assert max(steps(run(section), *LONGS)[0].scheduled.values()) == 64


@pytest.mark.field("watermark", "observed")
def test_waiting_request_leaves_the_reserve_free(run: Running) -> None:
    """Eight blocks hold two of three prompts; with five of them in reserve one runs at a time."""
    section = {"num_gpu_blocks_override": 8, "block_size": 128}
    assert most_requests(steps(run(section), *LONGS)) == 2
    assert most_requests(steps(run({**section, "watermark": 0.6}), *LONGS)) == 1


@pytest.mark.field("scheduler_reserve_full_isl", "observed")
def test_request_starts_only_where_its_whole_prompt_fits(run: Running) -> None:
    """Five blocks have no room for a second whole prompt, but for its first piece."""
    section = {"num_gpu_blocks_override": 5, "block_size": 128, "max_num_batched_tokens": 128}
    reserve = "scheduler_reserve_full_isl"
    assert most_requests(steps(run({**section, reserve: True}), *LONGS)) == 1
    assert most_requests(steps(run({**section, reserve: False}), *LONGS)) == 2


@pytest.mark.field("scheduling_policy", "observed")
@pytest.mark.parametrize(
    ("section", "order"),
    [({"scheduling_policy": "priority", "priority": [2, 1, 0]}, [2, 1, 0]), ({"scheduling_policy": "fcfs"}, [0, 1, 2])],
)
def test_who_waits_is_decided_by_the_policy(run: Running, section: dict[str, Any], order: list[int]) -> None:
    seen = steps(run({"max_num_seqs": 1, **section}), *LONGS)
    read = [tokens for step in seen for tokens in step.scheduled.values() if tokens > 1]
    assert read == [len(LONGS[place]) for place in order]


@pytest.mark.field("async_scheduling", "observed")
def test_scheduler_that_plans_ahead_runs(run: Running) -> None:
    require_cuda(f"vLLM {surface().version} for CPUs never schedules ahead")
    assert type(core(run({"async_scheduling": True})).scheduler).__name__ == "AsyncScheduler"
    assert type(core(run({"async_scheduling": False})).scheduler).__name__ == "Scheduler"
