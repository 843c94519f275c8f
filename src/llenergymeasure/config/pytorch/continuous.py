"""Continuous batching: requests join and leave a running batch, with the KV cache in pages."""

from typing import Literal

from llenergymeasure.config.bindings import Section, binds, is_set
from llenergymeasure.config.pytorch.compilation import CompileOptions
from llenergymeasure.config.pytorch.entry_points import (
    AUTOCAST,
    GENERATE,
    GENERATE_BATCH,
    MAKE_BATCHES,
    PAD,
    TORCH_COMPILE,
)

CONFIG = "transformers.ContinuousBatchingConfig"


def unpaged(attention: str | None) -> str:
    """An attention kernel's name without the marks of its form that reads a paged cache; "" where none has a name."""
    return (attention or "").removeprefix("paged|").removesuffix("_paged")


class ContinuousBatching(Section):
    """Generation through `generate_batch` instead of `generate`; older versions take the options as its arguments."""

    entry_point = CONFIG
    enables = GENERATE_BATCH
    # Prompts are neither cut into batches nor padded. Autocast holds for one thread, and the manager has its own;
    # the forward pass is compiled by the section's own options.
    replaces = (GENERATE, MAKE_BATCHES, PAD, AUTOCAST, TORCH_COMPILE)

    page_size: int | None = binds(
        ge=4,
        sample=16,
        excludes=is_set("block_size"),
        effect="Small pages waste less cache; large ones need less bookkeeping.",
    )
    """Tokens that one page of the cache holds."""

    block_size: int | None = binds(
        ge=4, sample=16, effect="Small blocks waste less cache; large ones need less bookkeeping."
    )
    """Tokens that one block of the cache holds; newer versions call it page_size."""

    num_blocks: int | None = binds(
        ge=1, sample=64, effect="More cache lets more requests run at once, up to the batch's limits."
    )
    """Blocks in the cache; taken from free memory where unset."""

    max_batch_tokens: int | None = binds(
        ge=1, sample=128, effect="Larger steps use the device better and make each request wait longer."
    )
    """Tokens that one step may process."""

    max_memory_percent: float | None = binds(
        gt=0, le=1, sample=0.5, effect="A smaller cache admits fewer requests at once."
    )
    """Share of the free memory that the cache may take."""

    max_requests_per_batch: int | None = binds(
        ge=1, sample=2, effect="Larger batches cut energy per token and lengthen the time of each step."
    )
    """Requests that one step may process."""

    max_blocks_per_request: int | None = binds(
        ge=0, sample=8, effect="0 switches off the fast decoding path, where the device has one."
    )
    """Blocks that the fast decoding path reserves per request."""

    allow_block_sharing: bool | None = binds(
        CONFIG,
        GENERATE_BATCH,
        sample=False,
        effect="Shared prefixes are computed once; without common prefixes only the bookkeeping remains.",
    )
    """Whether requests with the same beginning share the cache's blocks."""

    use_async_batching: bool | None = binds(
        effect="Prepares the next batch while one runs: less idle time of the device, more memory."
    )
    """Whether the next batch is prepared while the current one runs."""

    use_cuda_graph: bool | tuple[bool, bool] | None = binds(
        sample=False, effect="Recorded steps save launch time, most at small batches."
    )
    """Whether steps are recorded as CUDA graphs; a pair means prompts and decoding."""

    q_padding_interval_size: int | None = binds(
        ge=0, sample=32, effect="Coarser padding needs fewer graphs and computes more padding."
    )
    """Number of tokens to which a step's queries are padded for CUDA graphs; 0 takes the preset."""

    kv_padding_interval_size: int | None = binds(
        ge=0, sample=32, effect="Coarser padding needs fewer graphs and reads more padding."
    )
    """Number of tokens to which a step's cache is padded for CUDA graphs; 0 takes the preset."""

    num_q_padding_intervals: int | None = binds(
        GENERATE_BATCH, ge=0, sample=4, effect="More intervals mean less padding and more graphs to record."
    )
    """Number of sizes to which a step's queries are padded, in versions that take it as an argument."""

    num_kv_padding_intervals: int | None = binds(
        GENERATE_BATCH, ge=0, sample=4, effect="More intervals mean less padding and more graphs to record."
    )
    """Number of sizes to which a step's cache is padded, in versions that take it as an argument."""

    slice_inputs: bool | None = binds(
        GENERATE_BATCH, sample=False, effect="Without slicing every step computes on inputs of the largest size."
    )
    """Whether inputs are cut to the step's real size, in versions that take it as an argument."""

    varlen_compile_config: CompileOptions | None = binds(
        effect="Compiled prompt steps start slowly and then run faster."
    )
    """Compilation of the steps that process prompts."""

    decode_compile_config: CompileOptions | None = binds(
        effect="Compiled decoding steps start slowly and then run faster."
    )
    """Compilation of the steps that only decode."""

    default_compile_level: int | None = binds(
        ge=0, le=3, sample=1, effect="Higher levels run faster after a longer warm-up."
    )
    """Level of the compilation where none is described; 0 compiles nothing."""

    scheduler_type: Literal["fifo", "prefill_first"] | None = binds(
        sample="prefill_first", effect="prefill_first shortens the time to the first token and delays running requests."
    )
    """Order in which waiting and running requests get a place."""

    safety_margin: float | None = binds(
        ge=0, le=1, sample=0.25, effect="A larger margin evicts less and admits new requests later."
    )
    """Share of the blocks that must stay free before a new request is admitted."""

    return_logprobs: bool | None = binds(effect="One softmax over the vocabulary more per step, and its transfer.")
    """Whether the probability of each generated token is returned."""

    seed: int | None = binds(
        ge=0, sample=7, effect="None per token: it decides which tokens are sampled, and so where answers end."
    )
    """Seed of the sampling inside the batch."""

    auto_switch_to_flash: bool | None = binds(
        sample=False, effect="Flash attention, where it is installed, replaces the slower kernel."
    )
    """Whether flash attention replaces sdpa and eager where it can."""

    cpu_offload_space: float | None = binds(
        ge=0, sample=0.5, effect="An evicted request's cache is copied back instead of being computed again."
    )
    """Memory of the host for evicted caches, in GiB; 0 keeps none."""

    cpu_offload_space_safety_threshold: float | None = binds(
        ge=0,
        le=1,
        sample=0.5,
        needs=is_set("cpu_offload_space"),
        context={"cpu_offload_space": 0.5},
        effect="A smaller share keeps fewer evicted caches; the others are computed again.",
    )
    """Largest share of the host's memory that evicted caches may take."""

    drop_unsupported_processors: bool | None = binds(
        sample=False, effect="Processors that stay cost their time per step, and change the tokens."
    )
    """Whether processors of the scores that batching does not support are left out."""

    disable_nccl_graph_mixing: bool | None = binds(
        sample=False, effect="Faster replay of graphs with communication, under tensor parallelism only."
    )
    """Whether the safety net for mixed recorded and direct communication is off."""

    persistent_manager: bool | None = binds(
        GENERATE_BATCH, effect="Cache and graphs are kept for the next batch instead of being built again."
    )
    """Whether cache and graphs outlive one call."""

    warmup: bool | None = binds(
        GENERATE_BATCH, sample=False, effect="Graphs are recorded before the first request instead of during it."
    )
    """Whether graphs are recorded before the first request."""
