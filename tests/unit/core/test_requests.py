"""Expected values are worked out by hand in the comments; none comes from the code under test."""

import json
from dataclasses import asdict

import pytest

from llenergymeasure.core.requests import (
    Latencies,
    count_generated,
    distribution,
    from_step_times,
    summarise,
)
from llenergymeasure.core.results import RequestResult

EOS, PAD = 2, 0


@pytest.mark.parametrize(
    ("ids", "pad", "count"),
    [
        pytest.param([5, 6, 7], None, 3, id="stopped by the limit"),
        pytest.param([5, EOS], None, 2, id="the end token counts"),
        pytest.param([5, EOS, PAD, PAD], None, 2, id="padding after the end does not"),
        pytest.param([5, EOS, EOS, EOS], None, 2, id="nor does padding with the end token"),
        pytest.param([5, EOS, 9, EOS], None, 2, id="nor anything else after the first end token"),
        pytest.param([5, 3, 9], None, 2, id="any of several end tokens"),
        pytest.param([EOS], None, 1, id="ended at once"),
        pytest.param([], None, 0, id="nothing"),
        pytest.param([5, PAD, PAD], None, 3, id="the model may generate the padding token"),
        pytest.param([5, PAD, 6, PAD, PAD], PAD, 3, id="stop string: trailing padding does not count"),
        pytest.param([5, EOS, PAD], PAD, 2, id="stop string and end token"),
        pytest.param([PAD, PAD], PAD, 0, id="stop string: nothing but padding"),
    ],
)
def test_only_tokens_that_were_generated_count(ids: list[int], pad: int | None, count: int) -> None:
    assert count_generated(ids, {EOS, 3}, pad) == count


# One batch, handed over at 10.0 s; a token a step: after 0.5 s, then every 0.25 s.
STEPS = [(10.5, 1), (10.75, 2), (11.0, 3), (11.25, 4), (11.5, 5)]


@pytest.mark.parametrize(
    ("steps", "n_tokens", "latencies"),
    [
        # First after 500 ms, fifth 1000 ms later: four gaps of 250 ms.
        pytest.param(STEPS, 5, Latencies(500, 250, 1500), id="the longest of its batch"),
        # Its third token came at 11.0; the batch went on without it.
        pytest.param(STEPS, 3, Latencies(500, 250, 1000), id="ended before its batch"),
        pytest.param(STEPS, 1, Latencies(500, None, 500), id="one token has no gap"),
        pytest.param(STEPS, 0, Latencies(None, None, 1500), id="no token"),
        # Speculative steps of 2 and 3 tokens: five tokens, first at 10.5, last at 11.5: 1000 ms over four gaps.
        pytest.param([(10.5, 2), (11.5, 5)], 5, Latencies(500, 250, 1500), id="several tokens a step"),
        # Its fourth token came with the step that reached five.
        pytest.param([(10.5, 2), (11.5, 5)], 4, Latencies(500, 1000 / 3, 1500), id="ended within a step"),
        pytest.param([(10.25, 0), (10.5, 1), (11.0, 2)], 2, Latencies(500, 500, 1000), id="a step without a token"),
        pytest.param([(12.0, 4)], 4, Latencies(2000, None, 2000), id="all tokens at once have no gap"),
    ],
)
def test_latencies_of_one_request(steps: list[tuple[float, int]], n_tokens: int, latencies: Latencies) -> None:
    found = from_step_times(10.0, steps, n_tokens)

    assert asdict(found) == pytest.approx(asdict(latencies))


