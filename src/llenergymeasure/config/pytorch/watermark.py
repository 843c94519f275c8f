"""Watermarks that sampling can leave in the generated tokens."""

from typing import Literal

from llenergymeasure.config.bindings import Section, binds


class Watermark(Section):
    """A watermark in the sampled tokens."""

    entry_point = "transformers.WatermarkingConfig"

    kind: Literal["greenlist"]
    """Kind of watermark: a bias on a pseudo-random share of the vocabulary."""

    greenlist_ratio: float | None = binds(
        gt=0, lt=1, sample=0.3, effect="None on cost: it changes which tokens are favoured."
    )
    """Share of the vocabulary that is favoured."""

    bias: float | None = binds(sample=1.5, effect="None on cost: it changes which tokens are favoured.")
    """What is added to a favoured token's score."""

    hashing_key: int | None = binds(sample=15485867, effect="None on cost: it changes which tokens are favoured.")
    """Key of the pseudo-random choice."""

    seeding_scheme: Literal["lefthash", "selfhash"] | None = binds(
        sample="selfhash", effect="selfhash hashes every candidate token: slow."
    )
    """What the choice depends on: the last token, or the candidate itself."""

    context_width: int | None = binds(ge=1, sample=2, effect="None on cost: it changes which tokens the hash is of.")
    """Tokens of context that the choice depends on."""


class SynthIDWatermark(Section):
    """A tournament-sampling watermark."""

    entry_point = "transformers.SynthIDTextWatermarkingConfig"

    kind: Literal["synthid"]
    """Kind of watermark: tournament sampling."""

    ngram_len: int = binds(default=..., ge=2, sample=5, effect="Longer n-grams hash more tokens per step.")
    """Length of the n-grams that the watermark depends on."""

    keys: list[int] = binds(default=..., sample=[654, 400, 836], effect="Each key adds one sampling layer per step.")
    """Keys of the sampling layers, one layer each."""

    context_history_size: int | None = binds(
        ge=1, sample=512, effect="Every step compares its context with all that are remembered."
    )
    """Number of past contexts that are remembered."""

    sampling_table_seed: int | None = binds(
        ge=0, sample=1, effect="None on cost: it changes which tokens are favoured."
    )
    """Seed of the sampling table."""

    sampling_table_size: int | None = binds(ge=1, sample=1024, effect="Memory of the table only.")
    """Entries of the sampling table."""

    skip_first_ngram_calls: bool | None = binds(effect="None on cost: the first tokens are left as they are.")
    """Whether the first n-grams stay without watermark."""

    debug_mode: bool | None = binds(effect="None on cost: the tokens become random.")
    """Whether scores are set to a uniform distribution for debugging."""
