"""What an engine's answers count: exact tokens, why they ended, and when they came."""

import itertools
from typing import Any

import pytest

from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.batching import BatchOutput
from llenergymeasure.core.gathering import latencies
from llenergymeasure.core.inference_backends.base import Share
from llenergymeasure.core.inference_backends.vllm_counting import cached_tokens
from llenergymeasure.core.session import Session

from .conftest import Engines
from .fixtures_requests import ENGINE, EOS, GREEDY, MAX_TOKENS, Answered, Ask, Loaded, asking

# Of many lengths: none may be counted as another's, and what fills up the batch not at all.
MIXED = tuple(tuple(range(3, 3 + length)) for length in (1, 40, 7, 200, 16))
SOME = {"max_tokens": 12}
# One token in eight ends an answer, so that answers differ in length.
ENDING = {"stop_token_ids": list(range(3, 320, 8))}
# Drawn by each request for itself. All have the same numbers: what they make of them must differ by their prompts.
OWN = {"seed": 5, "temperature": 0.1}


@pytest.fixture
def ask(engines: Engines) -> Ask:
    return asking(engines)


@pytest.mark.parametrize(
    "section",
    [
        pytest.param(GREEDY, id="greedy"),
        pytest.param({**OWN, **ENDING}, id="stop tokens"),
        pytest.param({**OWN, **ENDING, "n": 3}, id="several sequences"),
        pytest.param({**OWN, "stop": list("aeiou")}, id="stop strings"),
        pytest.param({**OWN, "logit_bias": {EOS: 0.5}}, id="end token"),
        pytest.param({"beam_search": {"beam_width": 2}}, id="beams"),
    ],
)
def test_prompts_count_together_what_they_count_alone(ask: Ask, section: dict[str, Any]) -> None:
    together = ask(section, prompts=MIXED, output=SOME).output
    alone = [ask(section, prompts=[prompt], output=SOME).output for prompt in MIXED]
    assert [len(prompt.ids) for prompt in together.prompts] == [len(prompt) for prompt in MIXED]
    assert list(together.sequences) == [output.sequences[0] for output in alone]
    assert list(together.finished) == [output.finished[0] for output in alone]
    if "seed" in section:
        assert len({len(ids) for group in together.sequences for ids in group}) > 1


@pytest.mark.parametrize("section", [ENDING, {**ENDING, "n": 3}])
def test_only_the_longest_sequence_may_have_met_the_limit(ask: Ask, section: dict[str, Any]) -> None:
    output = ask(section, prompts=MIXED).output
    for group, reason in zip(output.sequences, output.finished, strict=True):
        longest = max(group, key=len)
        assert reason == ("length" if len(longest) == MAX_TOKENS and longest[-1] % 8 != 3 else "stop")
        assert all(ids[-1] % 8 == 3 for ids in group if len(ids) < MAX_TOKENS)
    assert len({len(ids) for group in output.sequences for ids in group}) > 1


def call_ms(output: BatchOutput) -> float:
    return (output.end_s - output.start_s) * 1000


def test_tokens_come_within_the_call_by_its_own_clock(ask: Ask) -> None:
    output = ask(ENDING, prompts=MIXED).output
    for request, group in zip(latencies(output), output.sequences, strict=True):
        assert request.time_to_first_token_ms is not None
        assert 0 < request.time_to_first_token_ms <= request.request_latency_ms <= call_ms(output)
        assert (request.inter_token_latency_ms is None) is (max(map(len, group)) == 1)


def test_more_tokens_take_longer(ask: Ask) -> None:
    """All requests run in the same steps: one with more tokens ends in a later one."""
    output = ask({**ENDING, "max_num_seqs": 8}, prompts=MIXED).output
    ended = sorted(
        (len(group[0]), request.request_latency_ms)
        for group, request in zip(output.sequences, latencies(output), strict=True)
    )
    assert len({count for count, _ in ended}) > 2
    assert [latency for _, latency in ended] == sorted(latency for _, latency in ended)


def test_a_queued_request_waits_for_its_first_token(ask: Ask) -> None:
    answered: Answered = ask({**GREEDY, "max_num_seqs": 1}, prompts=MIXED)
    steps = answered.output.steps
    for before, after in itertools.pairwise(steps):
        assert before[-1][0] < after[0][0]


def test_of_several_sequences_the_last_ones_times_do_not_pass_for_the_requests(ask: Ask) -> None:
    """One after the other: the first token of all comes long before the second sequence starts, and is not told."""
    # Each sequence draws from a seed of its own: those of some prompts differ in length.
    answered: Answered = ask({**OWN, **ENDING, "n": 2, "max_num_seqs": 1}, prompts=MIXED)
    output = answered.output
    assert output.last_only == tuple(len(group[1]) for group in output.sequences)
    assert any(len(group[0]) > len(group[1]) for group in output.sequences)
    for request, group, steps in zip(latencies(output), output.sequences, output.steps, strict=True):
        assert request.time_to_first_token_ms is None
        assert 0 < request.request_latency_ms <= call_ms(output)
        own_ms = (steps[-1][0] - steps[0][0]) * 1000
        assert (request.inter_token_latency_ms or 0) * (len(group[1]) - 1) == pytest.approx(own_ms)


def test_every_pass_starts_from_the_seed_and_from_an_empty_cache(ask: Ask, engines: Engines) -> None:
    """The engine finds nothing of an earlier pass, however alike the passes are."""
    ask()
    workload = {"synthetic": {"count": 2, "input_tokens": 300}}
    output = {"max_tokens": 4}
    config = ExperimentConfig.model_validate({"model": "model", "prompts": workload, "output": output, "vllm": ENGINE})
    session = Session(config, Share(), Loaded(engines._open.llm))
    session.open()
    session.warm_up()
    assert session.run(lambda: False, lambda _: None)
    assert session.run(lambda: False, lambda _: None)
    assert [cached_tokens(answer.returned) for answer in session.answers] == [0, 0]
    again = session.backend.generate(session.batches[0])
    assert cached_tokens(again.returned) > 0
    first, second = session.take()
    assert first.sequences == second.sequences
