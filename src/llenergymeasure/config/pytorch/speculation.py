"""Fields of assisted decoding: a cheap draft proposes tokens, the model checks several at once."""

from typing import Annotated, Literal

from llenergymeasure.config.bindings import Local, Section, above, among, binds, is_set
from llenergymeasure.config.pytorch.entry_points import GENERATE, GENERATION_CONFIG

ASSISTED = is_set("assistant_model")
LOOKUP = is_set("prompt_lookup_num_tokens")
# Beam search never drafts, a static cache cannot take rejected drafts back, and the prompt is read whole.
NO_DRAFTS = (
    above("num_beams", 1),
    among("cache_implementation", "static", "offloaded_static"),
    is_set("prefill_chunk_size"),
)


class Drafting(Section):
    """Options that transformers reads from the draft model's own generation config, not from that of the call."""

    entry_point = GENERATION_CONFIG

    num_assistant_tokens: int | None = binds(
        ge=1,
        sample=3,
        needs=(ASSISTED, is_set("assistant_early_exit")),
        context={"assistant_model": "assistant"},
        effect="More draft tokens per check: fewer checks, more waste on rejection.",
    )
    """Draft tokens per check."""

    num_assistant_tokens_schedule: Literal["heuristic", "heuristic_transient", "constant"] | None = binds(
        sample="heuristic",
        needs=(ASSISTED, is_set("assistant_early_exit")),
        context={"assistant_model": "assistant"},
        effect="heuristic drafts more after accepted drafts and less after rejected ones; constant does not adapt.",
    )
    """How the number of draft tokens adapts."""

    assistant_confidence_threshold: float | None = binds(
        ge=0,
        le=1,
        sample=0.2,
        needs=(ASSISTED, is_set("assistant_early_exit")),
        context={"assistant_model": "assistant"},
        effect="Higher values stop drafting earlier: fewer rejected drafts, more checks.",
    )
    """Confidence below which the draft model stops proposing."""

    assistant_lookbehind: int | None = binds(
        ge=1,
        sample=4,
        needs=ASSISTED,
        context={"assistant_model": "assistant"},
        effect="Each check encodes more tokens anew: a little time of the host.",
    )
    """Draft tokens that are re-encoded where the two tokenizers differ."""

    target_lookbehind: int | None = binds(
        ge=1,
        sample=4,
        needs=ASSISTED,
        context={"assistant_model": "assistant"},
        effect="Each check encodes more tokens anew: a little time of the host.",
    )
    """Target tokens that are re-encoded where the two tokenizers differ."""


class Speculation(Drafting):
    entry_point = GENERATION_CONFIG

    prompt_lookup_num_tokens: int | None = binds(
        ge=1,
        sample=3,
        excludes=(is_set("assistant_model"), is_set("assistant_early_exit"), *NO_DRAFTS),
        effect="Saves steps where the output repeats the prompt; wasted work where it does not.",
    )
    """Draft tokens copied from a matching place in the prompt."""

    max_matching_ngram_size: int | None = binds(
        ge=1,
        sample=3,
        needs=LOOKUP,
        context={"prompt_lookup_num_tokens": 3},
        effect="Longer matches are tried first: their drafts are accepted more often, and each try is one more search.",
    )
    """Longest n-gram that is looked up in the prompt."""

    assistant_model: Annotated[str | None, Local(hub=True)] = binds(
        f"{GENERATE}:assistant_model",
        convert="assistant",
        sample="assistant",
        excludes=NO_DRAFTS,
        effect="Saves latency at small batches when drafts are accepted; costs energy at large ones.",
    )
    """Model folder or repository of the draft model."""

    assistant_early_exit: int | None = binds(
        ge=1,
        sample=1,
        excludes=(is_set("assistant_model"), *NO_DRAFTS),
        effect="Drafts with the model's own first layers: no second model in memory.",
    )
    """Layer after which the model drafts for itself."""

    assistant_ensemble_weight: float | None = binds(
        gt=0,
        lt=1,
        sample=0.5,
        needs=ASSISTED,
        context={"assistant_model": "assistant"},
        effect="More drafts are accepted, at the price of another output distribution.",
    )
    """Weight of the model against the draft in the distribution that accepts tokens."""

    speculation_type: Literal["dflash"] | None = binds(
        sample="dflash",
        needs=ASSISTED,
        context={"assistant_model": "assistant"},
        effect="Decides how drafts are made, and so what one costs.",
    )
    """Kind of draft model, where it is not an ordinary causal model."""
