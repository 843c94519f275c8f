"""What a request is told of its tokens, what text is made of them, and when the request is served."""

import json
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.session import encoded_prompts

from .conftest import Engines
from .fixtures_requests import BOS, EOS, GREEDY, MAX_TOKENS, PROMPTS, Answered, Ask, asking, letters
from .fixtures_running import require_cuda

ONE = ((5, 6, 7),)
ENDS = {**GREEDY, "logit_bias": {EOS: 100.0}, "ignore_eos": True}


@pytest.fixture
def ask(engines: Engines) -> Ask:
    return asking(engines)


def told(answered: Answered) -> list[Any]:
    """Log-probabilities of each answer's tokens, by token id."""
    return [request.outputs[0].logprobs for request in answered.returned]


@pytest.mark.field("logprobs", "observed")
@pytest.mark.parametrize("count", [0, 3])
def test_the_likeliest_tokens_are_told_with_the_taken_one(ask: Ask, count: int) -> None:
    answered = ask({**GREEDY, "logprobs": count})
    assert [[len(entry) for entry in answer] for answer in told(answered)] == [[max(count, 1)] * MAX_TOKENS] * 3
    assert told(ask(GREEDY)) == [None] * len(PROMPTS)


@pytest.mark.field("logprob_token_ids", "observed")
def test_named_tokens_are_told_with_the_taken_one(ask: Ask) -> None:
    answered = ask({**GREEDY, "logprobs": 2, "logprob_token_ids": [5, 6]})
    for taken, answer in zip(answered.ids, told(answered), strict=True):
        assert [set(entry) for entry in answer] == [{token, 5, 6} for token in taken]


@pytest.mark.field("prompt_logprobs", "observed")
def test_the_likeliest_tokens_of_the_prompt_are_told(ask: Ask) -> None:
    """Of every token but the first, which nothing stands before."""
    answered = ask({**GREEDY, "prompt_logprobs": 2})
    for prompt, request in zip(PROMPTS, answered.returned, strict=True):
        first, *others = request.prompt_logprobs
        assert first is None
        assert [token in entry for token, entry in zip(prompt[1:], others, strict=True)] == [True] * len(others)
        assert {len(entry) for entry in others} <= {2, 3}
    assert [request.prompt_logprobs for request in ask(GREEDY).returned] == [None] * len(PROMPTS)


@pytest.mark.field("prompt_logprob_token_ids", "observed")
@pytest.mark.parametrize(
    ("section", "rows"),
    [
        ({}, 2),
        pytest.param({"prompt_logprob_start": 1}, 1, marks=pytest.mark.field("prompt_logprob_start", "observed")),
    ],
)
def test_named_tokens_of_the_prompt_are_told(ask: Ask, section: dict[str, int], rows: int) -> None:
    require_cuda("vLLM scores named tokens of a prompt in its V2 runner alone")
    scored = ask({**GREEDY, "prompt_logprob_token_ids": [[8, 9, 10]] * rows, **section}, prompts=ONE)
    assert scored.returned[0].prompt_token_id_logprobs.shape == (rows, 3)


@pytest.mark.field("flat_logprobs", "observed")
def test_log_probabilities_come_as_flat_lists(ask: Ask) -> None:
    from vllm.logprobs import FlatLogprobs

    flat, mapped = (told(ask({**GREEDY, "logprobs": 2, "flat_logprobs": flat})) for flat in (True, False))
    assert all(isinstance(answer, FlatLogprobs) for answer in flat)
    assert not any(isinstance(answer, FlatLogprobs) for answer in mapped)
    assert [[set(entry) for entry in answer] for answer in flat] == [[set(entry) for entry in item] for item in mapped]


@pytest.mark.field("detokenize", "observed")
def test_no_text_is_made_of_the_tokens(ask: Ask) -> None:
    silent = ask({**GREEDY, "detokenize": False})
    assert silent.texts == [""] * len(PROMPTS)
    written = ask(GREEDY)
    assert all(written.texts)
    assert silent.ids == written.ids


@pytest.mark.field("skip_special_tokens", "observed")
def test_special_tokens_stand_in_the_text(ask: Ask) -> None:
    assert ask({**ENDS, "skip_special_tokens": False}, prompts=ONE).texts == ["</s>" * MAX_TOKENS]
    assert ask(ENDS, prompts=ONE).texts == [""]


@pytest.mark.field("include_stop_str_in_output", "observed")
def test_what_ended_the_text_stays_in_it(ask: Ask) -> None:
    (token,) = letters(ask, "a")
    section = {**GREEDY, "allowed_token_ids": [token], "stop": ["aaa"]}
    kept, cut = ask({**section, "include_stop_str_in_output": True}, prompts=ONE), ask(section, prompts=ONE)
    assert (kept.texts, cut.texts) == (["aaa"], [""])
    assert kept.counts == cut.counts == [3]


@pytest.mark.field("skip_reading_prefix_cache", "observed")
@pytest.mark.parametrize(("section", "read"), [({}, True), ({"skip_reading_prefix_cache": True}, False)])
def test_prompt_is_computed_although_it_is_cached(ask: Ask, section: dict[str, bool], read: bool) -> None:
    first = ask({**GREEDY, **section}, prompts=[range(5, 305)])
    again = first.backend.generate(first.backend.prepare(first.output.prompts)[0]).returned
    assert first.returned[0].num_cached_tokens == 0
    assert (again[0].num_cached_tokens > 0) is read


@pytest.mark.field("priority", "observed")
def test_lower_rank_is_served_first(ask: Ask) -> None:
    section = {"max_num_seqs": 1, "scheduling_policy": "priority"}

    def order(ranks: list[int]) -> list[int]:
        steps = ask({**section, "priority": ranks}, output={"max_tokens": 2}).output.steps
        return sorted(range(3), key=lambda place: steps[place][0])

    assert order([2, 1, 0]) == [2, 1, 0]
    assert order([0, 2, 1]) == [0, 2, 1]


@pytest.fixture(scope="module")
def parting(stand: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that puts a space between all tokens, and knows how a conversation is written."""
    folder = tmp_path_factory.mktemp("parting")
    for file in (stand / "model").glob("*token*.json"):
        (folder / file.name).write_text(file.read_text())
    change(folder / "tokenizer.json", decoder=None)
    change(folder / "tokenizer_config.json", chat_template="<s>{{ messages[0]['content'] }}</s>")
    return folder


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.field("spaces_between_special_tokens", "observed")
@pytest.mark.field("tokenizer", "observed")
def test_special_tokens_do_without_the_tokenizer_s_spaces(ask: Ask, parting: Path) -> None:
    def text(**section: bool) -> str:
        written = {**ENDS, "skip_special_tokens": False, **section}
        return ask(written, prompts=ONE, output={"max_tokens": 3}, tokenizer=str(parting)).texts[0].strip()

    assert text() == "</s> </s> </s>"
    assert text(spaces_between_special_tokens=False) == "</s></s></s>"


def test_prompt_becomes_a_conversation(ask: Ask, parting: Path) -> None:
    backend = ask(ENDS, prompts=ONE, tokenizer=str(parting)).backend

    def encoded(*, chat: bool) -> list[list[int]]:
        prompts = {"inline": ["one", "and two"], "chat_template": chat}
        config = ExperimentConfig.model_validate({"model": "model", "prompts": prompts, "vllm": {}})
        return encoded_prompts(config, backend)

    assert encoded(chat=True) == [[BOS, *ids, EOS] for ids in encoded(chat=False)]
