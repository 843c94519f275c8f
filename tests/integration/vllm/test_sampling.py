"""What decides which token comes next, how many sequences a prompt gets, and when one ends."""

from typing import Any

import pytest

from .conftest import Engines
from .fixtures_requests import EOS, GREEDY, MAX_TOKENS, PROMPTS, Ask, asking, letters
from .fixtures_running import require_cuda

# One prompt where a single answer says it all.
ONE = ((5, 6, 7),)


@pytest.fixture
def ask(engines: Engines) -> Ask:
    return asking(engines)


def only(*tokens: int) -> dict[str, Any]:
    """Greedy answers that consist of these tokens alone, and so end by nothing but what the test sets."""
    return {**GREEDY, "allowed_token_ids": list(tokens)}


@pytest.mark.field("temperature", "observed")
def test_temperature_zero_leaves_nothing_to_chance(ask: Ask) -> None:
    assert ask(GREEDY, replica=0).ids == ask(GREEDY, replica=1).ids
    assert ask({"temperature": 1.5}, replica=0).ids != ask({"temperature": 1.5}, replica=1).ids


def narrowest(name: str, value: float) -> Any:
    return pytest.param(name, value, id=name, marks=pytest.mark.field(name, "observed"))


@pytest.mark.parametrize(("name", "value"), [narrowest("top_k", 1), narrowest("top_p", 1e-6), narrowest("min_p", 1.0)])
def test_the_narrowest_value_leaves_only_the_likeliest_token(ask: Ask, name: str, value: float) -> None:
    greedy = ask(GREEDY).ids
    assert ask({name: value}).ids == greedy
    assert ask({}).ids != greedy


@pytest.mark.field("n", "observed")
def test_every_prompt_gets_n_sequences(ask: Ask) -> None:
    for groups in (ask({"n": 3}).output.sequences, ask({"n": 3, "seed": 7}).output.sequences):
        assert [len(group) for group in groups] == [3] * len(PROMPTS)
        assert all(len(set(group)) == 3 for group in groups)
    assert [len(group) for group in ask().output.sequences] == [1] * len(PROMPTS)


@pytest.mark.field("seed", "observed")
def test_a_request_s_own_seed_depends_on_no_other(ask: Ask) -> None:
    seeded = ask({"seed": 7}).ids
    assert ask({"seed": 7}, replica=1).ids == seeded
    assert [ask({"seed": 7}, prompts=[prompt]).ids[0] for prompt in PROMPTS] == seeded
    assert ask({"seed": 8}).ids != seeded


@pytest.mark.field("presence_penalty", "observed")
def test_presence_is_punished_once(ask: Ask) -> None:
    """Each of eight tokens comes before one comes again, and then nothing parts them any more."""
    tokens = letters(ask)
    assert len(set(ask(only(*tokens), prompts=ONE).ids[0][:8])) < 8
    (answer,) = ask({**only(*tokens), "presence_penalty": 2}, prompts=ONE).ids
    assert sorted(answer[:8]) == sorted(tokens)
    assert sorted(answer[8:]) != sorted(tokens)


@pytest.mark.field("frequency_penalty", "observed")
def test_frequency_is_punished_each_time(ask: Ask) -> None:
    """Of eight tokens each comes twice in sixteen."""
    tokens = letters(ask)
    (answer,) = ask({**only(*tokens), "frequency_penalty": 2}, prompts=ONE).ids
    assert sorted(answer[:8]) == sorted(answer[8:]) == sorted(tokens)


@pytest.mark.field("repetition_penalty", "observed")
def test_no_token_of_prompt_or_output_occurs_again(ask: Ask) -> None:
    def repeats(section: dict[str, Any]) -> int:
        return sum(
            len(answer) - len(set(answer) - set(prompt))
            for prompt, answer in zip(PROMPTS, ask({**GREEDY, **section}).ids, strict=True)
        )

    assert repeats({}) > 0
    assert repeats({"repetition_penalty": 1e6}) == 0


@pytest.mark.field("logit_bias", "observed")
def test_biased_token_is_always_taken(ask: Ask) -> None:
    assert ask({**GREEDY, "logit_bias": {9: 100.0}}).ids == [(9,) * MAX_TOKENS] * len(PROMPTS)
    assert all(set(answer) != {9} for answer in ask(GREEDY).ids)


@pytest.mark.field("allowed_token_ids", "observed")
def test_no_token_but_the_allowed_ones_occurs(ask: Ask) -> None:
    def taken(section: dict[str, Any]) -> set[int]:
        return {token for answer in ask(section).ids for token in answer}

    assert taken({"allowed_token_ids": [7, 8]}) == {7, 8}
    assert len(taken({})) > 2


@pytest.mark.field("bad_words", "observed")
def test_bad_word_is_not_written(ask: Ask) -> None:
    tokens = letters(ask)
    without = ask(only(*tokens), prompts=ONE)
    word = without.texts[0][0]
    assert word not in ask({**only(*tokens), "bad_words": [word]}, prompts=ONE).texts[0]


@pytest.mark.field("stop", "observed")
def test_text_ends_a_sequence(ask: Ask) -> None:
    (token,) = letters(ask, "a")
    stopped = ask({**only(token), "stop": ["aaa"]})
    assert (stopped.counts, set(stopped.output.finished)) == ([3] * len(PROMPTS), {"stop"})
    without = ask(only(token))
    assert (without.counts, set(without.output.finished)) == ([MAX_TOKENS] * len(PROMPTS), {"length"})


