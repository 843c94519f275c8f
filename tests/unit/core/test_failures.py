"""What a backend raises, in words that name the field and the way out."""

import pickle

import pytest

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Calls
from llenergymeasure.config.pytorch.entry_points import FROM_PRETRAINED, GENERATION_CONFIG
from llenergymeasure.core.failures import explain, first_line, mentioned
from llenergymeasure.errors import EnvironmentLacksError, FindingError, LlemError, RequestError

CALLS = Calls(
    origins={
        Target(GENERATION_CONFIG, "num_beams"): "pytorch.num_beams",
        Target(GENERATION_CONFIG, "max_new_tokens"): "output.max_tokens",
        Target(FROM_PRETRAINED, "quantization_config"): "pytorch.quantization",
        Target(FROM_PRETRAINED, "dtype"): "pytorch.dtype",
    }
)


@pytest.mark.parametrize(
    ("error", "kind", "cause", "remedy"),
    [
        (
            RuntimeError("CUDA out of memory. Tried to allocate 3 GiB"),
            EnvironmentLacksError,
            "out of memory while loading m: CUDA out of memory. Tried to allocate 3 GiB",
            "lower the batch size",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
            EnvironmentLacksError,
            "out of memory while loading m",
            "lower the batch size",
        ),
        (
            ImportError("Using `bitsandbytes` requires it: `pip install bitsandbytes`"),
            EnvironmentLacksError,
            "loading m needs a package that is not here: Using `bitsandbytes` requires it",
            "install what the message names",
        ),
        (
            ModuleNotFoundError("No module named 'gguf'"),
            EnvironmentLacksError,
            "loading m needs a package that is not here: No module named 'gguf'",
            "install what the message names",
        ),
        (
            ValueError("FlashAttention2 is not installed"),
            EnvironmentLacksError,
            "loading m needs a package that is not here",
            "install",
        ),
        (
            ValueError("`num_beams` has to be above 1"),
            RequestError,
            "pytorch.num_beams: refused while loading m: `num_beams` has to be above 1",
            "change or remove pytorch.num_beams",
        ),
        (
            ValueError("`max_new_tokens` and `num_beams` clash"),
            RequestError,
            "pytorch.num_beams, output.max_tokens: refused while loading m",
            "change or remove pytorch.num_beams or output.max_tokens",
        ),
        (
            TypeError("got an unexpected keyword argument 'quantization_config'"),
            RequestError,
            "pytorch.quantization: refused while loading m",
            "pytorch.quantization",
        ),
        (
            KeyError("nothing we know"),
            RequestError,
            "m: failed while loading (KeyError): 'nothing we know'",
            "the backend's documentation",
        ),
        # A part of a longer word is no mention.
        (ValueError("num_beams_total is odd"), RequestError, "m: failed while loading (ValueError)", ""),
        (RuntimeError(), RequestError, "m: failed while loading (RuntimeError): RuntimeError", ""),
    ],
)
def test_a_backends_exception_becomes_an_error_with_a_remedy(
    error: Exception, kind: type[LlemError], cause: str, remedy: str
) -> None:
    found = explain(error, CALLS, "m", "loading")
    assert type(found) is kind
    assert found.cause.startswith(cause)
    assert "\n" not in found.cause
    assert remedy in found.remedy


def test_our_own_error_stays_as_it_is() -> None:
    own = FindingError("cause", "remedy")
    assert explain(own, CALLS, "m", "loading") is own


def test_only_the_first_line_that_says_something_is_kept() -> None:
    assert first_line(ValueError("\n\n  what happened  \nand a page of advice")) == "what happened"
    assert first_line(ValueError("")) == "ValueError"


def test_mentions_are_whole_names_in_the_order_of_the_fields() -> None:
    assert mentioned("dtype before num_beams", CALLS.origins) == ["pytorch.num_beams", "pytorch.dtype"]
    assert mentioned("nothing", CALLS.origins) == []


@pytest.mark.parametrize(
    ("kind", "code"), [(FindingError, 1), (RequestError, 2), (EnvironmentLacksError, 3), (LlemError, 1)]
)
def test_every_error_has_its_exit_code_and_can_be_sent_home(kind: type[LlemError], code: int) -> None:
    error = kind("the cause", "the remedy")
    assert error.exit_code == code
    assert str(error) == "the cause\nthe remedy"
    assert str(kind("the cause")) == "the cause"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), again.cause, again.remedy) == (kind, "the cause", "the remedy")
