"""Rung `accepted` on the real API: what it says of each field, and that it notices an API which swallows a value."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from llenergymeasure.audit.accepted import acceptor
from llenergymeasure.audit.coverage import absence, fields_of
from llenergymeasure.config.bindings import BoundField
from llenergymeasure.config.pytorch.entry_points import (
    AUTOCAST,
    FROM_PRETRAINED,
    GENERATE,
    GENERATE_BATCH,
    PAD,
    TOKENIZE,
    TOKENIZER,
    TORCH_COMPILE,
)
from llenergymeasure.core.api import RealApi
from llenergymeasure.surface.model import Surface

CALLS = (AUTOCAST, FROM_PRETRAINED, GENERATE, GENERATE_BATCH, PAD, TOKENIZE, TOKENIZER, TORCH_COMPILE)
Accept = Callable[[BoundField, Surface], str]
FIELDS = {field.path: field for field in fields_of("pytorch")}


@pytest.fixture(scope="module")
def accept() -> Accept:
    return acceptor("pytorch")


@pytest.fixture(scope="module")
def surface() -> Surface:
    return RealApi().surface("pytorch")


def field(path: str, surface: Surface) -> BoundField:
    if why := absence(FIELDS[path], surface):
        pytest.skip(f"needs a transformers version that has it: {why}")
    return FIELDS[path]


@pytest.mark.parametrize(
    "path",
    [
        "model",
        "revision",
        "seed",
        "pytorch.add_special_tokens",
        "pytorch.assistant_model",
        "pytorch.attn_implementation",
        "pytorch.autocast",
        "pytorch.code_revision",
        "pytorch.device_map",
        "pytorch.dtype",
        "pytorch.gguf_file",
        "pytorch.num_beams",
        "pytorch.offload_buffers",
        "pytorch.offload_folder",
        "pytorch.padding",
        "pytorch.subfolder",
        "pytorch.torch_compile.mode",
        "pytorch.trust_remote_code",
        "pytorch.use_safetensors",
        "pytorch.variant",
    ],
)
def test_what_the_api_confirms_is_accepted(path: str, accept: Accept, surface: Surface) -> None:
    assert accept(field(path, surface), surface) == ""


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("pytorch.batch_size", "the tool's own: no object of the API takes it"),
        ("pytorch.tp_size", "OSError: We tried to initialize torch.distributed for you"),
        ("pytorch.continuous_batching.slice_inputs", "taken, and shown by nothing that "),
        ("pytorch.continuous_batching.num_q_padding_intervals", "taken, and shown by nothing that "),
    ],
)
def test_what_it_cannot_confirm_stays_below_with_the_reason(
    path: str, why: str, accept: Accept, surface: Surface
) -> None:
    assert accept(field(path, surface), surface).startswith(why)


@pytest.fixture
def swallowed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of arguments that the API takes from now on without a word, and does not get."""
    names: set[str] = set()
    real = RealApi.resolve

    def resolve(self: RealApi, path: str) -> Any:
        found = real(self, path)
        if path not in CALLS or inspect.isclass(found):
            return found
        return lambda *given, **named: found(*given, **{key: item for key, item in named.items() if key not in names})

    monkeypatch.setattr(RealApi, "resolve", resolve)
    return names


def _of_calls(surface: Surface) -> list[BoundField]:
    taken = {
        found.path: found
        for found in FIELDS.values()
        if any(target.entry_point in (FROM_PRETRAINED, TOKENIZER, TORCH_COMPILE) for target in found.targets("pytorch"))
    }
    return [found for found in taken.values() if absence(found, surface) is None]


def test_an_api_that_swallows_an_option_is_noticed(accept: Accept, surface: Surface, swallowed: set[str]) -> None:
    """Every option of loading and compiling, one after another, is taken and dropped: none of them may be accepted."""
    survivors = []
    for found in _of_calls(surface):
        swallowed.clear()
        swallowed.update(target.name for target in found.targets("pytorch"))
        if not accept(found, surface):
            survivors.append(found.path)
    assert survivors == []
    assert len(_of_calls(surface)) > 20
