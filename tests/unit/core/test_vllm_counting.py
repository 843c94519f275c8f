"""What vLLM returned, as exact counts and times; objects as its `RequestOutput` and `BeamSearchOutput` have them."""

from types import SimpleNamespace
from typing import Any

import pytest

from llenergymeasure.core.batching import Answer, BatchOutput, Prompt
from llenergymeasure.core.gathering import latencies
from llenergymeasure.core.inference_backends.vllm_counting import BeamEnds, cached_tokens, counted
from llenergymeasure.core.requests import Latencies
from llenergymeasure.errors import FindingError

END = 1


def request(*sequences: tuple[list[int], str | None], first: float = 0.0, last: float = 0.0, timed: int = 0) -> Any:
    outputs = [SimpleNamespace(token_ids=ids, finish_reason=reason) for ids, reason in sequences]
    metrics = SimpleNamespace(first_token_ts=first, last_token_ts=last, num_generation_tokens=timed)
    return SimpleNamespace(outputs=outputs, metrics=metrics)


def beams(*tokens: list[int], said: str | None = None) -> Any:
    return SimpleNamespace(sequences=[SimpleNamespace(tokens=ids, finish_reason=said) for ids in tokens])


def count(*returned: Any, ends: BeamEnds | None = None) -> BatchOutput:
    prompts = tuple(Prompt(index, (8, 9)) for index in range(len(returned)))
    return counted(Answer(prompts, 10.0, 12.0, list(returned)), ends)


class TestTokens:
    def test_are_those_of_every_sequence_of_every_prompt(self) -> None:
        output = count(request(([3, 4, 5], "length")), request(([3], "stop"), ([4, 5], "stop")))
        assert output.sequences == (((3, 4, 5),), ((3,), (4, 5)))
        assert (output.start_s, output.end_s) == (10.0, 12.0)
        assert [prompt.index for prompt in output.prompts] == [0, 1]

    def test_of_a_beam_are_those_after_its_prompt(self) -> None:
        assert count(beams([8, 9, 3, 4], [8, 9, 5])).sequences == (((3, 4), (5,)),)

    def test_may_be_none(self) -> None:
        assert count(request(([], "stop"))).sequences == (((),),)

    def test_of_a_request_that_is_missing_are_not_passed_over(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            counted(Answer((Prompt(0, (8,)), Prompt(1, (9,))), 0.0, 1.0, [request(([3], "stop"))]))


class TestTheReason:
    @pytest.mark.parametrize(
        ("said", "means"), [("stop", "stop"), ("length", "length"), ("repetition", "stop"), (None, "length")]
    )
    def test_is_the_engines(self, said: str | None, means: str) -> None:
        assert count(request(([3], said))).finished == (means,)

    def test_is_that_of_the_longest_sequence(self) -> None:
        assert count(request(([3], "stop"), ([4, 5], "length"))).finished == ("length",)

    @pytest.mark.parametrize("said", ["abort", "error", "timeout"])
    def test_that_the_caller_did_not_ask_for_is_no_result(self, said: str) -> None:
        with pytest.raises(FindingError) as caught:
            count(request(([3], "stop")), request(([3], said)))
        assert caught.value.cause == f"prompt 2: vLLM ended its request with {said!r}"

    @pytest.mark.parametrize(
        ("ids", "eos", "means"),
        [
            ([3, 4, 5], END, "length"),
            ([3, 4, END], END, "stop"),  # at the very limit
            ([3, END], END, "stop"),
            ([3, 4], None, "stop"),  # shorter than it may be
            ([3, 4, END], None, "length"),  # the end token is ignored
        ],
    )
    def test_of_a_beam_is_read_from_its_tokens(self, ids: list[int], eos: int | None, means: str) -> None:
        """vLLM itself does not say it."""
        assert count(beams([8, 9, *ids]), ends=BeamEnds(3, eos)).finished == (means,)

    def test_of_a_beam_is_vllms_where_it_says_one(self) -> None:
        assert count(beams([8, 9, 3, 4, 5], said="stop"), ends=BeamEnds(3, END)).finished == ("stop",)


class TestTimes:
    def test_are_of_the_first_and_the_last_token(self) -> None:
        assert count(request(([3, 4, 5], "stop"), first=10.5, last=11.5)).steps == (((10.5, 1), (11.5, 3)),)

    def test_of_tokens_that_came_together_are_one(self) -> None:
        assert count(request(([3], "stop"), first=10.5, last=10.5)).steps == (((10.5, 1),),)
        assert count(request(([3, 4], "stop"), first=10.5, last=10.5)).steps == (((10.5, 2),),)

    def test_of_several_sequences_are_those_of_the_one_that_ended_last(self) -> None:
        """vLLM tells no others: the first token of all may have come before, and the longest may be another one."""
        output = count(request(([3, 4, 5, 6, 7], "stop"), ([3, 4, 5], "stop"), first=11.0, last=11.5, timed=3))
        assert output.steps == (((11.0, 1), (11.5, 3)),)
        assert output.last_only == (3,)
        (took,) = latencies(output)
        assert (took.time_to_first_token_ms, took.inter_token_latency_ms) == (None, 250)
        assert took.request_latency_ms == 1500

    def test_of_one_sequence_are_the_requests(self) -> None:
        (took,) = latencies(count(request(([3, 4, 5], "stop"), first=10.5, last=11.5, timed=3)))
        assert took == Latencies(500, 500, 1500)

    def test_that_are_not_told_leave_the_call_as_a_whole(self) -> None:
        assert latencies(count(beams([8, 9, 3], [8, 9, 4]))) == [Latencies(None, None, 2000)]

    @pytest.mark.parametrize("silent", [request(([3], "stop")), beams([8, 9, 3])], ids=["no times", "beams"])
    def test_are_told_of_all_requests_or_of_none(self, silent: Any) -> None:
        assert count(request(([3, 4], "stop"), first=10.5, last=11.5), silent).steps == ()


@pytest.mark.parametrize(
    ("told", "tokens"),
    [((0, 4), 4), ((0, 0), 0), ((2, None), None), ((), None)],
    ids=["some", "none", "unsaid", "empty"],
)
def test_cached_tokens_are_a_sum_only_where_every_request_tells_them(
    told: tuple[int | None, ...], tokens: int | None
) -> None:
    assert cached_tokens([SimpleNamespace(num_cached_tokens=number) for number in told]) == tokens
