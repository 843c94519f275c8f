"""Beam search: vLLM decodes it step by step outside the engine, in a call of its own."""

from typing import Annotated

from llenergymeasure.config.bindings import PartsOfModel, Section, binds, is_set
from llenergymeasure.config.vllm.entry_points import (
    BEAM_SEARCH,
    BEAM_SEARCH_PARAMS,
    GENERATE,
    SAMPLING_PARAMS,
)
from llenergymeasure.config.vllm.structured import StructuredOutputs


class BeamSearch(Section):
    """Generation through `beam_search` instead of `generate`; every beam's next token is a request of its own."""

    entry_point = BEAM_SEARCH_PARAMS
    enables = BEAM_SEARCH_PARAMS
    # Its requests carry parameters that it makes itself.
    replaces = (SAMPLING_PARAMS, GENERATE)

    beam_width: int = binds(
        default=...,
        ge=1,
        sample=2,
        effect="Each step decodes beam_width sequences per prompt and sorts twice as many candidates for each.",
    )
    """Beams per prompt, all of which are returned; max_logprobs must be at least twice as large."""

    length_penalty: float | None = binds(
        sample=0.5, effect="None per step: it decides which beams win, and so how many tokens are returned."
    )
    """Exponent of the length by which a beam's log-probability is divided; above 0 favours longer beams."""

    temperature: float | None = binds(
        ge=0,
        sample=0.7,
        effect="Hardly any: the sampled token joins the candidates; processed logprobs_mode ranks them anew.",
    )
    """Divisor of the logits from which one candidate is sampled; the others are the likeliest tokens."""

    ignore_eos: bool | None = binds(
        effect="Every beam runs to output.max_tokens: the work of every run is equal, and longer."
    )
    """Whether beams go on after the end token."""

    skip_special_tokens: bool | None = binds(sample=False, effect="None on cost: text only.")
    """Whether special tokens are left out of the text."""

    allowed_token_ids: Annotated[list[int] | None, PartsOfModel("tokens")] = binds(
        min_length=1,
        sample=[7, 8],
        excludes=is_set("structured_outputs"),
        effect="Only these tokens are scored and sorted in each step.",
    )
    """Token ids of which alone beams are made, in 0.33; it needs the engine's V2 runner."""

    structured_outputs: StructuredOutputs | None = binds(
        sample={"regex": "[0-9]{4}"},
        effect="The form is compiled anew for every beam in every step, and its mask made on the CPU.",
    )
    """Form that every beam must have; structured_outputs_config must name a backend, for choice not xgrammar."""

    concurrency_limit: int | None = binds(
        f"{BEAM_SEARCH}:concurrency_limit",
        ge=1,
        sample=2,
        effect="Prompts are searched in groups: smaller batches, which cost energy per token, and less cache.",
    )
    """Prompts that are searched together; all of them where unset."""

    priority: list[int] | None = binds(
        f"{BEAM_SEARCH}:priority",
        min_length=1,
        sample=[4, 3, 2, 1, 0],
        effect="Decides which beams wait where not all fit into a step; only with scheduling_policy: priority.",
    )
    """Rank of each prompt, in the prompts' order and as many as there are prompts; lower ones are served first."""


class Decoding(Section):
    beam_search: BeamSearch | None = binds(
        sample={"beam_width": 2},
        effect="Every step sends each beam as a new request: without the prefix cache all of it is computed again.",
    )
    """Beam search instead of sampling."""
