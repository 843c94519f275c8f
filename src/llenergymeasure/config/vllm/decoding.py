"""Fields of the engine that change how answers come about, or what is told of it: thinking, watermarks, denoising."""

from typing import Any

from llenergymeasure.config.bindings import Section, binds
from llenergymeasure.config.vllm.entry_points import LLM


class Reasoning(Section):
    """Where a reasoning model's thinking begins and ends, which a limit on its length and masks of its form need."""

    entry_point = "vllm.config.ReasoningConfig"

    reasoning_start_str: str | None = binds(
        min_length=1,
        sample="<thought>",
        context={"reasoning_end_str": "</thought>"},
        effect="None of its own: it decides which tokens count as thinking.",
    )
    """Text with which thinking begins."""

    reasoning_end_str: str | None = binds(
        min_length=1,
        sample="</thought>",
        context={"reasoning_start_str": "<thought>"},
        effect="None of its own; where the limit is reached, these are the tokens that end the thinking.",
    )
    """Text with which thinking ends, or is made to end."""


class Decoding(Section):
    entry_point = LLM

    reasoning_parser: str | None = binds(
        sample="granite",
        effect="None of its own; a form that answers must have is then not forced upon the thinking.",
    )
    """Name of the parser that knows where the model's thinking begins and ends, such as deepseek_r1."""

    reasoning_config: Reasoning | None = binds(
        effect="A limit on the thinking needs it; each step then looks where every sequence is."
    )
    """Where thinking begins and ends, for models without a parser, or in place of what the parser says."""

    watermark_config: dict[str, Any] | None = binds(
        sample={"key": 7},
        effect="Other tokens are sampled, and hashing the tokens before costs a little time per step.",
    )
    """Options of the watermark that sampled tokens carry, its key among them, which is recorded as it stands."""

    diffusion_config: dict[str, Any] | None = binds(
        sample={"canvas_length": 4},
        effect="Longer canvases and fewer denoising steps mean fewer forward passes per token.",
    )
    """Options of models that denoise several tokens together, such as canvas_length and max_denoising_steps."""

    enable_return_routed_experts: bool | None = binds(
        effect="Collecting and copying the choice of experts costs a little time per step."
    )
    """Whether answers tell which experts computed each token; the tool does not keep it."""

    return_sampling_mask: bool | None = binds(
        context={"logprobs_mode": "processed_logprobs"},
        effect="Collecting and copying the candidates costs a little time per step.",
    )
    """Whether answers tell among which tokens each was sampled; the tool does not keep it."""
