"""From what a user set to the keyword arguments of each entry point, and nothing else."""

from typing import Any

import pytest

from llenergymeasure.config.bindings import Target, walk
from llenergymeasure.config.lowering import Build, Calls, Loaded, Ref, as_document, lower, plain
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import (
    AUTOCAST,
    FROM_PRETRAINED,
    GENERATE,
    GENERATE_BATCH,
    GENERATION_CONFIG,
    MAKE_BATCHES,
    MATMUL_PRECISION,
    PAD,
    PLAN_REPLICAS,
    SET_SEED,
    TOKENIZE,
    TOKENIZER,
    TORCH_COMPILE,
)

# What an experiment needs before any field of the backend is set.
ALWAYS = {
    FROM_PRETRAINED: {"pretrained_model_name_or_path": "m"},
    TOKENIZER: {"pretrained_model_name_or_path": "m"},
    GENERATION_CONFIG: {"max_new_tokens": 128},
    SET_SEED: {"seed": 0},
}


def lowered(pytorch: dict[str, Any] | None = None, **fields: Any) -> Calls:
    config = {"model": "m", "prompts": ["one"], "pytorch": pytorch or {}, **fields}
    return lower(ExperimentConfig.model_validate(config))


def added(calls: Calls) -> dict[str, dict[str, Any]]:
    """What is sent beside what every experiment sends."""
    found = {
        entry_point: {
            name: value
            for name, value in arguments.items()
            if name not in ALWAYS.get(entry_point, {}) or ALWAYS[entry_point][name] != value
        }
        for entry_point, arguments in calls.arguments.items()
    }
    return {
        entry_point: arguments for entry_point, arguments in found.items() if arguments or entry_point not in ALWAYS
    }


def test_none_sends_nothing() -> None:
    assert lowered().arguments == ALWAYS


