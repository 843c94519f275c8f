"""Fields of a request that decide what is told of it, and when it is served; the tokens themselves stay the same."""

from typing import Annotated

from llenergymeasure.config.bindings import PartsOfModel, Section, binds, equals, is_set
from llenergymeasure.config.vllm.entry_points import GENERATE, SAMPLING_PARAMS
from llenergymeasure.config.vllm.memory import NOT_CACHED

TOKENS = PartsOfModel("tokens")
NO_TEXT = equals("detokenize", value=False)


class Answers(Section):
    entry_point = SAMPLING_PARAMS

    logprobs: int | None = binds(
        ge=-1,
        sample=2,
        effect="One log-softmax over the vocabulary per step, its transfer, and objects on the CPU for each token.",
    )
    """Likeliest tokens per step whose log-probabilities are returned, up to max_logprobs; -1 is the vocabulary."""

    logprob_token_ids: Annotated[list[int] | None, TOKENS] = binds(
        min_length=1,
        max_length=128,
        sample=[5, 6],
        effect="As logprobs, with less to sort and to transfer.",
    )
    """Tokens whose log-probabilities are returned at every step; with it, logprobs must be their number."""

    prompt_logprobs: int | None = binds(
        ge=-1,
        sample=2,
        effect="Logits of every prompt token instead of the last, and the prefix cache is not read.",
    )
    """Likeliest tokens at each place of the prompt whose log-probabilities are returned, up to max_logprobs."""

    prompt_logprob_token_ids: list[list[int]] | None = binds(
        min_length=1,
        sample=[[5, 6], [5, 6]],
        effect="As prompt_logprobs, with less to sort and to transfer.",
    )
    """Token ids to score at each place of the prompt but the last, a list for each; prompts must be of one length."""

    prompt_logprob_start: int | None = binds(
        ge=0,
        sample=1,
        needs=is_set("prompt_logprob_token_ids"),
        context={"prompt_logprob_token_ids": [[5, 6]]},
        effect="Fewer places are scored.",
    )
    """Place of the prompt, counted from 0, at which prompt_logprob_token_ids begins."""

    flat_logprobs: bool | None = binds(
        needs=(is_set("logprobs"), is_set("prompt_logprobs"), is_set("logprob_token_ids")),
        context={"logprobs": 2},
        effect="Fewer objects on the CPU per token, and less work to clear them away.",
    )
    """Whether log-probabilities are returned as flat lists instead of a mapping for each token."""

    detokenize: bool | None = binds(
        sample=False, effect="Without text the CPU has less to do per token; token counts stay."
    )
    """Whether output tokens are made into text."""

    skip_special_tokens: bool | None = binds(
        sample=False, excludes=NO_TEXT, effect="None on cost: text only, in which stop is looked for."
    )
    """Whether special tokens are left out of the text."""

    spaces_between_special_tokens: bool | None = binds(
        sample=False,
        needs=equals("skip_special_tokens", value=False),
        excludes=NO_TEXT,
        context={"skip_special_tokens": False},
        effect="None on cost: text only.",
    )
    """Whether special tokens that follow each other are parted by spaces in the text."""

    include_stop_str_in_output: bool | None = binds(excludes=NO_TEXT, effect="None on cost: text only.")
    """Whether the text keeps what ended it: the stop text, or the stop token's."""

    skip_reading_prefix_cache: bool | None = binds(
        sample=True,
        # Log-probabilities of a prompt are never read from the cache: made to, vLLM 0.32 breaks off over their lack.
        excludes=(NOT_CACHED, is_set("prompt_logprobs"), is_set("prompt_logprob_token_ids")),
        effect="Each prompt is computed whole, and is still there for others that read it.",
    )
    """Whether requests leave unused what the prefix cache has of their prompt."""

    priority: list[int] | None = binds(
        GENERATE,
        min_length=1,
        sample=[4, 3, 2, 1, 0],
        needs=equals("scheduling_policy", "priority"),
        context={"scheduling_policy": "priority"},
        effect="Decides which requests wait; it acts only where not all of them run at once.",
    )
    """Rank of each prompt, in the prompts' order and as many as there are prompts; lower ones are served first."""
