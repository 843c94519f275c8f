"""What tests of running models share: opening a config through the tool, and watching what a model is called with."""

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.api import RealApi
from llenergymeasure.core.batching import BatchOutput, Prompt
from llenergymeasure.core.session import Opened, Session, Share

TEXT = "The energy of a token"
MIXED = (
    "A few",
    "The energy of a token is the power",
    "Die Energie",
    "many prompts, one read of the weights, and a long line",
)


def require_parameter(*targets: tuple[str, str]) -> None:
    """Skip where the installed version has none of the parameters."""
    import transformers

    surface = RealApi().surface("pytorch")
    if not any(surface.find(entry_point, name) for entry_point, name in targets):
        names = ", ".join(f"{entry_point}:{name}" for entry_point, name in targets)
        pytest.skip(f"needs a transformers version with {names}: {transformers.__version__} has none")


def require_package(name: str, what: str) -> None:
    import importlib.util

    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs {name}, which is not installed: {what}")


@contextlib.contextmanager
def opened(model: Path | str, data: Mapping[str, Any]) -> Iterator[tuple[Session, Opened]]:
    """A session on the configuration, loaded as an experiment loads it."""
    settings = {"prompts": [TEXT], "output": {"max_tokens": 4}, **copy.deepcopy(dict(data)), "model": str(model)}
    session = Session(ExperimentConfig.model_validate(settings), Share())
    try:
        yield session, session.open()
    finally:
        session.close()


def run(backend: Any, texts: Sequence[str] = (TEXT,)) -> list[BatchOutput]:
    """Answers of a loaded backend, one per batch."""
    prompts = [Prompt(index, tuple(ids)) for index, ids in enumerate(backend.encode(texts, chat=False))]
    return [backend.count(backend.generate(batch)) for batch in backend.prepare(prompts)]


def run_ids(backend: Any, *prompts: Sequence[int]) -> list[BatchOutput]:
    """The same for prompts given as token ids."""
    numbered = [Prompt(index, tuple(ids)) for index, ids in enumerate(prompts)]
    return [backend.count(backend.generate(batch)) for batch in backend.prepare(numbered)]


def tokens(backend: Any, *texts: str) -> list[tuple[int, ...]]:
    """The first sequence generated for each text."""
    return [group[0] for output in run(backend, texts or (TEXT,)) for group in output.sequences]


@dataclass
class Watched:
    """Calls of a module: the shape of its tokens, and the cache that it was given."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    caches: list[Any] = field(default_factory=list)

    @property
    def rows(self) -> list[int]:
        return [shape[0] for shape in self.shapes]

    @property
    def widths(self) -> list[int]:
        return [shape[1] for shape in self.shapes]


@contextlib.contextmanager
def watched(model: Any) -> Iterator[Watched]:
    """Note every forward call of a causal model, as PyTorch's own hooks see it."""
    seen = Watched()

    def note(module: Any, positional: Any, named: Any) -> None:
        ids = named["input_ids"] if named.get("input_ids") is not None else positional[0]
        seen.shapes.append(tuple(ids.shape))
        seen.caches.append(named.get("past_key_values"))

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@contextlib.contextmanager
def calls_of(module: Any) -> Iterator[list[Any]]:
    """The outputs of every call of a module."""
    outputs: list[Any] = []
    handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@contextlib.contextmanager
def returned(model: Any) -> Iterator[list[Any]]:
    """What the model's `generate` returns before the tool cuts it."""
    found: list[Any] = []
    real = model.generate

    def generate(*positional: Any, **named: Any) -> Any:
        found.append(real(*positional, **named))
        return found[-1]

    model.generate = generate
    try:
        yield found
    finally:
        del model.generate


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def require_continuous_batching() -> None:
    """Skip where the installed version cannot batch continuously on this machine."""
    import torch

    point = RealApi().surface("pytorch").entry_points.get("transformers.ContinuousBatchingConfig")
    if point is None and not torch.cuda.is_available():
        pytest.skip("needs CUDA: this transformers version sizes the cache by the GPU's memory alone")
