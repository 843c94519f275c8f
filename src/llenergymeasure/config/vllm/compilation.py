"""Compilation of the model and recording of its steps as CUDA graphs."""

from typing import Any, Literal

from llenergymeasure.config.bindings import Section, among, binds, equals
from llenergymeasure.config.vllm.entry_points import LLM
from llenergymeasure.config.vllm.passes import DynamicShapes, Passes

CudaGraphs = Literal["NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE"]


class CompilationOptions(Section):
    """What is compiled, by which compiler, and which steps are recorded as CUDA graphs."""

    entry_point = "vllm.config.CompilationConfig"

    mode: Literal[0, 1, 2, 3] | None = binds(
        unoffered=dict.fromkeys(
            ("NONE", "STOCK_TORCH_COMPILE", "DYNAMO_TRACE_ONCE", "VLLM_COMPILE"), "The modes' numbers say the same."
        ),
        effect="Compiled steps start slowly and then launch fewer kernels; 0 runs every operation by itself.",
    )
    """0 compiles nothing, 1 is plain torch.compile, 2 traces once, 3 is vLLM's own compilation, the default on GPUs."""

    backend: str | None = binds(
        sample="eager",
        context={"mode": 2},
        effect="inductor generates fused kernels; eager only traces and runs as without compilation.",
    )
    """Compiler behind the tracing: inductor, eager, or with mode 1 and 2 another one of torch's or a qualified name."""

    custom_ops: list[str] | None = binds(
        sample=["all"], effect="vLLM's hand-written kernels replace those that the compiler would generate and fuse."
    )
    """vLLM's own kernels to use: `all` or `none` as the base, `+name` and `-name` for single ones."""

    ir_enable_torch_wrap: bool | None = binds(
        context={"mode": 2},
        effect="Small: wrapped operations stay whole for vLLM's passes, unwrapped ones can be fused by the compiler.",
    )
    """Whether operations of vLLM's intermediate representation are custom operations of torch while the model runs."""

    splitting_ops: list[str] | None = binds(
        sample=["vllm::unified_attention_with_output"],
        effect="Each split is a place where recorded graphs end: more launches per step, fewer demands on kernels.",
    )
    """Operations at which the graph is cut into pieces, such as attention; an empty list keeps it whole."""

    use_inductor_graph_partition: bool | None = binds(
        effect="Fusions reach across the cuts, which come after them; compilation takes longer."
    )
    """Whether the graph is cut after the compiler's passes instead of before them."""

    compile_sizes: list[int | Literal["cudagraph_capture_sizes"]] | None = binds(
        min_length=1,
        sample=[4],
        excludes=among("mode", 0, 1, 2),
        effect="Kernels made for one size run faster there; each size is one more compilation at the start.",
    )
    """Tokens per step that get kernels of their own; `cudagraph_capture_sizes` stands for the recorded ones."""

    compile_ranges_endpoints: list[int] | None = binds(
        min_length=1,
        sample=[8],
        excludes=among("mode", 0, 1, 2),
        effect="Kernels fit their range of sizes better; each range is one more compilation at the start.",
    )
    """Tokens per step at which one range of compiled kernels ends and the next begins; vLLM adds those it needs."""

    inductor_compile_config: dict[str, Any] | None = binds(
        min_length=1, sample={"max_fusion_size": 32}, effect="Depends on the option; see the compiler's own list."
    )
    """Options of the inductor compiler, by name."""

    inductor_passes: dict[str, str] | None = binds(
        min_length=1,
        sample={"post_grad_custom_pre_pass": "copy.copy"},
        effect="Depends on the pass: it may change every kernel that is generated.",
    )
    """Functions that change the graph: the compiler's hook to the function's name in a top-level module."""

    cudagraph_mode: CudaGraphs | None = binds(
        sample="NONE",
        effect="Recorded steps save launch time, most at small batches; full graphs save more than pieces.",
    )
    """Which steps are recorded as CUDA graphs: whole, in the pieces between cuts, whole for decoding only, or both."""

    cudagraph_copy_inputs: bool | None = binds(
        excludes=equals("cudagraph_mode", "NONE"), effect="One more copy of the inputs per step."
    )
    """Whether inputs are copied into buffers of the piecewise graphs first."""

    cudagraph_specialize_lora: bool | None = binds(
        effect="Without it requests that use no adapter pay for one; with it more graphs are recorded."
    )
    """Whether steps without an active adapter get graphs of their own, where LoRA is enabled."""

    cudagraph_decoder_replay: bool | None = binds(
        effect="Less launch time for prompts of models that share their cache between layers; others are not touched."
    )
    """Whether the replayed decoder layers of DeepSeek-V4.1 and its kind run in graphs of their own."""

    decoder_replay_cudagraph_capture_sizes: list[int] | None = binds(
        min_length=1,
        sample=[128, 256],
        excludes=equals("cudagraph_decoder_replay", value=False),
        effect="More sizes mean less padding and more graphs to record.",
    )
    """Tokens for which those layers' graphs are recorded; larger batches run without graphs."""

    decoder_replay_trim_threshold: int | None = binds(
        ge=0,
        sample=1024,
        excludes=equals("cudagraph_decoder_replay", value=False),
        effect="Lower values compute fewer tokens that nothing reads, in more steps.",
    )
    """Tokens in a recorded piecewise step from which those layers leave out what they need not compute."""

    pass_config: Passes | None = binds()
    """Passes over the graph."""

    dynamic_shapes_config: DynamicShapes | None = binds()
    """Treatment of sizes that vary from step to step."""


class Compilation(Section):
    """Whether and how the model is compiled and recorded."""

    entry_point = LLM

    enforce_eager: bool | None = binds(
        effect="Every operation is launched by itself: latency rises, most at small batches; the start is faster."
    )
    """Whether the model runs without compilation and without CUDA graphs."""

    optimization_level: Literal[0, 1, 2, 3] | None = binds(
        effect="Higher levels start later and run faster; 3 does the same as 2 in the versions we know."
    )
    """Set of defaults from 0 (nothing) to 3 for compilation, CUDA graphs and fusions; single settings go before it."""

    cudagraph_capture_sizes: list[int] | None = binds(
        min_length=1,
        sample=[1, 2],
        excludes=equals("enforce_eager", value=True),
        effect="Steps are padded to the next size; larger ones run without graphs; each size takes memory.",
    )
    """Tokens per step for which CUDA graphs are recorded."""

    max_cudagraph_capture_size: int | None = binds(
        ge=1,
        sample=8,
        excludes=equals("enforce_eager", value=True),
        effect="Larger steps run without graphs; more graphs take more memory and a longer start.",
    )
    """Largest number of tokens per step for which CUDA graphs are recorded; with a list of sizes its largest."""

    compilation_config: CompilationOptions | None = binds()
    """Compilation and CUDA graphs in detail."""
