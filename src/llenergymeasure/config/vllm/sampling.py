"""Fields that decide which token comes next, how many sequences a prompt gets, and when one ends."""

from typing import Annotated, Any

from pydantic import field_validator

from llenergymeasure.config.bindings import PartsOfModel, Section, above, binds, equals, is_set
from llenergymeasure.config.vllm.entry_points import SAMPLING_PARAMS

REPETITION_DETECTION = "vllm.sampling_params.RepetitionDetectionParams"
TOKENS = PartsOfModel("tokens")
GREEDY = equals("temperature", 0)
LOWEST_TEMPERATURE = 0.01


class RepetitionDetection(Section):
    """When a sequence that only repeats itself is ended."""

    entry_point = REPETITION_DETECTION

    max_pattern_size: int | None = binds(
        ge=1,
        sample=4,
        needs=is_set("min_count"),
        context={"min_count": 2},
        effect="Ends useless sequences early: fewer tokens; every step compares the last tokens of each sequence.",
    )
    """Tokens of the longest pattern that is looked for."""

    min_count: int | None = binds(
        ge=2,
        sample=3,
        needs=is_set("max_pattern_size"),
        context={"max_pattern_size": 4},
        effect="Fewer repeats end a sequence sooner, and sometimes one that would have gone on.",
    )
    """Times that a pattern must stand at the end, one after the other, to end the sequence."""

    min_pattern_size: int | None = binds(
        ge=1,
        sample=2,
        needs=is_set("max_pattern_size"),
        context={"max_pattern_size": 4, "min_count": 2},
        effect="Longer patterns only: a repeated single token ends a sequence later.",
    )
    """Tokens of the shortest pattern that is looked for."""