@pytest.mark.parametrize(
    ("pytorch", "sent"),
    [
        # a field's own name at its section's entry point
        ({"num_beams": 2}, {GENERATION_CONFIG: {"num_beams": 2}}),
        ({"use_safetensors": True}, {FROM_PRETRAINED: {"use_safetensors": True}}),
        ({"use_cache": False}, {GENERATION_CONFIG: {"use_cache": False}}),
        ({"top_k": 0, "do_sample": True}, {GENERATION_CONFIG: {"top_k": 0, "do_sample": True}}),
        # several targets
        (
            {"trust_remote_code": False},
            {FROM_PRETRAINED: {"trust_remote_code": False}, TOKENIZER: {"trust_remote_code": False}},
        ),
        ({"subfolder": "inner"}, {FROM_PRETRAINED: {"subfolder": "inner"}, TOKENIZER: {"subfolder": "inner"}}),
        # another name, another place
        ({"batch_size": 3}, {MAKE_BATCHES: {"batch_size": 3}}),
        ({"num_processes": 2}, {PLAN_REPLICAS: {"num_processes": 2}}),
        ({"add_special_tokens": False}, {TOKENIZE: {"add_special_tokens": False}}),
        (
            {"padding": "max_length", "padding_length": 32},
            {PAD: {"padding": "max_length", "max_length": 32}},
        ),
        # conversions
        ({"dtype": "bfloat16"}, {FROM_PRETRAINED: {"dtype": Ref("torch.bfloat16")}}),
        ({"dtype": "auto"}, {FROM_PRETRAINED: {"dtype": "auto"}}),
        ({"allow_tf32": True}, {MATMUL_PRECISION: {"precision": "high"}}),
        ({"allow_tf32": False}, {MATMUL_PRECISION: {"precision": "highest"}}),
        ({"autocast": "bfloat16"}, {AUTOCAST: {"dtype": Ref("torch.bfloat16")}}),
        ({"assistant_model": "draft"}, {GENERATE: {"assistant_model": Loaded("draft")}}),
        (
            {"use_kernels": True, "kernel_config": {"RMSNorm": "some/kernel"}},
            {
                FROM_PRETRAINED: {
                    "use_kernels": True,
                    "kernel_config": Build("transformers.KernelConfig", {"kernel_mapping": {"RMSNorm": "some/kernel"}}),
                }
            },
        ),
        # a nested section becomes one object with exactly its arguments, switches of its method included
        (
            {"quantization": {"method": "bitsandbytes_4bit", "bnb_4bit_compute_dtype": "float16"}},
            {
                FROM_PRETRAINED: {
                    "quantization_config": Build(
                        "transformers.BitsAndBytesConfig",
                        {"load_in_4bit": True, "bnb_4bit_compute_dtype": Ref("torch.float16")},
                    )
                }
            },
        ),
        (
            {"quantization": {"method": "hqq"}},
            {FROM_PRETRAINED: {"quantization_config": Build("transformers.HqqConfig", {})}},
        ),
        (
            {"do_sample": True, "watermarking_config": {"kind": "greenlist", "bias": 1.5}},
            {
                GENERATION_CONFIG: {
                    "do_sample": True,
                    "watermarking_config": Build("transformers.WatermarkingConfig", {"bias": 1.5}),
                }
            },
        ),
        (
            {"cache_implementation": "static", "compile_config": {"fullgraph": True}},
            {
                GENERATION_CONFIG: {
                    "cache_implementation": "static",
                    "compile_config": Build("transformers.CompileConfig", {"fullgraph": True}),
                }
            },
        ),
        # … or a plain mapping, where the backend wants one
        (
            {"cache_implementation": "quantized", "cache_config": {"nbits": 4}},
            {GENERATION_CONFIG: {"cache_implementation": "quantized", "cache_config": {"nbits": 4}}},
        ),
        # a section that is a call of its own: there even when it sets nothing
        ({"torch_compile": {}}, {TORCH_COMPILE: {}}),
        ({"torch_compile": {"mode": "default"}}, {TORCH_COMPILE: {"mode": "default"}}),
        ({"continuous_batching": {}}, {GENERATE_BATCH: {}}),
        (
            {"continuous_batching": {"page_size": 16}},
            {
                GENERATE_BATCH: {
                    "continuous_batching_config": Build("transformers.ContinuousBatchingConfig", {"page_size": 16})
                }
            },
        ),
        ({"continuous_batching": {"persistent_manager": True}}, {GENERATE_BATCH: {"persistent_manager": True}}),
        (
            {"continuous_batching": {"decode_compile_config": {"dynamic": True}}},
            {
                GENERATE_BATCH: {
                    "continuous_batching_config": Build(
                        "transformers.ContinuousBatchingConfig",
                        {"decode_compile_config": Build("transformers.CompileConfig", {"dynamic": True})},
                    )
                }
            },
        ),
    ],
)
def test_only_what_is_set_is_sent(pytorch: dict[str, Any], sent: dict[str, dict[str, Any]]) -> None:
    assert added(lowered(pytorch)) == sent


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"seed": 7}, {SET_SEED: {"seed": 7}}),
        ({"output": {"max_tokens": 5}}, {GENERATION_CONFIG: {"max_new_tokens": 5}}),
        ({"output": {"min_tokens": 5}}, {GENERATION_CONFIG: {"min_new_tokens": 5}}),
        ({"revision": "v2"}, {FROM_PRETRAINED: {"revision": "v2"}, TOKENIZER: {"revision": "v2"}}),
        ({"tokenizer": "t"}, {TOKENIZER: {"pretrained_model_name_or_path": "t"}}),
        # the model's revision is none of the tokenizer's
        (
            {"tokenizer": "t", "revision": "v2"},
            {FROM_PRETRAINED: {"revision": "v2"}, TOKENIZER: {"pretrained_model_name_or_path": "t"}},
        ),
        (
            {"tokenizer": "t", "revision": "v2", "tokenizer_revision": "v3"},
            {
                FROM_PRETRAINED: {"revision": "v2"},
                TOKENIZER: {"pretrained_model_name_or_path": "t", "revision": "v3"},
            },
        ),
        (
            {"tokenizer": "t", "pytorch": {"subfolder": "inner", "gguf_file": "x.gguf", "trust_remote_code": True}},
            {
                FROM_PRETRAINED: {"subfolder": "inner", "gguf_file": "x.gguf", "trust_remote_code": True},
                TOKENIZER: {"pretrained_model_name_or_path": "t", "trust_remote_code": True},
            },
        ),
        # the tool's own settings are no parameters of the backend
        ({"input": {"max_tokens": 9}, "measurement": {"repeats": 2}}, {}),
        (
            {"passthrough": {GENERATION_CONFIG: {"max_length": 50}, TOKENIZER: {"bos_token": "<s>"}}},
            {GENERATION_CONFIG: {"max_length": 50}, TOKENIZER: {"bos_token": "<s>"}},
        ),
    ],
)
def test_what_all_backends_share(fields: dict[str, Any], sent: dict[str, dict[str, Any]]) -> None:
    given = dict(fields)
    assert added(lowered(given.pop("pytorch", None), **given)) == sent


