"""Kernels of everything but attention: matrix products, experts, norms, sampling; and the model's own code."""

from typing import Any

from llenergymeasure.config.bindings import Section, binds
from llenergymeasure.config.vllm.entry_points import LLM
from llenergymeasure.config.vllm.state_space import StateSpace


class OpPriority(Section):
    """Which implementation of an operation comes first; vLLM appends those of the platform."""

    entry_point = "vllm.config.kernel.IrOpPriorityConfig"

    rms_norm: list[str] | None = binds(
        min_length=1, sample=["native", "vllm_c"], effect="Decides the kernel of every norm; native ones can be fused."
    )
    """Implementations of the norm, best first, such as vllm_c or native."""

    fused_add_rms_norm: list[str] | None = binds(
        min_length=1, sample=["native", "vllm_c"], effect="Decides the kernel of every norm; native ones can be fused."
    )
    """Implementations of the sum with the residual and its norm, best first."""

    gelu_and_mul_sparse: list[str] | None = binds(
        min_length=1,
        sample=["native", "triton"],
        effect="Decides the kernel of the sparse activation, in models that have it.",
    )
    """Implementations of the sparse gated activation, best first."""


class KernelOptions(Section):
    """Choice and warm-up of kernels in detail."""

    entry_point = "vllm.config.KernelConfig"

    enable_cutedsl_warmup: bool | None = binds(
        sample=False, effect="Without it the first requests wait for kernels to be compiled."
    )
    """Whether kernels written in CuTe DSL are compiled before the first request."""

    enable_jit_warmup: bool | None = binds(
        sample=False, effect="Without it the first requests wait for kernels to be compiled."
    )
    """Whether other kernels that compile on first use do so before the first request."""

    linear_backend_per_quant: dict[str, str] | None = binds(
        min_length=1,
        sample={"nvfp4_w4a16": "marlin"},
        effect="Decides the time of the matrix products of each kind of quantized layer.",
    )
    """Kernel family for the linear layers of one quantization scheme, by the scheme's name."""


class Kernels(StateSpace):
    """Which kernels compute what is not attention."""

    entry_point = LLM

    moe_backend: str | None = binds(
        sample="triton",
        effect="Decides the time of the experts in mixture-of-experts models; dense models are not touched.",
    )
    """Kernel family of the experts, such as triton, cutlass, deep_gemm or flashinfer_cutlass."""

    linear_backend: str | None = binds(
        sample="triton",
        effect="Decides the time of quantized matrix products, which is most of each step.",
    )
    """Kernel family of quantized linear layers, such as cutlass, marlin or torch."""

    kernel_config: KernelOptions | None = binds()
    """Kernels in detail."""

    ir_op_priority: OpPriority | None = binds()
    """Order in which implementations of single operations are tried."""

    enable_flashinfer_autotune: bool | None = binds(
        sample=False, effect="A longer start, and afterwards the fastest of FlashInfer's kernels for each size."
    )
    """Whether FlashInfer's kernels are timed at the start to choose the fastest."""

    enable_bf16x3_router_gemm: bool | None = binds(
        effect="Faster routing to experts on data-center Blackwell; other devices are not touched."
    )
    """Whether the router of experts multiplies in three bfloat16 parts, in 0.26."""

    sparse_indexer_topk_backend: str | None = binds(
        sample="torch", effect="Decides the time in which sparse attention chooses its tokens while decoding."
    )
    """Kernel that picks the best tokens for sparse attention, such as persistent, per_row or flashinfer."""

    use_fp64_gumbel: bool | None = binds(
        effect="Slower sampling on most GPUs; rare tokens keep their exact chance, so sampled answers differ."
    )
    """Whether the random noise of sampling is drawn in 64 instead of 32 bits."""

    enable_trace_replay: bool | None = binds(
        effect="None of its own beyond a buffer per request; forced tokens fix the length of answers."
    )
    """Whether requests may force their own output tokens."""

    model_class_overrides: dict[str, str] | None = binds(
        min_length=1,
        sample={"LlamaForCausalLM": "vllm.model_executor.models.llama:LlamaForCausalLM"},
        effect="Decides which code is measured.",
    )
    """Implementation of an architecture, as the architecture's name to `module:Class`."""

    additional_config: dict[str, Any] | None = binds(
        min_length=1,
        sample={"kda_prefill_checkpoint": False},
        effect="Depends on the option: single models and platform plugins read theirs, and nobody else.",
    )
    """Options of single models and platform plugins, such as kda_spec_decode_backend; unknown ones are not refused."""
