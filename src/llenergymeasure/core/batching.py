"""Prompts as token ids, and how they are cut into the batches that a backend runs."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Prompt:
    """One request's input.

    Attributes:
        index: place in the workload, the same on every replica.
        ids: token ids as the model gets them, without padding.
    """

    index: int
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Prompts that run in one call.

    Attributes:
        inputs: what the backend prepared for the call; nothing of it is made inside the window.
    """

    prompts: tuple[Prompt, ...]
    inputs: Any = None


@dataclass(frozen=True)
class Answer:
    """What one call returned, not yet looked at: counting is no part of the work that is measured.

    Attributes:
        start_s, end_s: on this process's monotonic clock.
        returned: what the API gave.
        steps: (time in s, tokens per row with the prompt) after each decoding step; empty where the API tells none.
        width: tokens per row of the prompt, padding included.
    """

    prompts: tuple[Prompt, ...]
    start_s: float
    end_s: float
    returned: Any
    steps: tuple[tuple[float, int], ...] = ()
    width: int = 0


@dataclass(frozen=True)
class BatchOutput:
    """An answer counted.

    Attributes:
        start_s, end_s: on this process's monotonic clock.
        steps: per prompt (time in s, tokens generated so far) after each decoding step; empty where the API tells none.
        sequences: per prompt the returned sequences' generated ids, cut at their end.
        finished: per prompt why its longest sequence ended: `stop`, `length` or `time`.
        last_only: per prompt the tokens of its sequence that ended last, where `steps` are of that one alone and tell
            nothing of the others'; empty where they are of all.
    """

    prompts: tuple[Prompt, ...]
    start_s: float
    end_s: float
    steps: tuple[tuple[tuple[float, int], ...], ...]
    sequences: tuple[tuple[tuple[int, ...], ...], ...]
    finished: tuple[str, ...]
    last_only: tuple[int, ...] = ()


def make_batches(prompts: Sequence[Prompt], batch_size: int = 1) -> list[Batch]:
    """Cut prompts into calls of at most batch_size, in order."""
    return [Batch(tuple(prompts[start : start + batch_size])) for start in range(0, len(prompts), batch_size)]


def prompts_sha256(encoded: Sequence[Sequence[int]]) -> str:
    """The identity of a workload: the same token ids in the same order, whatever they were made from."""
    text = json.dumps([list(ids) for ids in encoded], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