class Sampling(Section):
    entry_point = SAMPLING_PARAMS

    temperature: float | None = binds(
        ge=0, sample=0.7, effect="0 is greedy: the cheapest step, and reproducible; other values sample."
    )
    """Divisor of the logits before sampling, at most 2 since 0.26; 0 takes the likeliest token."""

    top_p: float | None = binds(
        gt=0, le=1, sample=0.8, excludes=GREEDY, effect="One sort or search of the vocabulary per step."
    )
    """Probability mass of the likeliest tokens that sampling keeps."""

    top_k: int | None = binds(
        ge=-1, sample=7, excludes=GREEDY, effect="One partial sort or search of the vocabulary per step."
    )
    """Number of likeliest tokens that sampling keeps; 0 and -1 keep all."""

    min_p: float | None = binds(
        ge=0,
        le=1,
        sample=0.05,
        excludes=GREEDY,
        effect="One softmax over the vocabulary per step; speculative decoding refuses it.",
    )
    """Least probability, relative to the likeliest token, that sampling keeps."""

    n: int | None = binds(
        ge=1,
        sample=2,
        excludes=GREEDY,
        effect="Decoding grows in proportion; the prompt is computed once where the prefix cache holds it.",
    )
    """Sequences sampled per prompt, all of which are returned."""

    seed: int | None = binds(
        ge=0,
        lt=2**63,
        sample=7,
        excludes=GREEDY,
        effect="It decides which tokens are sampled; the engine's V1 runner draws them for each sequence by itself.",
    )
    """Seed of every request's own random numbers, which then do not depend on the batch or on the experiment's seed.

    Without it passes may sample different answers: requests join the engine's steps as they arrive.
    """

    presence_penalty: float | None = binds(
        ge=-2, le=2, sample=1.5, effect="A count of each sequence's tokens over the vocabulary per step."
    )
    """What is subtracted from the scores of tokens that the output already has; below 0 it favours them."""

    frequency_penalty: float | None = binds(
        ge=-2, le=2, sample=1.5, effect="A count of each sequence's tokens over the vocabulary per step."
    )
    """What is subtracted from a token's score each time that the output has it; below 0 it favours them."""

    repetition_penalty: float | None = binds(
        gt=0, sample=1.3, effect="A count of each sequence's tokens, its prompt's too, over the vocabulary per step."
    )
    """Divisor of the scores of tokens that prompt or output already have; 1 changes nothing."""

    logit_bias: Annotated[dict[int, float] | None, TOKENS] = binds(
        min_length=1,
        sample={9: -2.0},
        effect="One addition to the scores per step; speculative decoding refuses it.",
    )
    """Number that is added to the score of each of these token ids."""

    allowed_token_ids: Annotated[list[int] | None, TOKENS] = binds(
        min_length=1, sample=[7, 8], effect="One mask over the scores per step; other answers, and other ends."
    )
    """Token ids of which alone the output is made; the end token is not among them unless it is named."""

    bad_words: list[str] | None = binds(
        min_length=1, sample=["the"], effect="One comparison per step for each sequence and word."
    )
    """Words that are not generated: the token that would complete one is not taken."""

    stop: str | list[str] | None = binds(
        min_length=1,
        sample=["<stop>"],
        excludes=equals("detokenize", value=False),
        effect="Each step searches the new text on the CPU; a stop cuts the tokens generated.",
    )
    """Text that ends a sequence when the model writes it."""

    stop_token_ids: Annotated[list[int] | None, TOKENS] = binds(
        min_length=1, sample=[7], effect="A further end token cuts the tokens generated; the check itself is nothing."
    )
    """Tokens that end a sequence, beside the model's own end token."""

    ignore_eos: bool | None = binds(
        effect="Every sequence runs to output.max_tokens: the work of every run is equal, and longer."
    )
    """Whether generation goes on after the model's end token."""

    repetition_detection: RepetitionDetection | None = binds(
        sample={"max_pattern_size": 4, "min_count": 2},
        effect="Ends sequences that repeat themselves: fewer tokens.",
    )
    """Early end of sequences that only repeat themselves."""

    thinking_token_budget: int | None = binds(
        ge=0,
        effect="Ends the thinking part early: fewer tokens of it; each step looks where every sequence is.",
    )
    """Most tokens that a reasoning model may think; vLLM must know where thinking begins and ends."""

    trace_decode_token_ids: Annotated[list[int] | None, TOKENS] = binds(
        min_length=1,
        sample=[5, 6, 7],
        needs=equals("enable_trace_replay", value=True),
        excludes=(
            above("n", 1),
            is_set("stop"),
            is_set("stop_token_ids"),
            is_set("ignore_eos"),
            is_set("bad_words"),
            is_set("repetition_detection"),
            is_set("thinking_token_budget"),
            is_set("structured_outputs"),
            is_set("prompt_logprobs"),
            is_set("prompt_logprob_token_ids"),
        ),
        context={"enable_trace_replay": True},
        effect="Fixes tokens and length of every answer: the work of every run is the same.",
    )
    """Token ids that every answer consists of, whatever the model would choose; output.max_tokens may cut them."""

    watermarking: bool | None = binds(
        needs=is_set("watermark_config"),
        excludes=GREEDY,
        sample=False,
        context={"watermark_config": {"key": 7}},
        effect="Without the mark its hashes are saved in every step.",
    )
    """Whether these requests carry the engine's watermark."""

    extra_args: dict[str, Any] | None = binds(
        min_length=1,
        sample={"diffusion_max_steps": 4},
        effect="None of vLLM's own sampling; a model that reads one, such as diffusion_max_steps, may do less work.",
    )
    """Options of single models and plugins, such as diffusion_max_steps; vLLM refuses no unknown ones."""

    @field_validator("temperature")
    @classmethod
    def _not_raised_in_silence(cls, value: float | None) -> float | None:
        if value is not None and 0 < value < LOWEST_TEMPERATURE:
            raise ValueError(f"vLLM raises it to {LOWEST_TEMPERATURE}: give 0 for greedy, or {LOWEST_TEMPERATURE}")
        return value