@pytest.mark.parametrize(
    ("steps", "n_tokens", "message"),
    [
        ([], 0, "end at 0 tokens"),
        (STEPS, 6, "end at 5 tokens, the request has 6"),
        ([(11.0, 1), (10.5, 2)], 2, "must not fall"),
        ([(10.5, 2), (11.0, 1)], 1, "must not fall"),
    ],
)
def test_steps_that_cannot_be_are_refused(steps: list[tuple[float, int]], n_tokens: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_step_times(10.0, steps, n_tokens)


def _record(
    index: int, latency_ms: float, *, outputs: tuple[int, ...] = (10,), first_ms: float | None = 5
) -> RequestResult:
    return RequestResult(
        index=index,
        repeat=0,
        batch=0,
        start_s=0,
        input_tokens=7,
        output_tokens=sum(outputs),
        sequence_output_tokens=list(outputs),
        time_to_first_token_ms=first_ms,
        inter_token_latency_ms=None,
        request_latency_ms=latency_ms,
        finish_reason="length",
    )


def test_the_summary_of_a_window() -> None:
    # 4 requests, 28 tokens in, 10 + 10 + 10 + (15 + 5) = 50 out, in 5 s with 200 J.
    records = [_record(0, 100), _record(1, 400), _record(2, 200), _record(3, 300, outputs=(15, 5), first_ms=None)]

    summary = summarise(records, window_s=5, energy_j=200)

    assert (summary.requests, summary.input_tokens, summary.output_tokens) == (4, 28, 50)
    assert summary.window_s == 5
    assert summary.output_tokens_per_second == pytest.approx(10)
    assert summary.requests_per_second == pytest.approx(0.8)
    assert summary.energy_j == 200
    assert summary.energy_per_output_token_j == pytest.approx(4)
    assert summary.energy_per_request_j == pytest.approx(50)
    # 100 200 300 400. Ranks from 0: p50 at 1.5, p90 at 2.7, p99 at 2.97.
    assert summary.request_latency_ms is not None
    assert summary.request_latency_ms.model_dump() == pytest.approx(
        {"count": 4, "mean": 250, "p50": 250, "p90": 370, "p99": 397}
    )
    assert summary.time_to_first_token_ms is not None
    assert (summary.time_to_first_token_ms.count, summary.time_to_first_token_ms.mean) == (3, 5)
    assert summary.inter_token_latency_ms is None
    json.dumps(summary.model_dump(), allow_nan=False)


@pytest.mark.parametrize(
    ("records", "window_s", "energy_j", "undefined"),
    [
        pytest.param(
            [_record(0, 1)], 1.0, None, {"energy_j", "energy_per_output_token_j", "energy_per_request_j"}, id="not read"
        ),
        pytest.param([_record(0, 1, outputs=(0,))], 1.0, 9.0, {"energy_per_output_token_j"}, id="no tokens"),
        pytest.param(
            [],
            1.0,
            9.0,
            {"energy_per_output_token_j", "energy_per_request_j", "time_to_first_token_ms", "request_latency_ms"},
            id="no requests",
        ),
        pytest.param([_record(0, 1)], 0.0, 9.0, {"output_tokens_per_second", "requests_per_second"}, id="no time"),
    ],
)
def test_what_is_undefined_is_none_and_not_zero(
    records: list[RequestResult], window_s: float, energy_j: float | None, undefined: set[str]
) -> None:
    summary = summarise(records, window_s, energy_j).model_dump()

    # The records of this test have no gap between tokens.
    assert {name for name, value in summary.items() if value is None} == undefined | {"inter_token_latency_ms"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([3.0], (1, 3, 3, 3, 3), id="one value is every percentile"),
        # Two values: p of the way from 10 to 20.
        pytest.param([20.0, None, 10.0], (2, 15, 15, 19, 19.9), id="two values"),
        # 0 to 100: the percentile is its own number.
        pytest.param([float(value) for value in range(100, -1, -1)], (101, 50, 50, 90, 99), id="101 values"),
    ],
)
def test_percentiles_interpolate_linearly(values: list[float | None], expected: tuple[float, ...]) -> None:
    found = distribution(values)

    assert found is not None
    assert tuple(found.model_dump().values()) == pytest.approx(expected)
