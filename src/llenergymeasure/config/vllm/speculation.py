"""Speculative decoding: something cheap drafts tokens, the model checks several at once."""

from typing import Literal

from llenergymeasure.config.bindings import Section, among, binds, equals, is_set
from llenergymeasure.config.vllm.drafts import OWN_MODEL, Drafts
from llenergymeasure.config.vllm.entry_points import LLM

NGRAM = {"method": "ngram", "num_speculative_tokens": 2}
SUFFIX = {"method": "suffix"}
SYNTHETIC = {**NGRAM, "rejection_sample_method": "synthetic"}
FLY = {"method": "ngram", "num_speculative_tokens": 4, "rejection_sample_method": "fly"}


class Proposals(Section):
    """Which method drafts, how much, and the options of the methods that look drafts up in the text."""

    entry_point = "vllm.config.SpeculativeConfig"

    method: str | None = binds(
        sample="ngram",
        context={"num_speculative_tokens": 2},
        effect="Decides what a draft costs and how often it is accepted, and so whether latency and energy fall.",
    )
    """What drafts: ngram, suffix, draft_model, eagle, eagle3, mtp and others; without it vLLM guesses from model."""

    num_speculative_tokens: int | None = binds(
        ge=1,
        sample=2,
        context={"method": "ngram"},
        effect="More draft tokens per check: fewer checks, more waste on rejection.",
    )
    """Draft tokens per check; without it a draft model's own number, or suffix_decoding_max_tree_depth."""

    num_speculative_tokens_per_batch_size: list[tuple[int, int, int]] | None = binds(
        min_length=1,
        sample=[(1, 4, 2), (5, 256, 1)],
        context=OWN_MODEL,
        effect="Drafts much at small batches, where checks are cheap, and little at large ones, where they are not.",
    )
    """Draft tokens by batch size: entries of first size, last size and tokens, instead of one number for all."""

    prompt_lookup_max: int | None = binds(
        ge=1,
        sample=4,
        needs=among("method", "ngram", "ngram_gpu"),
        context=NGRAM,
        effect="Longer matches are tried first: their drafts are accepted more often, and each try is one more search.",
    )
    """Longest n-gram that is looked up in the text so far."""

    prompt_lookup_min: int | None = binds(
        ge=1,
        sample=2,
        needs=among("method", "ngram", "ngram_gpu"),
        context={**NGRAM, "prompt_lookup_max": 4},
        effect="Shorter matches draft more often, and more of it in vain.",
    )
    """Shortest n-gram that is looked up; prompt_lookup_max where only that is set."""

    suffix_decoding_max_tree_depth: int | None = binds(
        ge=1,
        sample=12,
        needs=equals("method", "suffix"),
        context=SUFFIX,
        effect="Deeper trees match and draft longer runs, for more memory of the host.",
    )
    """Most tokens that a match and its draft may have together."""

    suffix_decoding_max_cached_requests: int | None = binds(
        ge=0,
        sample=500,
        needs=equals("method", "suffix"),
        context=SUFFIX,
        effect="More earlier answers to draft from; a repeated workload then drafts from its own first pass.",
    )
    """Earlier requests whose answers are drafted from; 0 drafts from a request's own text alone."""

    suffix_decoding_max_spec_factor: float | None = binds(
        ge=0,
        sample=2.0,
        needs=equals("method", "suffix"),
        context=SUFFIX,
        effect="Higher values draft more after a short match, and more of it in vain.",
    )
    """Most draft tokens per token of the match."""

    suffix_decoding_min_token_prob: float | None = binds(
        ge=0,
        le=1,
        sample=0.25,
        needs=equals("method", "suffix"),
        context=SUFFIX,
        effect="Higher values stop drafting earlier: fewer rejected drafts, more checks.",
    )
    """Frequency of a token after the match, as a share, below which drafting stops."""


class Verification(Section):
    """How drafts are accepted; the synthetic methods decide it by chance, to measure costs at a given acceptance."""

    entry_point = "vllm.config.SpeculativeConfig"

    rejection_sample_method: Literal["standard", "strict", "probabilistic", "synthetic", "block", "fly"] | None = binds(
        sample="synthetic",
        context={**NGRAM, "synthetic_acceptance_length": 1.5},
        effect="More accepted drafts mean fewer checks; synthetic and fly change the output.",
    )
    """How drafts are checked against the model; the names differ between versions."""

    synthetic_acceptance_length: float | None = binds(
        ge=1,
        sample=1.5,
        needs=equals("rejection_sample_method", "synthetic"),
        excludes=is_set("synthetic_acceptance_rates"),
        context=SYNTHETIC,
        effect="Tokens per check, and so time and energy per token, no longer depend on the text, which is wrong.",
    )
    """Mean tokens that a check yields, up to one more than the draft tokens."""

    synthetic_acceptance_rates: list[float] | None = binds(
        min_length=1,
        sample=[0.5, 0.25],
        needs=equals("rejection_sample_method", "synthetic"),
        context=SYNTHETIC,
        effect="As synthetic_acceptance_length.",
    )
    """Share of checks that accept the first, the first two, ... draft tokens: one falling rate for each."""

    synthetic_acceptance_rate: float | None = binds(
        ge=0,
        le=1,
        sample=0.5,
        needs=equals("rejection_sample_method", "synthetic"),
        context=SYNTHETIC,
        effect="As synthetic_acceptance_length.",
    )
    """Mean share of draft tokens accepted, in 0.19; newer versions take a length or a rate for each token."""

    fly_window_size: int | None = binds(
        ge=1,
        sample=2,
        needs=equals("rejection_sample_method", "fly"),
        context=FLY,
        effect="Shorter windows accept more drafts that the model would not have chosen.",
    )
    """Draft tokens after a mismatch that must be right for it to be kept, fewer than are drafted."""

    fly_entropy_threshold: float | None = binds(
        ge=0,
        sample=0.5,
        needs=equals("rejection_sample_method", "fly"),
        context=FLY,
        effect="Lower values accept more drafts that the model would not have chosen.",
    )
    """Entropy of the model's choice from which on a mismatch may be kept."""

    fly_entropy_top_k: int | None = binds(
        ge=1,
        sample=5,
        needs=equals("rejection_sample_method", "fly"),
        context=FLY,
        effect="Hardly any: it decides how exactly the entropy is measured.",
    )
    """Likeliest tokens that the entropy is measured over."""

    enable_adaptive_verification: bool | None = binds(
        context={**OWN_MODEL, "method": "dspark"},
        effect="Unlikely drafts are not checked: less waste at large batches.",
    )
    """Whether how many drafts a check takes follows from how sure they are; meant for method dspark."""


class SpeculativeOptions(Verification, Drafts, Proposals):
    """Speculative decoding; the engine takes a mapping and completes it with the model's own configuration."""

    entry_point = "vllm.config.SpeculativeConfig"
    form = "mapping"


class Speculation(Section):
    entry_point = LLM

    speculative_config: SpeculativeOptions | None = binds(
        sample={"method": "ngram", "num_speculative_tokens": 2},
        effect="Saves latency where drafts are accepted at small batches; costs energy at large ones.",
    )
    """Speculative decoding: what drafts, how much, and how drafts are accepted."""
