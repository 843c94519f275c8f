"""What a backend raises, in words that name the field and the way out."""

import pickle
from typing import Any

import pytest

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Calls, Loaded, lower
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import FROM_PRETRAINED, GENERATE, GENERATION_CONFIG, TOKENIZER
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


SENT = Calls(
    arguments={
        FROM_PRETRAINED: {"pretrained_model_name_or_path": "owner/name"},
        TOKENIZER: {"pretrained_model_name_or_path": "owner/words"},
        GENERATE: {"assistant_model": Loaded("owner/draft")},
    },
    origins={
        Target(FROM_PRETRAINED, "pretrained_model_name_or_path"): "model",
        Target(TOKENIZER, "pretrained_model_name_or_path"): "tokenizer",
        Target(GENERATE, "assistant_model"): "pytorch.assistant_model",
    },
)


def with_field(entry_point: str, name: str, value: object, path: str) -> Calls:
    return Calls({entry_point: {name: value}}, {Target(entry_point, name): path, **SENT.origins})


@pytest.mark.parametrize("value", ["cuda", "cuda:1", 0, {"": "cuda:0"}, {"model": "cpu", "lm_head": 1}, "mps"])
@pytest.mark.parametrize(
    "message",
    [
        "Torch not compiled with CUDA enabled",
        "Cannot access accelerator device when none is available.",
        "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
        "CUDA error: invalid device ordinal",
        "PyTorch is not linked with support for mps devices",
    ],
)
def test_a_device_that_is_not_here_is_named_by_its_field(value: object, message: str) -> None:
    calls = with_field(FROM_PRETRAINED, "device_map", value, "pytorch.device_map")
    found = explain(AssertionError(message), calls, "m", "loading")
    assert type(found) is EnvironmentLacksError
    assert found.cause.startswith("pytorch.device_map: the device is not here, while loading m: ")
    assert "llem doctor" in found.remedy
    assert "change pytorch.device_map" in found.remedy


@pytest.mark.parametrize(
    ("entry_point", "name", "value", "path", "message"),
    [
        (
            FROM_PRETRAINED,
            "max_memory",
            {0: "1GiB"},
            "pytorch.max_memory",
            "Cannot access accelerator device when none",
        ),
        (
            GENERATION_CONFIG,
            "cache_implementation",
            "offloaded",
            "pytorch.cache_implementation",
            "Torch not compiled with CUDA enabled",
        ),
        (
            FROM_PRETRAINED,
            "quantization_config",
            {},
            "pytorch.quantization",
            "No GPU or XPU found. A GPU or XPU is needed for FP8 quantization.",
        ),
    ],
)
def test_other_fields_that_need_a_device(entry_point: str, name: str, value: object, path: str, message: str) -> None:
    found = explain(RuntimeError(message), with_field(entry_point, name, value, path), "m", "loading")
    assert type(found) is EnvironmentLacksError
    assert found.cause.startswith(f"{path}: the device is not here")


def test_a_device_map_for_the_cpu_is_not_blamed() -> None:
    calls = with_field(FROM_PRETRAINED, "device_map", "cpu", "pytorch.device_map")
    found = explain(RuntimeError("Torch not compiled with CUDA enabled"), calls, "m", "loading")
    assert found.cause.startswith("the device is not here")


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (
            "We couldn't connect to 'https://hub' to load the files, and couldn't find them in the cached files.",
            "model: owner/name, tokenizer: owner/words, pytorch.assistant_model: owner/draft",
        ),
        ("Cannot reach https://hub/owner/words: offline mode is enabled", "tokenizer: owner/words"),
        ("[Errno -2] Name or service not known: owner/draft", "pytorch.assistant_model: owner/draft"),
    ],
)
def test_a_hub_that_cannot_be_reached_is_no_wrong_field(message: str, named: str) -> None:
    found = explain(OSError(message), SENT, "owner/name", "loading")
    assert type(found) is EnvironmentLacksError
    assert found.cause.startswith(f"{named}: not in the local cache, and the hub cannot be reached while loading: ")
    for way_out in ("a local folder", "a network", "HF_HUB_OFFLINE"):
        assert way_out in found.remedy


