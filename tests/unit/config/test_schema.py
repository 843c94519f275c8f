"""The JSON Schema that `llem schema` prints: what an editor checks and shows."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from llenergymeasure.config.models import ExperimentConfig

LEAST: dict[str, Any] = {"model": "m", "prompts": ["one"], "pytorch": {}}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found = ExperimentConfig.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def problems(schema: dict[str, Any], fields: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema)
    return [error.message for error in validator.iter_errors({**LEAST, **fields})]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"pytorch": None},
        {"prompts": "work.txt"},
        {"prompts": {"file": "work.jsonl", "key": "text"}},
        {"prompts": {"synthetic": {"count": 4, "input_tokens": [16, 32]}}},
        {"input": {"max_tokens": 64, "overflow": "truncate_left"}, "output": {"max_tokens": 16, "min_tokens": 16}},
        {"measurement": {"warmup_batches": 2, "repeats": 3, "min_duration_s": 5, "energy": False}},
        {"pytorch": {"batch_size": 4, "device_map": {"lm_head": 0}}},
        {"pytorch": {"device_map": "auto", "max_memory": {0: "10GiB", "cpu": "3GiB"}}},
        {"pytorch": {"quantization": {"method": "bitsandbytes_4bit", "bnb_4bit_quant_type": "nf4"}}},
        {"pytorch": {"do_sample": True, "watermarking_config": {"kind": "synthid", "ngram_len": 5, "keys": [1, 2]}}},
        {"pytorch": {"exponential_decay_length_penalty": [4, 1.5], "sequence_bias": [[[9], -2.0]]}},
        {"passthrough": {"transformers.GenerationConfig": {"max_length": 20}}},
    ],
)
def test_it_takes_what_the_tool_takes(schema: dict[str, Any], fields: dict[str, Any]) -> None:
    ExperimentConfig.model_validate({**LEAST, **fields})
    assert problems(schema, fields) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"sede": 3},
        {"model": 3},
        {"model": ""},
        {"prompts": []},
        {"prompts": {"synthetic": {"count": 0, "input_tokens": 3}}},
        {"output": {"max_tokens": 0}},
        {"pytorch": {"num_beam": 2}},
        {"pytorch": {"num_beams": "two"}},
        {"pytorch": {"dtype": "bfloat"}},
        {"pytorch": {"top_p": 1.5}},
        {"pytorch": {"quantization": {"nbits": 4}}},
        {"pytorch": {"quantization": {"method": "gptqq"}}},
        {"pytorch": {"quantization": {"method": "hqq", "bits": 4}}},
    ],
)
def test_it_refuses_what_the_tool_refuses(schema: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ExperimentConfig.model_validate({**LEAST, **fields})
    assert problems(schema, fields)


def test_what_must_be_given_is_required(schema: dict[str, Any]) -> None:
    assert set(schema["required"]) == {"model", "prompts"}


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, section in {"": schema, **schema["$defs"]}.items():
        for key, value in section.get("properties", {}).items():
            yield f"{name}.{key}", value


def test_every_field_carries_its_description(schema: dict[str, Any]) -> None:
    bare = [
        path
        for path, field in properties(schema)
        # What selects a variant is explained by the variant's own description.
        if not field.get("description") and "const" not in field
    ]
    assert bare == []


def test_expected_effects_are_there_for_an_editor_to_show(schema: dict[str, Any]) -> None:
    effects = dict(properties(schema))["PyTorchConfig.batch_size"]["x-expected-effect"]
    assert "energy per token" in effects
