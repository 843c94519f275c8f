"""Passes over the compiled graph, and how the compiler treats shapes that vary."""

from typing import Literal

from llenergymeasure.config.bindings import Section, binds, is_set

PASSES = "vllm.config.PassConfig"


class Passes(Section):
    """Passes that vLLM runs over the graph before kernels are generated; each acts where its pattern occurs."""

    entry_point = PASSES

    eliminate_noops: bool | None = binds(
        f"{PASSES}:eliminate_noops",
        f"{PASSES}:enable_noop",
        effect="Small of its own; without it the quantization fusions seldom find their pattern.",
    )
    """Whether reshapes and slices that change nothing are removed; 0.11 calls it enable_noop."""

    enable_fusion: bool | None = binds(
        effect="Fewer kernels and less memory traffic in models with quantized activations; others stay as they are."
    )
    """Whether norms and activations are fused with the quantization after them, in 0.11; newer versions split it."""

    fuse_norm_quant: bool | None = binds(
        effect="One kernel less and less memory traffic per norm, in models with quantized activations."
    )
    """Whether a norm and the quantization of its result become one kernel."""

    fuse_act_quant: bool | None = binds(
        effect="One kernel less and less memory traffic per layer, in models with quantized activations."
    )
    """Whether an activation function and the quantization of its result become one kernel."""

    fuse_attn_quant: bool | None = binds(
        f"{PASSES}:fuse_attn_quant",
        f"{PASSES}:enable_attn_fusion",
        effect="One kernel less per layer in models with quantized activations; full CUDA graphs replace the pieces.",
    )
    """Whether attention writes its result quantized; 0.11 calls it enable_attn_fusion."""

    fuse_allreduce_rms: bool | None = binds(
        f"{PASSES}:fuse_allreduce_rms",
        f"{PASSES}:enable_fi_allreduce_fusion",
        effect="Shortens each layer's communication under tensor parallelism; one device is not touched.",
    )
    """Whether an exchange and the norm after it become one kernel; 0.11 calls it enable_fi_allreduce_fusion."""

    fi_allreduce_fusion_max_size_mb: float | None = binds(
        ge=0,
        sample=8.0,
        effect="Above it the exchange and the norm run apart, which is faster for large steps.",
    )
    """Largest exchanged tensor, in MiB, that the fused exchange and norm take; the device's own limit where unset."""

    enable_sp: bool | None = binds(
        f"{PASSES}:enable_sp",
        f"{PASSES}:enable_sequence_parallelism",
        effect="Norms are shared between devices instead of repeated, under tensor parallelism only.",
    )
    """Whether devices split the tokens between exchanges; 0.11 calls it enable_sequence_parallelism."""

    sp_min_token_num: int | None = binds(
        ge=0,
        sample=64,
        needs=(is_set("enable_sp"), is_set("fuse_gemm_comms")),
        context={"enable_sp": True},
        effect="Smaller steps run without the split, whose overhead they would not earn back.",
    )
    """Tokens in a step from which devices split them; chosen by device where unset."""

    fuse_gemm_comms: bool | None = binds(
        f"{PASSES}:fuse_gemm_comms",
        f"{PASSES}:enable_async_tp",
        effect="Hides communication behind matrix products, under tensor parallelism only.",
    )
    """Whether exchanges overlap with matrix products; switches enable_sp on, and is enable_async_tp in 0.11."""

    fuse_minimax_qk_norm: bool | None = binds(
        effect="Fewer exchanges per layer in MiniMax models under tensor parallelism; no other model is touched."
    )
    """Whether MiniMax models exchange and normalize queries and keys in one kernel."""

    enable_qk_norm_rope_fusion: bool | None = binds(
        effect="One kernel instead of several per layer, in models that normalize queries and keys."
    )
    """Whether norms of queries and keys and the rotary embedding become one kernel; CUDA and ROCm only."""

    fuse_rope_kvcache_cat_mla: bool | None = binds(
        effect="One kernel instead of several per layer, in models with multi-head latent attention."
    )
    """Whether the rotary embedding and the write into the latent cache become one kernel; CUDA and ROCm only."""


class DynamicShapes(Section):
    """How the compiler treats the sizes that vary from step to step."""

    entry_point = "vllm.config.compilation.DynamicShapesConfig"

    type: Literal["backed", "unbacked", "backed_size_oblivious"] | None = binds(
        sample="backed_size_oblivious",
        effect="Small: kernels without assumptions on sizes can be slower; answers must not differ.",
    )
    """What the compiler may assume of a varying size from the first one it sees."""

    evaluate_guards: bool | None = binds(
        effect="A check in every step; a broken assumption becomes an error instead of a wrong shape."
    )
    """Whether assumptions on sizes are checked at run time; needs VLLM_USE_BYTECODE_HOOK=0 in the environment."""

    assume_32_bit_indexing: bool | None = binds(
        effect="Cheaper index arithmetic in generated kernels; wrong for tensors of 2^31 elements or more."
    )
    """Whether generated kernels may index with 32 bits."""
