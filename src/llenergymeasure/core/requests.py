"""What each request took, counted the same way on every backend, and the summary over all of them."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter


@dataclass(frozen=True)
class RequestRecord:
    """One prompt, answered once.

    Attributes:
        index: of the prompt, in the order of the config; the same in every repeat.
        repeat: which pass over all prompts.
        batch: which call to the backend; requests of one call share it.
        input_tokens: tokens of the prompt after truncation, padding not counted.
        sequence_output_tokens: generated tokens of each returned sequence, up to and including its end token.
        output_tokens: their sum.
        time_to_first_token_ms, inter_token_latency_ms, request_latency_ms: see `from_step_times`.
        finish_reason: why generation ended, such as `stop` or `length`.
    """

    index: int
    repeat: int
    batch: int
    input_tokens: int
    sequence_output_tokens: tuple[int, ...]
    time_to_first_token_ms: float | None
    inter_token_latency_ms: float | None
    request_latency_ms: float
    finish_reason: str
    output_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_tokens", sum(self.sequence_output_tokens))


@dataclass(frozen=True)
class Latencies:
    """See `from_step_times`."""

    time_to_first_token_ms: float | None
    inter_token_latency_ms: float | None
    request_latency_ms: float


@dataclass(frozen=True)
class Distribution:
    """Mean and percentiles of `count` values.

    Percentiles interpolate linearly between the two nearest values, at rank (count - 1) · p/100 counted from 0: type 7
    of Hyndman and Fan (1996), numpy's default and what vLLM's benchmark reports.
    """

    count: int
    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Summary:
    """All requests of one window. None is "undefined or not read", never 0.

    Attributes:
        window_s: how long the window lasted; what happens between requests is in it.
        output_tokens_per_second: output_tokens / window_s. Prompt tokens are not in it.
        requests_per_second: requests / window_s.
        time_to_first_token_ms, inter_token_latency_ms, request_latency_ms: over the requests that have one.
        energy_j: gross energy of the window.
        energy_per_output_token_j: energy_j / output_tokens. Reading the prompt is in the numerator, so it falls as
            answers grow longer.
        energy_per_request_j: energy_j / requests.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    window_s: float
    output_tokens_per_second: float | None
    requests_per_second: float | None
    time_to_first_token_ms: Distribution | None
    inter_token_latency_ms: Distribution | None
    request_latency_ms: Distribution | None
    energy_j: float | None
    energy_per_output_token_j: float | None
    energy_per_request_j: float | None


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


def summarise(records: Sequence[RequestRecord], window_s: float, energy_j: float | None) -> Summary:
    """The summary of all requests that ran in one window.

    Args:
        records: of every repeat in the window.
        window_s: the window's duration.
        energy_j: what the window used; None where it could not be read.
    """
    output_tokens = sum(record.output_tokens for record in records)
    return Summary(
        requests=len(records),
        input_tokens=sum(record.input_tokens for record in records),
        output_tokens=output_tokens,
        window_s=window_s,
        output_tokens_per_second=_ratio(output_tokens, window_s),
        requests_per_second=_ratio(len(records), window_s),
        time_to_first_token_ms=distribution(record.time_to_first_token_ms for record in records),
        inter_token_latency_ms=distribution(record.inter_token_latency_ms for record in records),
        request_latency_ms=distribution(record.request_latency_ms for record in records),
        energy_j=energy_j,
        energy_per_output_token_j=_ratio(energy_j, output_tokens),
        energy_per_request_j=_ratio(energy_j, len(records)),
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


def _ratio(amount: float | None, per: float) -> float | None:
    return amount / per if amount is not None and per > 0 else None


def _ms(seconds: float) -> float:
    return seconds * 1000
