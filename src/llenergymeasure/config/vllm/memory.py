"""Fields that decide how much memory the KV cache gets, how it is laid out, and what later requests find of it."""

from typing import Literal

from llenergymeasure.config.bindings import Section, binds, equals
from llenergymeasure.config.vllm.entry_points import LLM
from llenergymeasure.config.vllm.offloading import Offloading

NOT_CACHED = equals("enable_prefix_caching", value=False)


class RecurrentState(Section):
    """What layers with a state instead of a KV cache keep: Mamba, linear attention and their hybrids."""

    entry_point = LLM

    mamba_block_size: int | None = binds(
        ge=1,
        excludes=NOT_CACHED,
        sample=64,
        effect="Smaller blocks find more of a shared beginning again and store more states.",
    )
    """Tokens from one stored state to the next, for prefix caching."""

    mamba_cache_dtype: Literal["auto", "float32", "float16", "bfloat16"] | None = binds(
        sample="float32", effect="Half the bits halve what each step reads and writes of the state."
    )
    """Number format of the state; auto takes what the model says."""

    mamba_ssm_cache_dtype: Literal["auto", "float32", "float16", "bfloat16"] | None = binds(
        sample="float32", effect="Half the bits halve what each step reads and writes of the state."
    )
    """Number format of the recurrent part of the state; auto takes mamba_cache_dtype."""

    mamba_cache_mode: Literal["all", "align", "none"] | None = binds(
        sample="align", effect="More stored states save more work on shared prefixes, and take memory from the batch."
    )
    """Which states are stored for prefix caching: all blocks', the last whole one's, or none; 0.33.0 ignores it."""


class Memory(Offloading, RecurrentState):
    entry_point = LLM

    gpu_memory_utilization: float | None = binds(
        gt=0,
        le=1,
        sample=0.5,
        effect="Less memory for the cache admits fewer requests at once.",
    )
    """Share of each GPU's memory that the engine may take, and that must be free when it starts.

    Beside kv_cache_memory_bytes it no longer sizes the cache; the engine starts only where the share is free all the
    same.
    """

    kv_cache_memory_bytes: int | None = binds(
        ge=1, sample=268435456, effect="Less memory for the cache admits fewer requests at once."
    )
    """Bytes of each GPU that the KV cache takes, in place of what gpu_memory_utilization leaves.

    vLLM starts only where that share is free, which is nine tenths of a GPU unless it is set lower, too.
    """

    num_gpu_blocks_override: int | None = binds(
        ge=1, sample=64, effect="A smaller cache admits fewer requests at once and evicts running ones."
    )
    """Blocks in the KV cache, in place of what the memory would hold."""

    max_model_len: int | None = binds(
        ge=-1,
        sample=128,
        effect="None by itself; a shorter limit lets more requests fit, and may choose other kernels.",
    )
    """Tokens of prompt and answer together that a request may have; -1 takes, from 0.19 on, what the memory holds."""

    watermark: float | None = binds(
        ge=0,
        lt=1,
        sample=0.25,
        effect="A reserve evicts fewer running requests and admits waiting ones later.",
    )
    """Share of the cache's blocks that must stay free when a waiting request is admitted."""

    block_size: int | None = binds(
        ge=1, sample=64, effect="Small blocks waste less cache and share more prefixes; large ones suit some kernels."
    )
    """Tokens that one block of the KV cache holds."""

    kv_cache_dtype: str | None = binds(
        sample="fp8",
        effect="Half the bits halve the cache's share of memory traffic, and let twice the requests fit.",
    )
    """Number format of the KV cache, such as auto, bfloat16 or fp8."""

    kv_cache_dtype_skip_layers: list[str] | None = binds(
        sample=["0"],
        context={"kv_cache_dtype": "fp8"},
        effect="Each layer left out reads more memory per step, and keeps its precision.",
    )
    """Layers whose cache keeps the model's number format: indices, or a kind of attention such as sliding_window."""

    calculate_kv_scales: bool | None = binds(
        context={"kv_cache_dtype": "fp8"},
        effect="None per token after the first step; the scales decide how exact the cache is.",
    )
    """Whether the scales of an fp8 cache are computed from the first step instead of read from the checkpoint."""

    enable_prefix_caching: bool | None = binds(
        sample=False,
        effect="Shared prefixes are computed once, also across repeats of a prompt; else only the bookkeeping remains.",
    )
    """Whether requests with the same beginning share the cache's blocks."""

    prefix_caching_hash_algo: Literal["sha256", "sha256_cbor", "xxhash", "xxhash_cbor"] | None = binds(
        sample="sha256_cbor",
        excludes=NOT_CACHED,
        effect="A cheaper hash saves the host time, most on long prompts.",
    )
    """How blocks are hashed, to be found again."""

    prefix_match_unit: int | None = binds(
        ge=1,
        sample=64,
        context={"block_size": 64},
        excludes=NOT_CACHED,
        effect="A finer unit finds more of a shared beginning again, for more hashing.",
    )
    """Tokens to which the length of a shared beginning is rounded; models with one kind of cache take a whole block."""

    prefix_cache_retention_interval: int | None = binds(
        ge=0,
        sample=1024,
        excludes=NOT_CACHED,
        effect="Shorter intervals save more work on shared prefixes and keep more memory occupied.",
    )
    """Tokens between kept places in sliding-window and recurrent layers; 0 keeps only where prompts end or part."""

    disable_hybrid_kv_cache_manager: bool | None = binds(
        sample=True, effect="Layers with a window are then stored in full: fewer requests fit."
    )
    """Whether all kinds of layers get the same room in the cache, whatever they need."""

    disable_sliding_window: bool | None = binds(
        effect="Shortens the longest request to the window; attention runs without the window's kernels."
    )
    """Whether windowed layers attend to everything, in requests no longer than the window."""

    kv_sharing_fast_prefill: bool | None = binds(
        effect="Skips the prompt's tokens in layers that read another layer's cache; few models have them."
    )
    """Whether layers that share the cache of an earlier one read only the prompt's last token."""

    enable_cumem_allocator: bool | None = binds(
        effect="None expected on one node; memory is mapped in another way, which links between nodes need."
    )
    """Whether weights and cache are allocated through CUDA's virtual memory functions."""
