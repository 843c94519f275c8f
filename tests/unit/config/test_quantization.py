"""Quantization and parallelism as declared: every variant becomes its class, and nothing is ignored in silence."""

from typing import Any

import pytest
from pydantic import ValidationError

from llenergymeasure.audit.samples import sample_config
from llenergymeasure.config.bindings import BoundField, walk
from llenergymeasure.config.lowering import Build, Ref, lower
from llenergymeasure.config.models import ExperimentConfig

FROM_PRETRAINED = "transformers.AutoModelForCausalLM.from_pretrained"
GENERATE_BATCH = "transformers.GenerationMixin.generate_batch"


def configured(pytorch: dict[str, Any]) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"model": "model", "prompts": ["x"], "pytorch": pytorch})


def quantized(**options: Any) -> Build:
    """What from_pretrained gets as quantization_config."""
    build = lower(configured({"quantization": options}))[FROM_PRETRAINED]["quantization_config"]
    assert isinstance(build, Build)
    return build


def refused(pytorch: dict[str, Any]) -> set[str]:
    """The names that the errors are about: the place, and the field of a rule between fields."""
    with pytest.raises(ValidationError) as caught:
        configured(pytorch)
    return {
        name
        for error in caught.value.errors()
        for name in (str(error["loc"][-1]), error.get("ctx", {}).get("field"), error.get("ctx", {}).get("tag"))
        if name
    }


def fields_under(*names: str) -> list[Any]:
    """The fields whose place is in one of the sections, as test cases."""
    found = [field for field in walk(ExperimentConfig, "pytorch") if len(field.keys) > 2 and field.keys[1] in names]
    return [pytest.param(field, id=field.path) for field in found]


@pytest.mark.parametrize(
    ("method", "entry_point", "arguments"),
    [
        ("bitsandbytes_4bit", "transformers.BitsAndBytesConfig", {"load_in_4bit": True}),
        ("bitsandbytes_8bit", "transformers.BitsAndBytesConfig", {"load_in_8bit": True}),
        ("hqq", "transformers.HqqConfig", {}),
        ("quanto", "transformers.QuantoConfig", {}),
        ("fp8", "transformers.FineGrainedFP8Config", {}),
        ("compressed_tensors", "transformers.CompressedTensorsConfig", {}),
        ("awq", "transformers.AwqConfig", {}),
        ("autoround", "transformers.AutoRoundConfig", {}),
        ("eetq", "transformers.EetqConfig", {}),
        ("fbgemm_fp8", "transformers.FbgemmFp8Config", {}),
        ("four_over_six", "transformers.FourOverSixConfig", {}),
        ("fp_quant", "transformers.FPQuantConfig", {}),
        ("gguf", "transformers.GgufConfig", {}),
        ("higgs", "transformers.HiggsConfig", {}),
        ("mxfp4", "transformers.Mxfp4Config", {}),
        ("nvfp4", "transformers.NVFP4Config", {}),
        ("sinq", "transformers.SinqConfig", {}),
    ],
)
def test_a_method_alone_sends_only_its_switch(method: str, entry_point: str, arguments: dict[str, Any]) -> None:
    build = quantized(method=method)
    assert (build.entry_point, dict(build.arguments)) == (entry_point, arguments)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "gptq"}, "bits"),
        ({"method": "torchao"}, "quant_type"),
        (
            {"method": "torchao", "quant_type": {"name": "int8_weight_only", "granularity": {"kind": "per_group"}}},
            "group_size",
        ),
    ],
)
def test_required_options_are_asked_for(options: dict[str, Any], named: str) -> None:
    assert named in refused({"quantization": options})


def test_number_formats_become_the_real_ones() -> None:
    build = quantized(method="bitsandbytes_4bit", bnb_4bit_compute_dtype="bfloat16")
    assert build.arguments["bnb_4bit_compute_dtype"] == Ref("torch.bfloat16")


def test_nested_kinds_become_objects_in_objects() -> None:
    kind = {
        "name": "intx_weight_only",
        "mapping_type": "asymmetric",
        "granularity": {"kind": "per_group", "group_size": 64},
    }
    inner = quantized(method="torchao", quant_type=kind).arguments["quant_type"]
    assert inner.entry_point == "torchao.quantization.IntxWeightOnlyConfig"
    assert inner.arguments["mapping_type"] == Ref("torchao.quantization.MappingType.ASYMMETRIC")
    granularity = inner.arguments["granularity"]
    assert (granularity.entry_point, dict(granularity.arguments)) == (
        "torchao.quantization.PerGroup",
        {"group_size": 64},
    )