def test_every_argument_knows_the_field_it_came_from() -> None:
    calls = lowered(
        {"num_beams": 2, "quantization": {"method": "hqq", "nbits": 4}, "continuous_batching": None},
        passthrough={TOKENIZER: {"bos_token": "<s>"}},
    )
    assert calls.origins[Target(GENERATION_CONFIG, "num_beams")] == "pytorch.num_beams"
    assert calls.origins[Target(GENERATION_CONFIG, "max_new_tokens")] == "output.max_tokens"
    assert calls.origins[Target(FROM_PRETRAINED, "quantization_config")] == "pytorch.quantization"
    assert calls.origins[Target(TOKENIZER, "bos_token")] == f"passthrough.{TOKENIZER}.bos_token"
    assert {(target.entry_point, target.name) for target in calls.origins} == {
        (entry_point, name) for entry_point, arguments in calls.arguments.items() for name in arguments
    }


def test_a_tokenizer_of_its_own_leaves_no_origin_of_what_it_does_not_get() -> None:
    calls = lowered({"subfolder": "inner"}, tokenizer="t", revision="v2")
    assert Target(TOKENIZER, "subfolder") not in calls.origins
    assert Target(TOKENIZER, "revision") not in calls.origins
    assert calls.origins[Target(TOKENIZER, "pretrained_model_name_or_path")] == "tokenizer"


CONTINUOUS = "transformers.ContinuousBatchingConfig"


@pytest.mark.parametrize(
    ("present", "sent"),
    [
        pytest.param(
            {CONTINUOUS},
            {"continuous_batching_config": Build(CONTINUOUS, {"allow_block_sharing": False})},
            id="the newer place",
        ),
        pytest.param({GENERATE_BATCH}, {"allow_block_sharing": False}, id="the older place"),
        pytest.param(
            set(),
            {
                "allow_block_sharing": False,
                "continuous_batching_config": Build(CONTINUOUS, {"allow_block_sharing": False}),
            },
            id="neither: it stays everywhere, to be refused",
        ),
    ],
)
def test_a_field_goes_where_the_version_has_its_parameter(present: set[str], sent: dict[str, Any]) -> None:
    config = ExperimentConfig.model_validate(
        {"model": "m", "prompts": ["one"], "pytorch": {"continuous_batching": {"allow_block_sharing": False}}}
    )

    def has(target: Target) -> bool:
        return target.name != "allow_block_sharing" or target.entry_point in present

    assert lower(config, has)[GENERATE_BATCH] == sent


@pytest.mark.parametrize(
    ("value", "readable"),
    [
        (Ref("torch.float16"), "torch.float16"),
        (Loaded("draft"), "model(draft)"),
        (Build("a.Config", {"x": Ref("torch.int8"), "y": [1, 2]}), "a.Config(x=torch.int8, y=[1, 2])"),
        (Build("a.Config", {"x": Build("b.Part", {"name": "n"})}), "a.Config(x=b.Part(name='n'))"),
        ({0: Ref("torch.int8")}, {"0": "torch.int8"}),
        ((1, (2, 3)), [1, [2, 3]]),
        (None, None),
    ],
)
def test_what_is_sent_can_be_read(value: Any, readable: Any) -> None:
    assert plain(value) == readable


def test_the_document_holds_the_backends_calls_only() -> None:
    document = as_document(lowered({"batch_size": 3, "dtype": "float16"}))
    assert document == {**ALWAYS, FROM_PRETRAINED: {"pretrained_model_name_or_path": "m", "dtype": "torch.float16"}}


def test_a_fields_parameter_stands_under_a_name_of_the_backends_package() -> None:
    """A target that names no package of the backend would be dropped by every version."""
    foreign = [
        (field.path, target.entry_point)
        for field in walk(ExperimentConfig, "pytorch")
        for target in field.targets("pytorch")
        if not target.entry_point.startswith(("transformers.", "torch.", "torchao.", "llenergymeasure."))
    ]
    assert foreign == []


def test_options_of_a_compilation_take_the_place_of_its_mode() -> None:
    """Their class has a mode by default, and torch refuses the two together."""
    calls = lowered({"cache_implementation": "static", "compile_config": {"options": {"max_autotune": True}}})
    made = calls[GENERATION_CONFIG]["compile_config"]
    assert dict(made.arguments) == {"options": {"max_autotune": True}, "mode": None}
    plain = lowered({"cache_implementation": "static", "compile_config": {"backend": "eager"}})
    assert dict(plain[GENERATION_CONFIG]["compile_config"].arguments) == {"backend": "eager"}
