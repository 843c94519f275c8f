"""Continuous batching: all prompts in one `generate_batch`, whose manager makes and changes the batches itself."""

import re
import time
from typing import TYPE_CHECKING

from llenergymeasure.config.pytorch.entry_points import GENERATE_BATCH
from llenergymeasure.core.api import materialise
from llenergymeasure.core.batching import Batch, BatchOutput
from llenergymeasure.core.inference_backends.pytorch_readback import merged_generation_config
from llenergymeasure.errors import RequestError

if TYPE_CHECKING:
    from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend


def generate(backend: "PyTorchBackend", batch: Batch) -> BatchOutput:
    """One call for all prompts of the batch; answers come back in the order of the prompts."""
    sent = materialise(backend.calls[GENERATE_BATCH], backend.api)
    if backend.api.surface("pytorch").find(GENERATE_BATCH, "record_timestamps"):
        sent = {"record_timestamps": True, **sent}
    config = merged_generation_config(backend.model, backend.generation)
    start = time.perf_counter()
    answers = backend.model.generate_batch(
        inputs=[list(prompt.ids) for prompt in batch.prompts], generation_config=config, **sent
    )
    end = time.perf_counter()
    # Some versions give answers as they finish; the numbers in their ids say whose they are.
    found = [answers[request] for request in sorted(answers, key=lambda name: [*map(int, re.findall(r"\d+", name))])]
    failed = [answer.error for answer in found if answer.error]
    expected = len(batch.prompts) * (config.num_return_sequences or 1)
    if failed or len(found) != expected:
        reason = failed[0] if failed else f"{expected - len(found)} of {expected} requests gave no answer"
        raise RequestError(
            f"pytorch.continuous_batching: transformers failed to generate: {reason}", "see the backend's log above"
        )
    per_prompt = len(found) // len(batch.prompts)
    steps = tuple(
        tuple((at, number + 1) for number, at in enumerate(getattr(answer, "timestamps", None) or ()))
        for answer in found[::per_prompt]
    )
    return backend.output(batch, (start, end), [answer.generated_tokens for answer in found], steps)
