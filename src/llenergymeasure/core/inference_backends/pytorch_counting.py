"""What a call returned, made into each prompt's own tokens: no padding, nothing behind an end, and why it ended."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llenergymeasure.core.batching import Answer, BatchOutput, Prompt
from llenergymeasure.core.inference_backends.pytorch_readback import end_tokens
from llenergymeasure.core.requests import count_generated

if TYPE_CHECKING:
    from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend

Steps = tuple[tuple[float, int], ...]


def counted(backend: "PyTorchBackend", answer: Answer) -> BatchOutput:
    """An answer of `generate`: rows of prompt and output, padded on both sides."""
    width, rows = answer.width, answer.returned.tolist()
    if "token_healing" in backend.generation:  # it writes the prompt anew; the first step adds one token to that
        width = answer.steps[0][1] - 1
    steps = tuple((at, length - width) for at, length in answer.steps)
    everyone = (steps,) * len(answer.prompts)
    return output(backend, answer, [row[width:] for row in rows], everyone)


def output(
    backend: "PyTorchBackend", answer: Answer, rows: Sequence[Sequence[int]], steps: tuple[Steps, ...]
) -> BatchOutput:
    """Rows of generated tokens, cut at their end and dealt to their prompts."""
    per_prompt = len(rows) // len(answer.prompts)
    # Accepted drafts may exceed the limit in older versions; what is returned means the same everywhere.
    limit, timed = backend.generation.get("max_new_tokens"), "max_time" in backend.generation
    cut = [_cut(backend, answer.prompts[index // per_prompt], row[:limit]) for index, row in enumerate(rows)]
    groups = [cut[index * per_prompt : (index + 1) * per_prompt] for index in range(len(answer.prompts))]
    longest = (max(group, key=lambda item: len(item[0])) for group in groups)
    return BatchOutput(
        answer.prompts,
        answer.start_s,
        answer.end_s,
        steps,
        tuple(tuple(row for row, _ in group) for group in groups),
        tuple(reason or ("length" if len(row) == limit or not timed else "time") for row, reason in longest),
    )


def _cut(backend: "PyTorchBackend", prompt: Prompt, row: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """The tokens that a row really generated, and `stop` where an end token or a stop string ended it."""
    ends, pad = end_tokens(backend.model, backend.generation)
    length = count_generated(row, ends)
    # A row that a stop string ended is filled with padding, which may be an end token, too.
    bare = length
    while bare and row[bare - 1] == pad:
        bare -= 1
    if _stopped(backend, prompt, row[:bare]):
        return tuple(row[:bare]), "stop"
    return tuple(row[:length]), "stop" if length and row[length - 1] in ends else ""


def _stopped(backend: "PyTorchBackend", prompt: Prompt, row: Sequence[int]) -> bool:
    """Whether a stop string stands in what was generated, or begins in the prompt and ends there."""
    given = backend.generation.get("stop_strings") or ()
    stops = [given] if isinstance(given, str) else given
    tail = list(prompt.ids[-max(map(len, stops), default=0) :])
    before, whole = (backend.tokenizer.decode(ids) for ids in (tail, [*tail, *row])) if stops else ("", "")
    return any(whole.count(stop) > before.count(stop) for stop in stops)