@pytest.mark.field("stop_token_ids", "observed")
def test_token_ends_a_sequence(ask: Ask) -> None:
    stopped = ask({**only(7), "stop_token_ids": [7]})
    assert (stopped.counts, set(stopped.output.finished)) == ([1] * len(PROMPTS), {"stop"})


@pytest.mark.field("ignore_eos", "observed")
def test_end_token_does_not_end(ask: Ask) -> None:
    ends = {**GREEDY, "logit_bias": {EOS: 100.0}}
    ended = ask(ends)
    assert (ended.ids, set(ended.output.finished)) == ([(EOS,)] * len(PROMPTS), {"stop"})
    ignored = ask({**ends, "ignore_eos": True})
    assert (ignored.ids, set(ignored.output.finished)) == ([(EOS,) * MAX_TOKENS] * len(PROMPTS), {"length"})


@pytest.mark.field("output.max_tokens", "observed")
@pytest.mark.parametrize("tokens", [1, 7])
def test_no_more_tokens_than_the_limit(ask: Ask, tokens: int) -> None:
    answered = ask({"ignore_eos": True}, output={"max_tokens": tokens})
    assert (answered.counts, set(answered.output.finished)) == ([tokens] * len(PROMPTS), {"length"})


@pytest.mark.field("output.min_tokens", "observed")
def test_no_end_token_before_the_minimum(ask: Ask) -> None:
    ends = {**GREEDY, "logit_bias": {EOS: 100.0}}
    answered = ask(ends, output={"max_tokens": MAX_TOKENS, "min_tokens": 5})
    assert [answer.index(EOS) for answer in answered.ids] == [5] * len(PROMPTS)
    assert answered.counts == [6] * len(PROMPTS)
    assert ask(ends).counts == [1] * len(PROMPTS)


def repetition(count: int, **section: int) -> Any:
    fields = ["repetition_detection", *(f"repetition_detection.{name}" for name in section)]
    marks = [pytest.mark.field(name, "observed") for name in fields]
    return pytest.param(section, count, id="-".join(f"{name}{value}" for name, value in section.items()), marks=marks)


@pytest.mark.parametrize(
    ("detection", "count"),
    [
        repetition(2, max_pattern_size=4, min_count=2),
        repetition(3, max_pattern_size=4, min_count=3),
        repetition(6, max_pattern_size=4, min_count=2, min_pattern_size=3),
    ],
)
def test_a_token_that_only_repeats_itself_is_ended(ask: Ask, detection: dict[str, int], count: int) -> None:
    ended = ask({**only(7), "repetition_detection": detection}, prompts=ONE)
    assert (ended.counts, ended.output.finished) == ([count], ("stop",))
    assert ended.returned[0].outputs[0].finish_reason == "repetition"
    assert ask(only(7), prompts=ONE).counts == [MAX_TOKENS]


@pytest.mark.field("repetition_detection.max_pattern_size", "observed")
@pytest.mark.parametrize(("size", "count"), [(1, MAX_TOKENS), (2, 4)])
def test_only_patterns_up_to_the_size_are_seen(ask: Ask, size: int, count: int) -> None:
    one, other = letters(ask, "ab")
    alternating = {**only(one, other), "bad_words": ["aa", "bb"]}
    detection = {"max_pattern_size": size, "min_count": 2}
    assert ask({**alternating, "repetition_detection": detection}, prompts=ONE).counts == [count]


@pytest.mark.field("trace_decode_token_ids", "observed")
def test_answers_are_replayed(ask: Ask) -> None:
    require_cuda("vLLM replays tokens in its V2 runner alone")
    replayed = ask({"enable_trace_replay": True, "trace_decode_token_ids": [7, 6, 5]}, output={"max_tokens": 3})
    assert replayed.ids == [(7, 6, 5)] * len(PROMPTS)


@pytest.mark.field("watermarking", "observed")
def test_watermark_is_left_out(ask: Ask) -> None:
    require_cuda("vLLM writes watermarks in its V2 runner alone")
    marking = {"watermark_config": {"key": 7}, "seed": 7}
    unmarked = ask({**marking, "watermarking": False}).ids
    assert ask(marking).ids != unmarked
    assert ask({"seed": 7}).ids == unmarked


@pytest.mark.field(".seed", "observed")
def test_seed_of_the_experiment_decides_what_is_sampled(ask: Ask) -> None:
    """The n-th replica of a run starts from the n-th number behind the seed, so that none repeats another."""
    zero, third = ask().ids, ask(replica=3).ids
    assert ask().ids == zero != third
    assert ask(seed=3).ids == third


@pytest.mark.field("extra_args", "observed")
@pytest.mark.field("logits_processors", "observed")
def test_a_processor_of_one_s_own_reads_what_the_request_says(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    # The V2 runner takes processors of another make; the field and the way to them are the same.
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "0")
    section = {"logits_processors": [f"{__package__}.preferring:Preferring"], **GREEDY}
    assert ask({**section, "extra_args": {"preferred": 9}}).ids == [(9,) * MAX_TOKENS] * len(PROMPTS)
    assert all(set(answer) != {9} for answer in ask(section).ids)
