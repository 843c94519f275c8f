"""What each request took, counted the same way on every backend, and the summary over all of them."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from llenergymeasure.core.results import Distribution, RequestResult, Summary


@dataclass(frozen=True)
class Latencies:
    """See `from_step_times`."""

    time_to_first_token_ms: float | None
    inter_token_latency_ms: float | None
    request_latency_ms: float


def count_generated(ids: Sequence[int], eos: Collection[int], pad: int | None = None) -> int:
    """Tokens that a sequence really generated: up to and including its first end token, and none of what follows.

    Args:
        ids: the generated part of one row, without the prompt.
        eos: the end tokens that applied.
        pad: the padding token, only where rows can end without an end token (stop strings or criteria): trailing ones
            are then padding. Without it, a padding token that the model chose to generate counts.
    """
    for position, token in enumerate(ids):
        if token in eos:
            return position + 1
    count = len(ids)
    while pad is not None and count and ids[count - 1] == pad:
        count -= 1
    return count


def from_step_times(start_s: float, steps: Sequence[tuple[float, int]], n_tokens: int) -> Latencies:
    """Latencies of one request out of a batch whose steps may go on after the request itself has ended.

    - time_to_first_token_ms: from `start_s` to the step that brought the first token.
    - request_latency_ms: from `start_s` to the step that brought the request's last token.
    - inter_token_latency_ms: (last - first) / (n_tokens - 1), the time per output token *without* the first. So do
      vLLM's benchmark ("TPOT") and NVIDIA's GenAI-Perf and AIPerf; LLMPerf divides the whole request latency by all
      tokens, the first included. None for fewer than two tokens, and where one step brought them all: nothing was
      between them to measure.

    Args:
        start_s: when the request was handed to the backend, on the clock of `steps`.
        steps: (time, tokens generated so far) after each step; neither ever falls.
        n_tokens: the request's own tokens; of its longest sequence where it returns several.

    Raises:
        ValueError: the steps fall, or end before `n_tokens` were there.
    """
    if any(later[0] < earlier[0] or later[1] < earlier[1] for earlier, later in pairwise(steps)):
        raise ValueError("times and token counts of steps must not fall")
    if not steps or steps[-1][1] < n_tokens:
        raise ValueError(f"the steps end at {steps[-1][1] if steps else 0} tokens, the request has {n_tokens}")
    if n_tokens < 1:
        return Latencies(None, None, _ms(steps[-1][0] - start_s))
    first = bisect_left(steps, 1, key=itemgetter(1))
    last = bisect_left(steps, n_tokens, key=itemgetter(1))
    first_s, last_s = steps[first][0], steps[last][0]
    between_ms = None if last == first else _ms(last_s - first_s) / (n_tokens - 1)
    return Latencies(_ms(first_s - start_s), between_ms, _ms(last_s - start_s))


def summarise(records: Sequence[RequestResult], window_s: float, energy_j: float | None) -> Summary:
    """The summary of all requests that ran in one window.

    Args:
        records: of every pass in the window.
        window_s: the window's duration.
        energy_j: what the window used; None where it could not be read.
    """
    output_tokens = sum(record.output_tokens for record in records)
    return Summary(
        requests=len(records),
        input_tokens=sum(record.input_tokens for record in records),
        output_tokens=output_tokens,
        window_s=window_s,
        output_tokens_per_second=rate(output_tokens, window_s),
        requests_per_second=rate(len(records), window_s),
        time_to_first_token_ms=distribution(record.time_to_first_token_ms for record in records),
        inter_token_latency_ms=distribution(record.inter_token_latency_ms for record in records),
        request_latency_ms=distribution(record.request_latency_ms for record in records),
        energy_j=energy_j,
        energy_per_output_token_j=rate(energy_j, output_tokens),
        energy_per_request_j=rate(energy_j, len(records)),
    )


def distribution(values: Iterable[float | None]) -> Distribution | None:
    """Of the values that are there; None where there are none."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return Distribution(
        count=len(known),
        mean=sum(known) / len(known),
        p50=percentile(known, 50),
        p90=percentile(known, 90),
        p99=percentile(known, 99),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of at least one value, in rising order; `Distribution` says how."""
    rank = (len(ordered) - 1) * percent / 100
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def rate(amount: float | None, per: float) -> float | None:
    """Their quotient; None where one is missing or there is nothing to divide by."""
    return amount / per if amount is not None and per > 0 else None


def _ms(seconds: float) -> float:
    return seconds * 1000