def test_a_renamed_option_goes_to_both_names() -> None:
    arguments = quantized(method="gptq", bits=4, format="gptq_v2").arguments
    assert (arguments["format"], arguments["checkpoint_format"]) == ("gptq_v2", "gptq_v2")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "bitsandbytes_4bit", "llm_int8_threshold": 5.0}, "llm_int8_threshold"),
        ({"method": "bitsandbytes_8bit", "bnb_4bit_quant_type": "nf4"}, "bnb_4bit_quant_type"),
        ({"method": "hqq", "nbits": 4, "dynamic_config": {"mlp.up_proj": {"nbits": 2}}}, "dynamic_config"),
        ({"method": "hqq", "nbits": 5}, "nbits"),
        ({"method": "gptq", "bits": 4, "pad_token_id": 0}, "pad_token_id"),
        ({"method": "gptq", "bits": 4, "desc_act": True, "act_group_aware": True}, "act_group_aware"),
        ({"method": "awq", "fuse_max_seq_len": 512}, "fuse_max_seq_len"),
        ({"method": "awq", "version": "gemm", "exllama_config": {"version": 2}}, "exllama_config"),
        (
            {"method": "compressed_tensors", "dequantize": True, "use_optimized_inference": True},
            "use_optimized_inference",
        ),
        ({"method": "fp_quant", "forward_method": "quest"}, "forward_method"),
        ({"method": "fp_quant", "forward_dtype": "nvfp4", "forward_method": "quest"}, "forward_method"),
        ({"method": "sinq", "group_size": 20}, "group_size"),
        ({"method": "higgs", "group_size": 100}, "group_size"),
        (
            {"method": "torchao", "quant_type": {"name": "int4_weight_only", "int4_choose_qparams_algorithm": "hqq"}},
            "int4_choose_qparams_algorithm",
        ),
        (
            {"method": "torchao", "quant_type": {"name": "int8_weight_only"}, "untie_embedding_weights": True},
            "untie_embedding_weights",
        ),
        ({"method": "bitsandbytes"}, "bitsandbytes"),
    ],
)
def test_what_would_be_ignored_or_refused_is_an_error(options: dict[str, Any], named: str) -> None:
    assert named in refused({"quantization": options})


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"distributed": {"ep_plan": {"layers.*.mlp.experts": "grouped_gemm"}}}, "ep_plan"),
        ({"distributed": {"tp_size": 2, "ep_size": 2, "enable_expert_parallel": True}}, "enable_expert_parallel"),
        ({"distributed": {"tp_size": 0}}, "tp_size"),
        ({"continuous_batching": {"page_size": 16, "block_size": 16}}, "page_size"),
        ({"continuous_batching": {"page_size": 2}}, "page_size"),
        ({"continuous_batching": {"cpu_offload_space_safety_threshold": 0.5}}, "cpu_offload_space_safety_threshold"),
        ({"continuous_batching": {"scheduler_type": "lifo"}}, "scheduler_type"),
        ({"torch_compile": {"mode": "default", "options": {"epilogue_fusion": True}}}, "mode"),
    ],
)
def test_parallelism_and_batching_refuse_contradictions(section: dict[str, Any], named: str) -> None:
    assert named in refused(section)


def test_continuous_batching_alone_makes_the_call() -> None:
    calls = lower(configured({"continuous_batching": {}}))
    assert GENERATE_BATCH in calls
    assert not lower(configured({}))[GENERATE_BATCH]
    assert GENERATE_BATCH not in lower(configured({}))


def test_options_of_the_call_and_of_its_object_are_kept_apart() -> None:
    sent = lower(configured({"continuous_batching": {"warmup": False, "num_blocks": 8}}))[GENERATE_BATCH]
    assert sent["warmup"] is False
    assert dict(sent["continuous_batching_config"].arguments) == {"num_blocks": 8}


@pytest.mark.parametrize("field", fields_under("quantization", "distributed", "continuous_batching", "torch_compile"))
def test_every_sample_is_valid_and_sent_under_its_own_name(field: BoundField) -> None:
    data, without = sample_config(field)
    sent, bare = (str(lower(ExperimentConfig.model_validate(each)).arguments) for each in (data, without))
    assert sent != bare
    assert any(target.name in sent for target in field.targets("pytorch"))


@pytest.mark.parametrize("field", fields_under("quantization", "distributed", "continuous_batching", "torch_compile"))
def test_every_field_is_described(field: BoundField) -> None:
    assert field.description.endswith(".")
