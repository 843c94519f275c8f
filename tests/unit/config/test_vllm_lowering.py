"""What a configuration sends to vLLM: limits that belong to either of two calls, names that moved, objects."""

from typing import Any

import pytest

from llenergymeasure.config.lowering import Build, Calls, lower
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.vllm.entry_points import (
    BEAM_SEARCH,
    BEAM_SEARCH_PARAMS,
    GENERATE,
    LLM,
    SAMPLING_PARAMS,
)
from llenergymeasure.core.checks import check_against
from llenergymeasure.core.session import calls_on
from llenergymeasure.errors import RequestError
from llenergymeasure.surface import snapshots

VERSIONS = snapshots.versions("vllm")


def configured(vllm: dict[str, Any] | None = None, **fields: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"model": "m", "prompts": ["one", "two"], "vllm": vllm or {}, **fields})


def sent(vllm: dict[str, Any] | None = None, *, version: str = "0.32.0", **fields: Any) -> Calls:
    return calls_on(configured(vllm, **fields), snapshots.load("vllm", version))


class TestTheLimitOnTokens:
    """`output` means the same on every backend; vLLM has a class for it in each of its two ways to generate."""

    def test_is_sampling_params(self) -> None:
        calls = sent(output={"max_tokens": 8, "min_tokens": 2})
        assert calls[SAMPLING_PARAMS] == {"max_tokens": 8, "min_tokens": 2}
        assert BEAM_SEARCH_PARAMS not in calls
        assert BEAM_SEARCH not in calls

    def test_is_that_of_beam_search_alone_where_that_generates(self) -> None:
        calls = sent({"beam_search": {"beam_width": 2}}, output={"max_tokens": 8})
        assert calls[BEAM_SEARCH_PARAMS] == {"max_tokens": 8, "beam_width": 2}
        assert SAMPLING_PARAMS not in calls
        assert GENERATE not in calls

    def test_from_below_is_refused_where_beam_search_has_none(self) -> None:
        config = configured({"beam_search": {"beam_width": 2}}, output={"max_tokens": 8, "min_tokens": 2})
        with pytest.raises(RequestError) as caught:
            check_against(config, snapshots.load("vllm", "0.32.0"))
        assert caught.value.cause == (
            "output.min_tokens: would be ignored with vllm.beam_search: there, nothing calls vllm.SamplingParams"
        )
        assert caught.value.remedy == "remove output.min_tokens, or vllm.beam_search"

    def test_has_a_default_on_every_version(self) -> None:
        assert [sent(version=version)[SAMPLING_PARAMS] for version in VERSIONS] == [{"max_tokens": 128}] * len(VERSIONS)


def test_what_belongs_to_sampling_is_refused_with_beam_search() -> None:
    config = configured({"beam_search": {"beam_width": 2}, "temperature": 0.5})
    with pytest.raises(RequestError) as caught:
        check_against(config, snapshots.load("vllm", "0.32.0"))
    assert caught.value.cause.startswith("vllm.temperature: would be ignored with vllm.beam_search")


def test_an_adapter_goes_to_the_call_that_is_made() -> None:
    adapter = {"enable_lora": True, "lora_adapter": {"lora_path": "a"}}
    assert [point for point in (GENERATE, BEAM_SEARCH) if "lora_request" in sent(adapter)[point]] == [GENERATE]
    beams = sent({**adapter, "beam_search": {"beam_width": 2}})
    assert [point for point in (GENERATE, BEAM_SEARCH) if "lora_request" in beams[point]] == [BEAM_SEARCH]


def test_what_belongs_to_the_call_is_sent_to_the_call() -> None:
    calls = sent({"beam_search": {"beam_width": 2, "concurrency_limit": 3}})
    assert calls[BEAM_SEARCH] == {"concurrency_limit": 3}
    assert "concurrency_limit" not in calls[BEAM_SEARCH_PARAMS]


class TestTheEngine:
    def test_gets_model_and_seed_and_nothing_that_is_not_set(self) -> None:
        for version in VERSIONS:
            assert sent(version=version)[LLM] == {"model": "m", "seed": 0}

    def test_gets_objects_by_the_class_that_makes_them(self) -> None:
        made = sent({"compilation_config": {"mode": 3, "pass_config": {"eliminate_noops": True}}})[LLM]
        assert made["compilation_config"] == Build(
            "vllm.config.CompilationConfig",
            {"mode": 3, "pass_config": Build("vllm.config.PassConfig", {"eliminate_noops": True})},
        )

    def test_of_replicas_only_gets_its_own_sizes(self) -> None:
        assert sent({"data_parallel_size": 2, "tensor_parallel_size": 2})[LLM] == {
            "model": "m", "seed": 0, "tensor_parallel_size": 2,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("0.11.2", {"dcp_kv_cache_interleave_size"}),
        ("0.19.1", {"cp_kv_cache_interleave_size", "dcp_kv_cache_interleave_size"}),
        ("0.32.0", {"cp_kv_cache_interleave_size", "dcp_kv_cache_interleave_size"}),
    ],
)
def test_a_parameter_is_sent_under_the_names_that_a_version_has(version: str, names: set[str]) -> None:
    section = {"tensor_parallel_size": 2, "decode_context_parallel_size": 2, "cp_kv_cache_interleave_size": 16}
    calls = sent(section, version=version)[LLM]
    assert {name: calls[name] for name in calls if "interleave" in name} == dict.fromkeys(names, 16)


def test_a_parameter_that_a_version_lacks_is_refused_with_those_that_have_it() -> None:
    config = configured({"calculate_kv_scales": True, "kv_cache_dtype": "fp8"})
    assert check_against(config, snapshots.load("vllm", "0.26.0"))[LLM]["calculate_kv_scales"] is True
    with pytest.raises(RequestError) as caught:
        check_against(config, snapshots.load("vllm", "0.32.0"))
    assert caught.value.cause == (
        "vllm.calculate_kv_scales: vllm 0.32.0 has no parameter calculate_kv_scales of vllm.LLM"
    )
    assert caught.value.remedy == "versions that have it: 0.11.2, 0.19.1, 0.26.0"


def test_a_parameter_is_never_sent_to_another_backend() -> None:
    """Every target of vLLM's fields stands under a name of its package, or of this one."""
    calls = lower(configured({"max_num_seqs": 4}, output={"min_tokens": 2}, revision="r", tokenizer="t"))
    assert {name.partition(".")[0] for name in calls.arguments} == {"vllm"}
