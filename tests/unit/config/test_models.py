"""Rules of an experiment that hold on every backend."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from llenergymeasure.config.backend_configs import PyTorchConfig
from llenergymeasure.config.models import ExperimentConfig, Synthetic
from llenergymeasure.config.pytorch.entry_points import TOKENIZE

LEAST: dict[str, Any] = {"model": "m", "prompts": ["one"], "pytorch": {}}


def refused(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        ExperimentConfig.model_validate({**LEAST, **fields})
    return "; ".join(problem["msg"] for problem in caught.value.errors())


def test_what_is_not_set_stays_untouched() -> None:
    config = ExperimentConfig.model_validate(LEAST)
    assert config.pytorch is not None
    assert set(config.pytorch.model_dump().values()) == {None}
    assert config.backend == "pytorch"
    assert config.section is config.pytorch


def test_a_configuration_cannot_be_changed_after_it_was_checked() -> None:
    config = ExperimentConfig.model_validate(LEAST)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


def test_the_dump_of_a_configuration_loads_as_the_same() -> None:
    config = ExperimentConfig.model_validate(
        {**LEAST, "output": {"max_tokens": 3}, "pytorch": {"quantization": {"method": "hqq", "nbits": 4}}}
    )
    assert ExperimentConfig.model_validate(config.model_dump(mode="json", exclude_none=True)) == config


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ({}, "exactly one of inline, file, synthetic; this gives none"),
        ({"inline": ["a"], "file": "x.txt"}, "this gives inline and file"),
        ({"inline": []}, "at least 1 item"),
        ({"synthetic": {"count": 0, "input_tokens": 3}}, "greater than or equal to 1"),
        ({"synthetic": {"count": 2, "input_tokens": 0}}, "at least 1"),
        ({"synthetic": {"count": 2, "input_tokens": []}}, "at least 1"),
        ({"synthetic": {"count": 2, "input_tokens": [3, -1]}}, "at least 1"),
        ({"synthetic": {"count": 2, "input_tokens": 3, "seed": -1}}, "greater than or equal to 0"),
        ({"synthetic": {"count": 2, "input_tokens": 3}, "chat_template": True}, "chat_template would be ignored"),
        ({"inline": ["a"], "key": "text"}, "key would be ignored"),
        ({"file": "x.txt", "key": "text"}, "key would be ignored"),
    ],
)
def test_prompts_come_from_one_source_and_nothing_about_it_is_idle(prompts: dict[str, Any], says: str) -> None:
    assert says in refused(prompts=prompts)


@pytest.mark.parametrize(
    ("count", "given", "lengths"),
    [(3, 7, [7, 7, 7]), (5, [2, 9], [2, 9, 2, 9, 2]), (1, [4, 5], [4])],
)
def test_lengths_repeat_until_every_prompt_has_one(count: int, given: int | list[int], lengths: list[int]) -> None:
    assert Synthetic(count=count, input_tokens=given).lengths == lengths


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": ""}, "at least 1 character"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": 2**32}, "less than 4294967296"),
        ({"input": {"max_tokens": 0}}, "greater than or equal to 1"),
        ({"input": {"overflow": "truncate_right"}}, "overflow would be ignored"),
        ({"output": {"max_tokens": 0}}, "greater than or equal to 1"),
        ({"output": {"max_tokens": 3, "min_tokens": 4}}, "min_tokens (4) is above max_tokens (3)"),
        ({"output": {"min_tokens": 1}, "pytorch": {"min_new_tokens": 1}}, "contradicts output.min_tokens"),
        ({"output": {"max_tokens": 3}, "pytorch": {"min_new_tokens": 4}}, "is above output.max_tokens (3)"),
        ({"measurement": {"repeats": 0}}, "greater than or equal to 1"),
        ({"measurement": {"warmup_batches": -1}}, "greater than or equal to 0"),
        ({"measurement": {"min_duration_s": -1}}, "greater than or equal to 0"),
        ({"pytorch": {"min_length": 9}, "output": {"min_tokens": 3}}, "min_length contradicts output.min_tokens"),
        ({"passthrough": {"transformers.GenerationConfig": 3}}, "valid dictionary"),
    ],
)
def test_bounds_and_contradictions(fields: dict[str, Any], says: str) -> None:
    assert says in refused(**fields)


def test_a_configuration_without_a_backend_says_which_there_are() -> None:
    with pytest.raises(ValidationError, match=r"exactly one backend section \(pytorch, vllm\); this gives none"):
        ExperimentConfig.model_validate({"model": "m", "prompts": ["one"]})


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"num_beams": True}, "takes a number"),
        ({"num_beams": "2"}, "takes a number"),
        ({"temperature": "0.5"}, "takes a number"),
        ({"do_sample": "yes"}, "takes true or false"),
        ({"early_stopping": "sometimes", "num_beams": 2}, "takes true or false"),
    ],
)
def test_a_value_of_another_kind_is_not_read_as_the_one_meant(written: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PyTorchConfig.model_validate(written)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"pytorch": {"add_special_tokens": False}}, "pytorch.add_special_tokens would be ignored"),
        ({"pytorch": {"token_healing": True}}, "pytorch.token_healing needs text"),
        (
            {"passthrough": {TOKENIZE: {"split_special_tokens": True}}, "pytorch": {}},
            f"passthrough.{TOKENIZE}.split_special_tokens would be ignored",
        ),
    ],
    ids=["field", "healing", "passthrough"],
)
def test_how_texts_become_tokens_is_ignored_where_there_is_no_text(more: dict[str, Any], says: str) -> None:
    made = {"synthetic": {"count": 1, "input_tokens": 4}}
    ExperimentConfig.model_validate({"model": "m", "prompts": ["a"], **more})
    with pytest.raises(ValidationError, match=re.escape(says)):
        ExperimentConfig.model_validate({"model": "m", "prompts": made, **more})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"assistant_model": "a", "num_beams": 2}, "contradicts num_beams above 1"),
        ({"assistant_early_exit": 1, "num_beams": 2}, "contradicts num_beams above 1"),
        ({"assistant_model": "a", "assistant_early_exit": 1}, "contradicts assistant_model"),
        ({"prompt_lookup_num_tokens": 3, "cache_implementation": "static"}, "contradicts cache_implementation"),
        ({"assistant_model": "a", "prefill_chunk_size": 2}, "contradicts prefill_chunk_size"),
        ({"min_length": 5, "batch_size": 2}, "contradicts batch_size above 1"),
        ({"min_length": 5, "min_new_tokens": 2}, "contradicts min_new_tokens"),
        ({"autocast": "bfloat16", "dtype": "float64"}, "contradicts dtype"),
    ],
)
def test_what_decoding_would_leave_out_is_refused(fields: dict[str, Any], why: str) -> None:
    assert why in refused(pytorch=fields)
