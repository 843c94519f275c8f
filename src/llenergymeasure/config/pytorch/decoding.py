"""Fields that decide how many tokens are generated, how many sequences compete, and when generation stops."""

from typing import Annotated, Literal

from pydantic import Field

from llenergymeasure.config.bindings import PartsOfModel, Section, above, binds, equals, is_set
from llenergymeasure.config.pytorch.entry_points import GENERATION_CONFIG
from llenergymeasure.config.pytorch.watermark import SynthIDWatermark, Watermark

BEAMS = above("num_beams", 1)
TOKENS = PartsOfModel("tokens")


class Decoding(Section):
    entry_point = GENERATION_CONFIG

    min_new_tokens: int | None = binds(
        ge=0, effect="Total energy grows with the tokens generated; energy per token falls a little."
    )
    """Tokens that must be generated before an end token counts."""

    min_length: int | None = binds(
        ge=0,
        excludes=(above("batch_size", 1), is_set("min_new_tokens")),
        effect="As min_new_tokens, counted with the prompt.",
    )
    """Tokens of prompt and output together before an end token counts; the padding of a batch would count, too."""

    max_time: float | None = binds(
        gt=0, sample=30.5, effect="Cuts long generations short, so the work per request varies."
    )
    """Seconds after which generation stops at the next step."""

    stop_strings: str | list[str] | None = binds(
        sample=["<stop>"], effect="Each step compares the decoded text; a stop cuts the tokens generated."
    )
    """Text that ends a sequence when the model writes it."""

    eos_token_id: Annotated[int | list[int] | None, TOKENS] = binds(
        sample=7, effect="An end token that is sampled earlier or later changes the tokens generated."
    )
    """Token, or tokens, that end a sequence."""

    pad_token_id: Annotated[int | None, TOKENS] = binds(
        ge=0, sample=5, effect="None: rows that have ended are computed until their batch ends, whatever fills them."
    )
    """Token that fills the rows of a batch which have ended."""

    num_beams: int | None = binds(
        ge=1,
        sample=2,
        effect="Each step decodes num_beams sequences per prompt: memory and energy per returned token grow with it.",
    )
    """Number of beams in beam search; 1 switches it off."""

    early_stopping: bool | Literal["never"] | None = binds(
        needs=BEAMS,
        sample=True,
        context={"num_beams": 2},
        effect="true ends beam search at the first num_beams complete candidates: fewer steps.",
    )
    """When beam search ends: at num_beams complete candidates, by a heuristic, or never before it is certain."""

    length_penalty: float | None = binds(
        needs=BEAMS,
        sample=0.5,
        context={"num_beams": 2},
        effect="None per step: it decides which beam wins, and so how many tokens are returned.",
    )
    """Exponent of the length in a beam's score; above 0 favours longer sequences."""

    num_return_sequences: int | None = binds(
        ge=1,
        sample=2,
        needs=(BEAMS, equals("do_sample", value=True)),
        context={"num_beams": 2},
        effect="The prompt is computed once per returned sequence: work grows in proportion.",
    )
    """Sequences returned per prompt."""

    token_healing: bool | None = binds(effect="One short extra search per prompt.")
    """Whether the last prompt token is replaced by its likeliest extension; input tokens are counted as given."""

    prefill_chunk_size: int | None = binds(ge=1, effect="Bounds the memory of the prompt's pass; more, smaller passes.")
    """Prompt tokens processed per forward pass."""

    use_mtp: bool | None = binds(effect="Models with multi-token prediction heads accept several tokens per step.")
    """Whether the model's multi-token prediction heads draft tokens."""

    return_dict_in_generate: bool | None = binds(effect="Keeps a call's cache in memory until its tokens are read.")
    """Whether generate returns its optional outputs beside the sequences."""

    output_scores: bool | None = binds(
        needs=equals("return_dict_in_generate", value=True),
        context={"return_dict_in_generate": True},
        effect="Keeps one score per vocabulary entry and step in memory.",
    )
    """Whether processed scores of every step are kept."""

    output_logits: bool | None = binds(
        needs=equals("return_dict_in_generate", value=True),
        context={"return_dict_in_generate": True},
        effect="Keeps one logit per vocabulary entry and step in memory.",
    )
    """Whether raw logits of every step are kept."""

    output_attentions: bool | None = binds(
        needs=equals("return_dict_in_generate", value=True),
        context={"return_dict_in_generate": True, "attn_implementation": "eager"},
        effect="Keeps every layer's attention matrix; fused attention kernels cannot give it.",
    )
    """Whether attention weights of every step are kept."""

    output_hidden_states: bool | None = binds(
        needs=equals("return_dict_in_generate", value=True),
        context={"return_dict_in_generate": True},
        effect="Keeps every layer's activations in memory.",
    )
    """Whether hidden states of every step are kept."""


