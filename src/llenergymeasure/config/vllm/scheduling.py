"""Fields that decide which requests, and how many of their tokens, each step of the engine takes."""

from typing import Literal

from llenergymeasure.config.bindings import Section, above, binds
from llenergymeasure.config.vllm.entry_points import LLM


class Scheduling(Section):
    entry_point = LLM

    max_num_seqs: int | None = binds(
        ge=1, sample=8, effect="Larger batches cut energy per token and lengthen the time of each step."
    )
    """Requests that run at once, and for which buffers and graphs are made."""

    max_num_active_seqs: int | None = binds(
        ge=1,
        sample=4,
        effect="Smaller batches shorten each step and cost energy per token; buffers and graphs stay as they are.",
    )
    """Requests that run at once, where fewer are wanted than max_num_seqs makes room for."""

    max_num_batched_tokens: int | None = binds(
        ge=1,
        sample=1024,
        effect="Larger steps use the device better while prompts are read, and make running requests wait longer.",
    )
    """Tokens that one step may process."""

    max_num_scheduled_tokens: int | None = binds(
        ge=1,
        sample=512,
        effect="Smaller steps leave room for draft tokens, and shorten the wait of running requests.",
    )
    """Tokens that the scheduler hands out per step, where drafting adds more up to max_num_batched_tokens."""

    enable_chunked_prefill: bool | None = binds(
        sample=False,
        effect="Without it a long prompt takes whole steps for itself and running requests wait for it.",
    )
    """Whether a prompt may be read in pieces over several steps, beside requests that decode."""

    long_prefill_token_threshold: int | None = binds(
        ge=0,
        sample=64,
        effect="Smaller pieces of long prompts disturb running requests less and delay the prompt's own first token.",
    )
    """Tokens of one prompt that a step may read while other requests are there; 0 sets no limit of its own."""

    long_prefill_token_threshold_adaptive: bool | None = binds(
        needs=above("long_prefill_token_threshold", 0),
        context={"long_prefill_token_threshold": 64},
        effect="Uses the room that short prompts leave: the first token of a long one comes sooner.",
    )
    """Whether the limit per prompt rises to an even share of the step where there is room."""

    prefill_schedule_interval: int | None = binds(
        ge=1,
        sample=2,
        effect="Undisturbed decoding in between, and a later first token.",
    )
    """Steps from one that may read prompts to the next; older versions heed it only in replicas of expert models."""

    scheduling_policy: Literal["fcfs", "priority"] | None = binds(
        sample="priority", effect="Decides who waits; the sum of the work stays the same unless requests are evicted."
    )
    """Whether requests are served as they come, or by their priority."""

    scheduler_reserve_full_isl: bool | None = binds(
        sample=False,
        effect="Without the reserve more requests start at once, and may evict each other when the cache is full.",
    )
    """Whether a request waits until its whole prompt fits into the cache, instead of its first piece."""

    async_scheduling: bool | None = binds(
        sample=False, effect="Prepares the next step while one runs: less idle time of the device."
    )
    """Whether the next step is scheduled while the current one runs; vLLM for CPUs never does."""

    scheduler_cls: str | None = binds(
        sample="vllm.v1.core.sched.scheduler.Scheduler",
        context={"async_scheduling": False},
        effect="Decides the batch of every step, and so time and energy of all.",
    )
    """Path of the scheduler's class, such as vllm.v1.core.sched.scheduler.Scheduler."""

    performance_mode: Literal["balanced", "interactivity", "throughput"] | None = binds(
        sample="throughput",
        effect="throughput doubles the limits of a step that are not set; interactivity records more small graphs.",
    )
    """Which defaults vLLM takes for the size of a step and for the batches that it records as CUDA graphs."""
