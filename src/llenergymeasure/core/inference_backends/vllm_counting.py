"""What vLLM returned, as exact counts and the engine's own times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llenergymeasure.core.batching import Answer, BatchOutput
from llenergymeasure.errors import FindingError

Steps = tuple[tuple[float, int], ...]
# Ends that the caller asked for: an end token, a stop string, or a repetition that it told the engine to look for.
_REASONS = {"stop": "stop", "length": "length", "repetition": "stop", None: "length"}


@dataclass(frozen=True)
class BeamEnds:
    """What ends a beam, which vLLM itself does not say of one: the limit on its tokens, and its end token if any."""

    max_tokens: int
    eos: int | None

    def reason(self, ids: Sequence[int]) -> str:
        """A beam that is shorter than it may be ended by itself, and so did one whose last token is the end token."""
        return "stop" if len(ids) < self.max_tokens or (ids and ids[-1] == self.eos) else "length"


def counted(answer: Answer, ends: BeamEnds | None = None) -> BatchOutput:
    """Per prompt every returned sequence's ids, why the longest ended, and when its tokens came.

    Raises:
        FindingError: the engine gave a request up; figures without it would pass for those of all.
    """
    sequences, steps, finished, last_only = [], [], [], []
    for prompt, request in zip(answer.prompts, answer.returned, strict=True):
        found = _sequences(request, len(prompt.ids), ends)
        sequences.append(tuple(ids for ids, _ in found))
        longest = max(found, key=lambda item: len(item[0]))
        finished.append(_reason(longest[1], prompt.index))
        metrics = getattr(request, "metrics", None)
        # Of several sequences vLLM tells the times and the count of one, that which ended last, and not which it is.
        timed = len(longest[0]) if metrics is None or len(found) == 1 else int(metrics.num_generation_tokens)
        steps.append(_steps(metrics, timed))
        if len(found) > 1:
            last_only.append(timed)
    told = all(steps)
    return BatchOutput(
        prompts=answer.prompts,
        start_s=answer.start_s,
        end_s=answer.end_s,
        steps=tuple(steps) if told else (),
        sequences=tuple(sequences),
        finished=tuple(finished),
        last_only=tuple(last_only) if told else (),
    )


def _sequences(request: Any, prompt_tokens: int, ends: BeamEnds | None) -> list[tuple[tuple[int, ...], str | None]]:
    if hasattr(request, "outputs"):
        return [(tuple(item.token_ids), item.finish_reason) for item in request.outputs]
    # Beam search returns the prompt in front of each beam.
    beams = [(tuple(beam.tokens[prompt_tokens:]), beam.finish_reason) for beam in request.sequences]
    return [(ids, said or (ends.reason(ids) if ends else None)) for ids, said in beams]


def _reason(said: str | None, index: int) -> str:
    if said not in _REASONS:
        raise FindingError(
            f"prompt {index + 1}: vLLM ended its request with {said!r}", "see the engine's messages; run it again"
        )
    return _REASONS[said]


def _steps(metrics: Any, tokens: int) -> Steps:
    """First and last token on the engine's clock, which is this process's: both read the machine's monotonic one."""
    if metrics is None or not metrics.first_token_ts:
        return ()
    if metrics.last_token_ts <= metrics.first_token_ts:
        return ((metrics.first_token_ts, tokens),)
    return ((metrics.first_token_ts, 1), (metrics.last_token_ts, tokens))


def cached_tokens(returned: Sequence[Any]) -> int | None:
    """Prompt tokens that came from the prefix cache, None where the API does not say."""
    found = [getattr(request, "num_cached_tokens", None) for request in returned]
    return sum(found) if found and all(item is not None for item in found) else None  # type: ignore[arg-type]
