"""What tests of requests share: asking a running engine as the tool does, one configuration after the other."""

import copy
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.vllm.entry_points import LLM
from llenergymeasure.core.api import RealApi
from llenergymeasure.core.batching import BatchOutput, Prompt
from llenergymeasure.core.checks import check_against, sent_parameters
from llenergymeasure.core.inference_backends.base import Share
from llenergymeasure.core.inference_backends.vllm import VLLMBackend
from llenergymeasure.core.session import calls_on
from llenergymeasure.surface.model import Surface

from .conftest import QUICK, Engines

# With 32 bits a token's score hardly depends on what else is in the batch: answers can be compared across batches.
ENGINE: Mapping[str, Any] = {**QUICK, "dtype": "float32"}
GREEDY: Mapping[str, Any] = {"temperature": 0}
PROMPTS = (tuple(range(5, 45)), (9, 10, 11), (30, 31) * 8)
MAX_TOKENS = 16
BOS, EOS = 0, 1

Ask = Callable[..., "Answered"]


@dataclass(frozen=True)
class Answered:
    """One call's answer, as vLLM returned it and as the tool counted it."""

    returned: Sequence[Any]
    output: BatchOutput
    backend: VLLMBackend

    @property
    def ids(self) -> list[tuple[int, ...]]:
        """The first sequence of each prompt."""
        return [group[0] for group in self.output.sequences]

    @property
    def counts(self) -> list[int]:
        return [len(ids) for ids in self.ids]

    @property
    def texts(self) -> list[str]:
        return [request.outputs[0].text for request in self.returned]


def asking(engines: Engines) -> Ask:
    """A function that asks what a configuration asks for, and answers; every call starts from the seed.

    `ask({"top_k": 1}, prompts=[(5, 6)], output={"max_tokens": 3})`: an engine is loaded where the open one runs with
    something else than the configuration says; what only requests carry is asked of the engine that is there.
    """

    def ask(
        vllm: Mapping[str, Any] | None = None,
        *,
        prompts: Iterable[Sequence[int]] = PROMPTS,
        replica: int = 0,
        **settings: Any,
    ) -> Answered:
        backend = backend_on(engines, vllm or {}, **settings)
        backend.seed(replica)
        (batch,) = backend.prepare([Prompt(index, tuple(ids)) for index, ids in enumerate(prompts)])
        answer = backend.generate(batch)
        return Answered(answer.returned, backend.count(answer), backend)

    return ask


def backend_on(engines: Engines, vllm: Mapping[str, Any], **settings: Any) -> VLLMBackend:
    """A backend of the whole configuration, on the open engine where that is the engine it would load."""
    data = copy.deepcopy({"model": "model", "output": {"max_tokens": MAX_TOKENS}, **settings})
    section = {**ENGINE, **vllm}
    config = ExperimentConfig.model_validate({"prompts": ["x"], **data, "vllm": section})
    having = surface()
    require(config, having)
    calls = check_against(config, having)
    if engines._open is None or engines._open.calls[LLM] != calls[LLM]:
        return engines.fresh(section, **data)
    backend = VLLMBackend(calls, Loaded(engines._open.llm), Share())
    backend.load()
    return backend


class Loaded(RealApi):
    """The real API, but for the engine: it is there already."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    def resolve(self, path: str) -> Any:
        return (lambda **_: self._llm) if path == LLM else super().resolve(path)


@functools.cache
def surface() -> Surface:
    """What the installed version accepts."""
    return RealApi().surface("vllm")


def require(config: ExperimentConfig, having: Surface) -> None:
    """Skip where the installed version has no such parameters."""
    sent = sent_parameters(calls_on(config, having))
    own = [target for target, _, _ in sent if target.backend]
    lacking = [str(target) for target in own if not having.find(target.entry_point, target.name)]
    if lacking:
        pytest.skip(f"needs a vLLM version with {', '.join(lacking)}: {having.version} has none")


def letters(ask: Ask, text: str = "abcdefgh") -> list[int]:
    """The tokens that stand for single letters: what an answer of them says can be read."""
    tokenizer = ask(output={"max_tokens": 1}).backend.tokenizer
    found = [tokenizer.encode(letter) for letter in text]
    assert all(len(ids) == 1 for ids in found)
    return [ids[0] for ids in found]