class Sampling(Section):
    entry_point = GENERATION_CONFIG

    do_sample: bool | None = binds(
        effect="A few more operations per step; greedy decoding is the cheapest and is reproducible."
    )
    """Whether tokens are sampled instead of taken greedily."""

    temperature: float | None = binds(
        gt=0,
        sample=0.7,
        needs=equals("do_sample", value=True),
        context={"do_sample": True},
        effect="One division of the scores per step; other tokens are sampled, and answers end elsewhere.",
    )
    """Divisor of the logits before sampling; below 1 sharpens, above 1 flattens."""

    top_k: int | None = binds(
        ge=0,
        sample=7,
        needs=equals("do_sample", value=True),
        context={"do_sample": True},
        effect="One partial sort of the vocabulary per step.",
    )
    """Number of likeliest tokens that sampling keeps; 0 keeps all."""

    top_p: float | None = binds(
        gt=0,
        le=1,
        sample=0.8,
        needs=equals("do_sample", value=True),
        context={"do_sample": True},
        effect="One sort of the vocabulary per step.",
    )
    """Probability mass of the likeliest tokens that sampling keeps."""

    min_p: float | None = binds(
        ge=0,
        le=1,
        sample=0.05,
        needs=equals("do_sample", value=True),
        context={"do_sample": True},
        effect="One softmax over the vocabulary per step.",
    )
    """Least probability, relative to the likeliest token, that sampling keeps."""

    top_h: float | None = binds(
        gt=0,
        le=1,
        sample=0.4,
        needs=equals("do_sample", value=True),
        context={"do_sample": True},
        effect="One partial sort of the vocabulary per step.",
    )
    """Share of the distribution's entropy that sampling keeps."""

    typical_p: float | None = binds(
        gt=0,
        le=1,
        sample=0.9,
        needs=equals("do_sample", value=True),
        context={"do_sample": True},
        effect="One sort of the vocabulary per step.",
    )
    """Probability mass of the tokens closest to the expected information content."""

    epsilon_cutoff: float | None = binds(
        ge=0,
        lt=1,
        sample=3e-4,
        needs=equals("do_sample", value=True),
        context={"do_sample": True},
        effect="One softmax over the vocabulary per step.",
    )
    """Least absolute probability that sampling keeps."""

    eta_cutoff: float | None = binds(
        ge=0,
        lt=1,
        sample=6e-4,
        needs=equals("do_sample", value=True),
        context={"do_sample": True},
        effect="One softmax over the vocabulary and its entropy per step.",
    )
    """Entropy-dependent least probability that sampling keeps."""

    repetition_penalty: float | None = binds(
        gt=0, sample=1.3, effect="One gather and scatter over the sequence per step."
    )
    """Divisor of the scores of tokens that already occur; 1 changes nothing."""

    encoder_repetition_penalty: float | None = binds(
        gt=0, sample=1.3, effect="One gather and scatter over the prompt per step."
    )
    """Penalty on tokens that do not occur in the prompt; 1 changes nothing."""

    encoder_no_repeat_ngram_size: int | None = binds(
        ge=0, sample=2, effect="Searches the prompt on the CPU in every step."
    )
    """Length of the prompt's n-grams that may not occur in the output; 0 allows them."""

    no_repeat_ngram_size: int | None = binds(
        ge=0, sample=3, effect="Searches the whole sequence on the CPU in every step: slow on long outputs."
    )
    """Length of the n-grams that may occur only once; 0 allows repeats."""

    bad_words_ids: Annotated[list[list[int]] | None, TOKENS] = binds(
        sample=[[9, 8]], effect="A few operations on the scores per step, and one comparison for each sequence."
    )
    """Token sequences that must not be generated."""

    renormalize_logits: bool | None = binds(effect="One log-softmax over the vocabulary per step.")
    """Whether scores are normalised again after all processors."""

    remove_invalid_values: bool | None = binds(effect="One more pass over the scores per step.")
    """Whether nan and inf scores are replaced."""

    forced_bos_token_id: Annotated[int | None, TOKENS] = binds(
        ge=0, sample=7, effect="None beyond a comparison per step."
    )
    """Token that is forced behind a prompt of a single token; longer prompts do not have it."""

    forced_eos_token_id: Annotated[int | list[int] | None, TOKENS] = binds(
        sample=7, effect="None beyond a comparison per step."
    )
    """Token that is forced when the length limit is reached."""

    exponential_decay_length_penalty: tuple[int, float] | None = binds(
        sample=(4, 1.5), effect="Pushes towards the end token: fewer tokens."
    )
    """Start index and growth factor of a pull towards the end token."""

    suppress_tokens: Annotated[list[int] | None, TOKENS] = binds(
        sample=[9], effect="One mask over the scores per step."
    )
    """Tokens that are never generated."""

    begin_suppress_tokens: Annotated[list[int] | None, TOKENS] = binds(
        sample=[9], effect="None beyond a comparison per step."
    )
    """Tokens that are not generated first."""

    sequence_bias: Annotated[list[tuple[list[int], float]] | None, TOKENS] = binds(
        sample=[([9], -2.0)], effect="A few operations on the scores per step, and one comparison for each sequence."
    )
    """Token sequences and the bias that is added to their scores."""

    guidance_scale: float | None = binds(
        gt=0, sample=1.5, effect="Above 1 every step runs the model twice: about double the energy per token."
    )
    """Strength of classifier-free guidance; 1 switches it off."""

    watermarking_config: Annotated[Watermark | SynthIDWatermark, Field(discriminator="kind")] | None = binds(
        needs=equals("do_sample", value=True),
        context={"do_sample": True},
        effect="A few more operations on the scores per step.",
    )
    """Watermark in the sampled tokens."""
