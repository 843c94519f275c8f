"""Continuous batching: all prompts in one `generate_batch`, whose manager makes and changes the batches itself."""

import contextlib
import copy
import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from llenergymeasure.config.pytorch.entry_points import GENERATE_BATCH
from llenergymeasure.core.api import materialise
from llenergymeasure.core.batching import Answer, Batch, BatchOutput
from llenergymeasure.core.inference_backends import pytorch_counting
from llenergymeasure.core.inference_backends.base import NotAsRequestedError
from llenergymeasure.core.inference_backends.pytorch_readback import end_tokens
from llenergymeasure.core.requests import count_generated
from llenergymeasure.errors import RequestError

if TYPE_CHECKING:
    from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend

MODE = "pytorch.continuous_batching"


def generate(backend: "PyTorchBackend", batch: Batch) -> Answer:
    """One call for all prompts of the batch."""
    with call(backend, batch) as arguments:
        start = time.perf_counter()
        answers = backend.model.generate_batch(**arguments)
        end = time.perf_counter()
    return Answer(batch.prompts, start, end, answers)


def counted(backend: "PyTorchBackend", answer: Answer) -> BatchOutput:
    """The answers in the order of the prompts.

    Raises:
        RequestError: transformers answered a prompt with an error, or not at all.
        NotAsRequestedError: it went on behind an end token, so that it computed more than is counted.
    """
    sequences = generation_config(backend).num_return_sequences or 1
    found = _dealt(answer, sequences)
    _refuse_missing(answer, len(found), sequences)
    rows = [item.generated_tokens for item in found]
    _refuse_unstopped(rows, end_tokens(backend.model, backend.generation)[0])
    steps = tuple(
        tuple((at, number + 1) for number, at in enumerate(getattr(item, "timestamps", None) or ()))
        for item in found[::sequences]
    )
    return pytorch_counting.output(backend, answer, rows, steps)


@contextlib.contextmanager
def call(backend: "PyTorchBackend", batch: Batch) -> Iterator[dict[str, Any]]:
    """The arguments of one `generate_batch`; the model's own generation config is as before when the block ends."""
    own = backend.model.generation_config
    arguments = materialise(backend.calls[GENERATE_BATCH], backend.api)
    if backend.api.surface("pytorch").find(GENERATE_BATCH, "record_timestamps"):
        arguments = {"record_timestamps": True, **arguments}
    arguments["inputs"] = [list(prompt.ids) for prompt in batch.prompts]
    arguments["generation_config"] = generation_config(backend)
    backend.model.generation_config = copy.deepcopy(own)  # 4.57 clears a value of it
    try:
        yield arguments
    finally:
        backend.model.generation_config = own


def generation_config(backend: "PyTorchBackend") -> Any:
    """The model's own generation config with the sent values: `generate_batch` takes no single arguments."""
    config = copy.deepcopy(backend.model.generation_config)
    unused = config.update(**backend.generation)
    if unused:
        raise NotAsRequestedError(f"pytorch: continuous batching takes no {', '.join(unused)}", "remove them")
    ends = config.eos_token_id
    if isinstance(ends, list) and len(ends) == 1:  # older versions compare each token with the list itself
        config.eos_token_id = ends[0]
    return config


def close(model: Any) -> None:
    """Destroy the manager that `persistent_manager` keeps with the model, its cache and its graphs."""
    if hasattr(model, "destroy_cached_continuous_batching_manager"):
        model.destroy_cached_continuous_batching_manager()


def _dealt(answer: Answer, sequences: int) -> list[Any]:
    """What was generated, prompt by prompt.

    Whose it is only its own copy of the prompt says: 4.57 gives answers as they finish, and 5.0 numbers requests after
    it has sorted the prompts. The numbers in the names keep sequences of one request together.
    """
    waiting: dict[tuple[int, ...], list[Any]] = {}
    for name in sorted(answer.returned, key=lambda name: [*map(int, re.findall(r"\d+", name))]):
        item = answer.returned[name]
        waiting.setdefault(tuple(item.prompt_ids), []).append(item)
    found: list[Any] = []
    for prompt in answer.prompts:
        own = waiting.get(prompt.ids, [])
        found += own[:sequences]
        del own[:sequences]
    return found


def _refuse_missing(answer: Answer, found: int, sequences: int) -> None:
    prompts = len(answer.prompts)
    expected = prompts * sequences
    failed = [item.error for item in answer.returned.values() if item.error]
    if not failed and found == prompts < expected:  # as 5.17 does
        raise RequestError(
            f"{MODE}: this version of transformers returns one sequence per prompt, and {sequences} were asked for",
            "remove pytorch.num_return_sequences, or use a newer transformers",
        )
    if failed or found != expected:
        reason = failed[0] if failed else f"{expected - found} of {expected} requests gave no answer"
        raise RequestError(f"{MODE}: transformers failed to generate: {reason}", "see the backend's log above")


def _refuse_unstopped(rows: Sequence[Sequence[int]], ends: frozenset[int]) -> None:
    behind = sum(len(row) - count_generated(row, ends) for row in rows)
    if behind:
        raise NotAsRequestedError(
            f"{MODE}: transformers generated {behind} tokens behind an end token ({', '.join(map(str, sorted(ends)))})",
            "set pytorch.eos_token_id to a single token, which every version stops at, or use a newer transformers",
        )
