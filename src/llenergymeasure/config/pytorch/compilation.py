"""Options of the compiler: those of the backend's own compilation, and `torch.compile` around the forward pass."""

from typing import Any, Literal

from llenergymeasure.config.bindings import Section, binds, is_set
from llenergymeasure.config.pytorch.entry_points import TORCH_COMPILE

Mode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]


class CompileOptions(Section):
    """Options of the compilation that transformers starts itself, with static caches and in continuous batching."""

    entry_point = "transformers.CompileConfig"

    fullgraph: bool | None = binds(
        effect="None of its own: a break in the graph becomes an error instead of a slower run."
    )
    """Whether the forward pass must compile into one graph."""

    dynamic: bool | None = binds(effect="Dynamic shapes compile once; static ones compile per shape and run faster.")
    """Whether shapes may vary without compiling again."""

    backend: str | None = binds(sample="eager", effect="inductor generates kernels; eager and aot_eager only trace.")
    """Compiler behind the tracing: inductor, eager, aot_eager, cudagraphs or one that is installed."""

    mode: Mode | None = binds(
        excludes=is_set("options"),
        sample="max-autotune-no-cudagraphs",
        effect="reduce-overhead records CUDA graphs: less time per step at small batches, more memory.",
    )
    """Trade-off between compile time and speed."""

    options: dict[str, Any] | None = binds(
        clears=("mode",), sample={"epilogue_fusion": True}, effect="Depends on the option; see the compiler's own list."
    )
    """Options of the compiler, by name."""


class TorchCompile(Section):
    """`torch.compile` on the model's forward pass."""

    entry_point = TORCH_COMPILE
    enables = TORCH_COMPILE

    fullgraph: bool | None = binds(
        effect="None of its own: a break in the graph becomes an error instead of a slower run."
    )
    """Whether the forward pass must compile into one graph."""

    dynamic: bool | None = binds(effect="Dynamic shapes compile once; static ones compile per shape and run faster.")
    """Whether shapes may vary without compiling again."""

    backend: str | None = binds(sample="eager", effect="inductor generates kernels; eager and aot_eager only trace.")
    """Compiler behind the tracing: inductor, eager, aot_eager, cudagraphs or one that is installed."""

    mode: Mode | None = binds(
        excludes=is_set("options"),
        sample="max-autotune-no-cudagraphs",
        effect="reduce-overhead records CUDA graphs: less time per step at small batches, more memory.",
    )
    """Trade-off between compile time and speed."""

    options: dict[str, str | int | bool] | None = binds(
        sample={"epilogue_fusion": True}, effect="Depends on the option; see the compiler's own list."
    )
    """Options of the compiler, by name."""