@pytest.mark.parametrize(
    ("error", "says", "remedy"),
    [
        (
            ValueError(
                "The checkpoint you are trying to load has model type `llamma` but Transformers does not recognize this"
                " architecture. You can update with `pip install --upgrade transformers`"
            ),
            "config.json: the installed transformers knows no model_type llamma",
            "correct model_type",
        ),
        (
            ValueError("Unrecognized model in m. Should have a `model_type` key in its config.json."),
            "config.json",
            "copy",
        ),
        (
            ValueError(
                "Unrecognized configuration class <class 'transformers.models.vit.configuration_vit.ViTConfig'> for "
                "this kind of AutoModel: AutoModelForCausalLM."
            ),
            "a model of type ViT generates no text",
            "decoder-only",
        ),
        (
            OSError("It looks like the config file at './m/config.json' is not a valid JSON file."),
            "./m/config.json: not valid JSON",
            "download",
        ),
        (
            TypeError("Validation error for field 'hidden_size':\n    TypeError: expected int, got str"),
            "config.json: hidden_size: TypeError: expected int, got str",
            "correct it",
        ),
        (
            RuntimeError("Error while deserializing header: header too small"),
            "a .safetensors file is broken or cut off: header too small",
            "again",
        ),
        (
            FileNotFoundError("No such file or directory: ./m/model-00001-of-00002.safetensors"),
            "./m/model-00001-of-00002.safetensors: no such file",
            "copy",
        ),
        (
            OSError("owner/name does not appear to have a file named config.json. Checkout 'https://hub'"),
            "it has no file config.json",
            "check the name",
        ),
        (
            OSError("owner/name is not a local folder and is not a valid model identifier listed on 'https://hub'"),
            "the hub shows no such repository",
            "HF_TOKEN",
        ),
        (OSError("You are trying to access a gated repo."), "only to those it has authorized", "HF_TOKEN"),
    ],
)
def test_a_model_that_cannot_be_read_is_a_wrong_request(error: Exception, says: str, remedy: str) -> None:
    found = explain(error, SENT, "owner/name", "loading")
    assert type(found) is RequestError
    assert found.cause.startswith("model: owner/name: ")
    assert says in found.cause
    assert remedy in found.remedy
    assert "\n" not in found.cause


def test_the_model_that_a_message_speaks_of_is_named() -> None:
    error = ValueError("Unrecognized model in owner/draft. Should have a `model_type` key in its config.json.")
    assert explain(error, SENT, "owner/name", "loading").cause.startswith("pytorch.assistant_model: owner/draft: ")


def test_our_own_error_stays_as_it_is() -> None:
    own = FindingError("cause", "remedy")
    assert explain(own, CALLS, "m", "loading") is own


def test_only_the_first_line_that_says_something_is_kept() -> None:
    assert first_line(ValueError("\n\n  what happened  \nand a page of advice")) == "what happened"
    assert first_line(ValueError("")) == "ValueError"
    assert first_line(ValueError("It failed:\n  two is odd")) == "It failed: two is odd"


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


@pytest.mark.parametrize(
    ("pytorch", "message", "field"),
    [
        ({"attn_implementation": "flash_attention_2"}, "FlashAttention2 is not installed", "attn_implementation"),
        ({"quantization": {"method": "hqq"}}, "A valid HQQ version is not available: pip install hqq", "quantization"),
        ({"use_kernels": True}, "`kernels` is not installed", "use_kernels"),
    ],
    ids=["by its value", "by its class", "by its name"],
)  # fmt: skip
def test_the_field_that_needs_the_package_is_named(pytorch: dict[str, Any], message: str, field: str) -> None:
    calls = lower(
        ExperimentConfig.model_validate({"model": "m", "prompts": ["a"], "pytorch": {"dtype": "float32", **pytorch}})
    )
    error = explain(ImportError(message), calls, "m", "loading")
    assert isinstance(error, EnvironmentLacksError)
    assert error.cause == f"pytorch.{field}: loading m needs a package that is not here: {message}"
    assert error.remedy == f"install what the message names, or change pytorch.{field}"
