"""Beam search: how many beams there are, which of them win, and how they are written."""

from collections.abc import Sequence
from typing import Any

import pytest

from .conftest import Engines
from .fixtures_requests import EOS, PROMPTS, Answered, Ask, asking, backend_on
from .fixtures_running import generate, require_cuda, steps_of

ONE = ((5, 6, 7),)
# Every token of the vocabulary is a candidate in every step, the end token among them.
ALL = {"max_logprobs": -1}
WIDEST = 160


@pytest.fixture
def ask(engines: Engines) -> Ask:
    return asking(engines)


def beams(ask: Ask, prompts: Sequence[Sequence[int]] = ONE, max_tokens: int = 3, **section: Any) -> Answered:
    return ask({**ALL, "beam_search": section}, prompts=prompts, output={"max_tokens": max_tokens})


@pytest.mark.field("beam_search", "observed")
@pytest.mark.field("beam_search.beam_width", "observed")
@pytest.mark.field("output.max_tokens", "observed")
@pytest.mark.parametrize("width", [1, 3])
def test_every_prompt_gets_as_many_beams(ask: Ask, width: int) -> None:
    found = beams(ask, PROMPTS, 4, beam_width=width).output
    assert [len(group) for group in found.sequences] == [width] * len(PROMPTS)
    assert all(len(set(group)) == width for group in found.sequences)
    assert {len(beam) for group in found.sequences for beam in group} == {4}
    assert set(found.finished) == {"length"}
    assert found.steps == ()  # vLLM tells no times of beams


def best(found: Answered) -> tuple[int, ...]:
    return found.ids[0]


@pytest.mark.field("beam_search.length_penalty", "observed")
def test_a_heavy_penalty_lets_the_longest_beam_win(ask: Ask) -> None:
    """The beam that ends at once has the best sum; the more the length counts, the better are those that go on."""
    short, long = (beams(ask, beam_width=WIDEST, length_penalty=penalty) for penalty in (0.0, 8.0))
    assert best(short) == (EOS,)
    assert len(best(long)) == 3


@pytest.mark.parametrize(("penalty", "reason"), [(0.0, "stop"), (8.0, "length")])
def test_why_a_beam_ended_is_told(ask: Ask, penalty: float, reason: str) -> None:
    """Where the length counts nothing all of the best beams ended with the end token."""
    assert beams(ask, beam_width=WIDEST, length_penalty=penalty).output.finished == (reason,)


@pytest.mark.field("beam_search.ignore_eos", "observed")
def test_beams_go_on_after_the_end_token(ask: Ask) -> None:
    found = beams(ask, beam_width=WIDEST, length_penalty=0.0, ignore_eos=True).output.sequences[0]
    assert {len(beam) for beam in found} == {3}
    ended = beams(ask, beam_width=WIDEST, length_penalty=0.0).output.sequences[0]
    assert {beam[-1] for beam in ended} == {EOS}
    assert max(len(beam) for beam in ended) < 3


@pytest.mark.field("beam_search.skip_special_tokens", "observed")
def test_end_token_stands_in_the_text(ask: Ask) -> None:
    def text(**section: bool) -> str:
        return beams(ask, beam_width=WIDEST, length_penalty=0.0, **section).returned[0].sequences[0].text

    assert text(skip_special_tokens=False) == text() + "</s>"


@pytest.mark.field("beam_search.temperature", "observed")
def test_a_sampled_token_joins_the_candidates(ask: Ask) -> None:
    """They are the two likeliest of each beam and the token that was taken, which is the likeliest one if greedy."""

    def candidates(**section: float) -> int:
        found = beams(ask, PROMPTS, 8, beam_width=1, **section).returned
        return max(len(step) for answer in found for step in answer.sequences[0].logprobs)

    assert candidates() == 2
    assert candidates(temperature=2.0) == 3


@pytest.mark.field("beam_search.concurrency_limit", "observed")
@pytest.mark.parametrize(
    ("section", "together"), [({}, 3), ({"concurrency_limit": 1}, 1), ({"concurrency_limit": 2}, 2)]
)
def test_prompts_are_searched_in_groups(engines: Engines, section: dict[str, int], together: int) -> None:
    backend = backend_on(engines, {**ALL, "beam_search": {"beam_width": 1, **section}}, output={"max_tokens": 2})
    with steps_of(backend) as steps:
        generate(backend, *PROMPTS)
    assert max(len(step.scheduled) for step in steps) == together
    assert sum(len(step.scheduled) for step in steps) == 2 * len(PROMPTS)


@pytest.mark.field("beam_search.allowed_token_ids", "observed")
def test_beams_are_made_of_the_allowed_tokens(ask: Ask) -> None:
    section = {"beam_width": 2, "allowed_token_ids": [7, 8]}
    require_cuda("vLLM allows beams some tokens alone in its V2 runner")
    found = beams(ask, **section).output.sequences[0]
    assert {token for beam in found for token in beam} <= {7, 8}


@pytest.mark.field("beam_search.priority", "observed")
def test_lower_rank_is_searched_first(engines: Engines) -> None:
    """One request at a time: the tokens of the prompt with the lowest rank are read before the others'."""

    def order(ranks: list[int]) -> list[int]:
        section = {"max_num_seqs": 1, "scheduling_policy": "priority"}
        search = {"beam_width": 1, "priority": ranks}
        backend = backend_on(engines, {**section, "beam_search": search}, output={"max_tokens": 1})
        backend.seed()
        with steps_of(backend) as steps:
            generate(backend, *PROMPTS)
        lengths = [len(prompt) for prompt in PROMPTS]
        return [lengths.index(step.tokens) for step in steps]

    assert order([2, 1, 0]) == [2, 1, 0]
    assert order([1, 0, 2]) == [1, 0, 2]
