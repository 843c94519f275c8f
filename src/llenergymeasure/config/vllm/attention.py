"""Attention: which kernels compute it, and their options."""

from typing import Literal

from llenergymeasure.config.bindings import Section, binds, equals
from llenergymeasure.config.vllm.entry_points import LLM


class HiSparse(Section):
    """Sparse attention over a cache in the host's memory, of which each request keeps a part on the device."""

    entry_point = "vllm.config.HiSparseConfig"

    device_buffer_size: int | None = binds(
        ge=1, sample=4096, effect="Larger buffers fetch fewer rows from the host and leave room for fewer requests."
    )
    """Tokens of each request's cache that stay on the device."""

    eager_host_mirror: bool | None = binds(
        effect="A copy per step, against a slower moment when a page must leave the device."
    )
    """Whether new rows are copied to the host at once instead of when their page leaves the device."""


class AttentionOptions(Section):
    """Options of the attention kernels; each acts only with the kernel that it names."""

    entry_point = "vllm.config.AttentionConfig"

    flash_attn_version: Literal[2, 3, 4] | None = binds(
        sample=2, effect="Newer generations are faster on the devices they were written for."
    )
    """Generation of FlashAttention, where that is the kernel."""

    flash_attn_max_num_splits_for_cuda_graph: int | None = binds(
        ge=0,
        sample=16,
        effect="More splits use the device better at small batches with long contexts, for more memory.",
    )
    """Largest number of parts into which recorded decoding steps cut a request's cache, with FlashAttention."""

    use_trtllm_attention: bool | None = binds(effect="TensorRT-LLM's kernels are faster on the devices that have them.")
    """Whether FlashInfer must (true) or must not (false) use TensorRT-LLM's kernels."""

    disable_flashinfer_q_quantization: bool | None = binds(
        effect="More exact and slower attention with an FP8 cache, in FlashInfer."
    )
    """Whether queries stay unquantized with an FP8 cache."""

    use_prefill_query_quantization: bool | None = binds(
        effect="Faster and less exact attention over prompts, in models with multi-head latent attention and FP8 cache."
    )
    """Whether queries are quantized while prompts are processed."""

    backend_per_kind: dict[str, str] | None = binds(
        min_length=1,
        sample={"full_attention": "TRITON_ATTN"},
        effect="Lets each kind of layer use the kernel that suits it.",
    )
    """Attention kernel of single kinds of cache, such as full_attention or sliding_window; others keep theirs."""

    mla_prefill_backend: str | None = binds(
        sample="FLASHINFER", effect="Decides how fast prompts are processed by models with multi-head latent attention."
    )
    """Kernel for prompts in multi-head latent attention, such as FLASH_ATTN, FLASHINFER or TRTLLM_RAGGED."""

    disable_flashinfer_prefill: bool | None = binds(
        effect="Decides how fast prompts are processed by models with multi-head latent attention."
    )
    """Whether latent attention over prompts avoids FlashInfer, in 0.19."""

    use_cudnn_prefill: bool | None = binds(
        effect="Decides how fast prompts are processed by models with multi-head latent attention."
    )
    """Whether latent attention over prompts uses cuDNN, in 0.19."""

    use_trtllm_ragged_deepseek_prefill: bool | None = binds(
        effect="Decides how fast prompts are processed by models with multi-head latent attention."
    )
    """Whether latent attention over prompts uses TensorRT-LLM's ragged kernel, in 0.19."""

    trtllm_ragged_backend: Literal["trtllm-gen", "cute-dsl"] | None = binds(
        sample="cute-dsl", effect="Decides how fast prompts with a cached beginning are processed."
    )
    """Kernel family of latent attention over prompts with a cached beginning, with TRTLLM_RAGGED."""

    sparse_mla_force_mqa: bool | None = binds(
        effect="One kernel for everything: prompts are processed more slowly, decoding as before."
    )
    """Whether sparse latent attention treats prompts as it treats decoding."""

    sparse_mla_prefill_workspace_factor: int | None = binds(
        ge=2, sample=3, effect="Less workspace leaves more memory for the cache and cuts long prompts into more parts."
    )
    """Size of the workspace for prompts in sparse latent attention, in multiples of the longest sequence."""

    use_non_causal: bool | None = binds(
        effect="Attends to twice the positions in a prompt and changes the answers; only some models are made for it."
    )
    """Whether tokens attend to those after them, too."""

    tokenspeed_mla_min_split_kv: int | None = binds(
        ge=1,
        le=256,
        sample=4,
        effect="More parts use the device better at small batches with long contexts, for more memory.",
    )
    """Smallest number of parts into which decoding cuts a request's cache, with TOKENSPEED_MLA."""

    tq_max_kv_splits_for_cuda_graph: int | None = binds(
        ge=1,
        sample=16,
        effect="More splits use the device better at small batches with long contexts, for more memory.",
    )
    """Number of parts into which recorded decoding steps cut a request's cache, with a TurboQuant cache."""

    flex_attn_block_m: int | None = binds(
        ge=16, sample=32, effect="Larger tiles reuse more data and need more registers."
    )
    """Queries per tile of FlexAttention's kernel; a power of two."""

    flex_attn_block_n: int | None = binds(
        ge=16, sample=32, effect="Larger tiles reuse more data and need more registers."
    )
    """Keys per tile of FlexAttention's kernel; a power of two."""

    flex_attn_q_block_size: int | None = binds(
        ge=1, sample=32, effect="Coarser masks are cheaper to make and skip less of the work."
    )
    """Queries per block of FlexAttention's mask; a power of two, and a multiple of flex_attn_block_m."""

    flex_attn_kv_block_size: int | None = binds(
        ge=1, sample=32, effect="Coarser masks are cheaper to make and skip less of the work."
    )
    """Keys per block of FlexAttention's mask; a power of two, and a multiple of flex_attn_block_n."""

    indexer_kv_dtype: str | None = binds(
        sample="fp8", effect="Fewer bits mean less memory traffic when the tokens to attend to are chosen."
    )
    """Number format of the index by which sparse attention chooses its tokens: bf16, fp8, mxfp4 or nvfp4."""

    use_fp4_indexer_cache: bool | None = binds(
        effect="Less memory traffic when the tokens to attend to are chosen; needs data-center Blackwell."
    )
    """Whether that index is stored in FP4, in 0.26."""

    indexer_sparse_logits: bool | None = binds(
        needs=equals("indexer_kv_dtype", "mxfp4"),
        context={"indexer_kv_dtype": "mxfp4"},
        effect="Faster from about 32,000 tokens of context on, slower below; needs data-center Blackwell.",
    )
    """Whether a two-level index scores only its candidate blocks instead of the whole context."""

    indexer_tp_shard_min_rows: int | None = binds(
        ge=1, sample=1024, effect="Sharing saves repeated work under tensor parallelism and adds communication."
    )
    """Tokens of prompts in a step from which devices share the work of the index."""

    minimax_m3_msa_decode_backend: Literal["triton", "cutlass"] | None = binds(
        sample="cutlass", effect="Decides how fast MiniMax M3 decodes; no other model is touched."
    )
    """Kernel of MiniMax M3's sparse decoding."""

    hisparse_config: HiSparse | None = binds()
    """Sparse attention over a cache in the host's memory."""


class Attention(Section):
    """The attention kernel and its options."""

    entry_point = LLM

    attention_backend: str | None = binds(
        sample="TRITON_ATTN",
        effect="Decides the time of attention, which grows with the context; on CPUs vLLM keeps its own kernel.",
    )
    """Attention kernel, such as FLASH_ATTN, FLASHINFER, TRITON_ATTN or FLEX_ATTENTION."""

    attention_config: AttentionOptions | None = binds()
    """Options of the attention kernels."""

    disable_cascade_attn: bool | None = binds(
        effect="Cascade attention reads a prefix that all requests share once per step; without one nothing changes."
    )
    """Whether the kernel for a shared prefix is off; from 0.32 on vLLM has no such kernel."""
