"""What the running engine is made of: its workers, its weights and their formats, what was compiled, its adapter."""

import os
from typing import Any

import pytest

from .conftest import Engines
from .fixtures_engine import Running, compiled, facts, runner, running, weights
from .fixtures_requests import surface
from .fixtures_running import platform, require_cuda, tokens

PROMPTS = ((5, 6, 7), (30, 31, 32, 33))
EMBEDDING = "model.embed_tokens.weight"
# Of the tiny model's norms, which every worker keeps whole: two in each of two layers, one behind them.
NORMS = 5 * 128


@pytest.fixture
def run(engines: Engines) -> Running:
    return running(engines)


@pytest.mark.field("tensor_parallel_size", "observed")
def test_two_workers_share_the_weights_and_answer_as_one(run: Running) -> None:
    import torch

    if platform() == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    alone = run()
    (whole,) = facts(alone)
    answers = tokens(alone, *PROMPTS)
    two = run({"tensor_parallel_size": 2})
    shares = facts(two)
    assert len({os.getpid(), *(worker["pid"] for worker in shares)}) == 3
    assert [2 * worker["parameters_unpacked"] for worker in shares] == [whole["parameters_unpacked"] + NORMS] * 2
    assert tokens(two, *PROMPTS) == answers


def test_no_counters_are_kept_of_what_is_measured(run: Running) -> None:
    """They cost throughput in every step, and nobody reads them."""
    backend = run()
    tokens(backend, *PROMPTS)
    counted = {item.name: item.value for item in backend.llm.get_metrics() if hasattr(item, "value")}
    assert counted["vllm:generation_tokens"] == 0


@pytest.mark.field("dtype", "observed")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_have_the_number_format(run: Running, dtype: str) -> None:
    backend = run({"dtype": dtype})
    assert {str(weight.dtype) for weight in weights(backend).values()} == {f"torch.{dtype}"}
    assert facts(backend)[0]["dtypes"].keys() == {f"torch.{dtype}"}


@pytest.mark.field("load_format", "observed")
def test_dummy_weights_are_not_the_checkpoint_s(run: Running) -> None:
    def embedding(load_format: str) -> Any:
        return weights(run({"load_format": load_format}))[EMBEDDING].clone()

    read = embedding("safetensors")
    assert read.equal(embedding("auto"))
    assert not read.equal(embedding("dummy"))


@pytest.mark.field("model_impl", "observed")
def test_model_is_the_implementation_that_was_asked_for(run: Running) -> None:
    theirs = run({"model_impl": "transformers"})
    assert facts(theirs)[0]["model_class"] == "TransformersForCausalLM"
    answers = tokens(theirs, *PROMPTS)
    own = run({"model_impl": "vllm"})
    assert facts(own)[0]["model_class"] == "LlamaForCausalLM"
    assert tokens(own, *PROMPTS) == answers


@pytest.mark.field("quantization", "observed")
def test_linear_layers_are_quantized(run: Running) -> None:
    require_cuda(f"vLLM {surface().version} for CPUs has no kernels that quantize while loading")
    section = {"dtype": "bfloat16"}
    assert any("Fp8" in name for name in facts(run({**section, "quantization": "fp8"}))[0]["quantization_methods"])
    assert not any("Fp8" in name for name in facts(run(section))[0]["quantization_methods"])


@pytest.mark.field("attention_backend", "observed")
def test_attention_runs_on_the_kernels_that_were_asked_for(run: Running) -> None:
    require_cuda("vLLM for CPUs has one kind of kernels for attention")
    for name in ("TRITON_ATTN", "FLEX_ATTENTION"):
        assert facts(run({"attention_backend": name}))[0]["attention_backends"] == {name: 2}


def models_compiled(run: Running, vllm: dict[str, Any]) -> int:
    """How many models the engine hands to the compiler while it loads, and the compiler then runs."""
    with compiled() as rises:
        backend = run(vllm)
    model = runner(backend).get_model().model
    count: int = rises["num_models_seen"]
    assert bool(getattr(model, "compiled", False)) is (count > 0)
    return count


@pytest.mark.field("enforce_eager", "observed")
def test_model_is_compiled_unless_all_is_eager(run: Running) -> None:
    assert models_compiled(run, {"enforce_eager": True, "max_num_seqs": 4}) == 0
    assert models_compiled(run, {"enforce_eager": False, "max_num_seqs": 4}) == 1


@pytest.mark.field("compilation_config.mode", "observed")
@pytest.mark.field("compilation_config.backend", "observed")
def test_mode_decides_whether_the_model_is_compiled(run: Running) -> None:
    """With `eager` behind the tracing no kernels are generated."""

    def section(**options: Any) -> dict[str, Any]:
        return {"enforce_eager": False, "max_num_seqs": 5, "compilation_config": options}

    assert models_compiled(run, section(mode=0)) == 0
    with compiled() as rises:
        assert models_compiled(run, section(mode=2, backend="eager")) == 1
    assert rises["num_inductor_compiles"] == rises["num_aot_compiles"] == 0


@pytest.mark.field("optimization_level", "observed")
def test_lowest_level_compiles_nothing(run: Running) -> None:
    assert models_compiled(run, {"enforce_eager": False, "optimization_level": 0}) == 0
    assert models_compiled(run, {"enforce_eager": False, "optimization_level": 2}) == 1


@pytest.mark.field("cudagraph_capture_sizes", "observed")
@pytest.mark.field("compilation_config.cudagraph_mode", "observed")
def test_more_sizes_are_more_recorded_graphs(run: Running) -> None:
    require_cuda("nothing is recorded on a CPU")

    def recorded(sizes: list[int], **options: Any) -> int:
        with compiled() as rises:
            run({"enforce_eager": False, "cudagraph_capture_sizes": sizes, "compilation_config": options})
        return rises["num_cudagraph_captured"]

    assert 0 < recorded([1]) < recorded([1, 2, 4])
    assert recorded([1, 2, 4], cudagraph_mode="NONE") == 0


@pytest.mark.field("compilation_config.custom_ops", "observed")
@pytest.mark.parametrize(
    ("operations", "own"),
    [
        (["none"], set()),
        (["none", "+rms_norm"], {"RMSNorm"}),
        (["none", "+silu_and_mul"], {"SiluAndMul"}),
        (["all"], {"RMSNorm", "SiluAndMul"}),
        (["all", "-rms_norm"], {"SiluAndMul"}),
    ],
)
def test_layers_run_vllm_s_own_kernels(run: Running, operations: list[str], own: set[str]) -> None:
    backend = run({"compilation_config": {"custom_ops": operations}})
    layers = [layer for layer in runner(backend).get_model().modules() if hasattr(layer, "_forward_method")]
    found = {type(layer).__name__ for layer in layers if layer._forward_method.__name__ != "forward_native"}
    assert found & {"RMSNorm", "SiluAndMul"} == own


# CUDA has kernels for adapters of 16 bits only.
HALF = {"dtype": "bfloat16"}
ADAPTED = {"enable_lora": True, **HALF}
WITH_ADAPTER = {**ADAPTED, "lora_adapter": {"lora_path": "adapter"}}


def adapted(backend: Any) -> dict[str, Any]:
    """Room for adapters by linear layer: adapters, one, rank, width."""
    modules = runner(backend).get_model().named_modules()
    room = {name: getattr(layer, "lora_a_stacked", None) for name, layer in modules}
    return {name: stacked[0] for name, stacked in room.items() if isinstance(stacked, tuple)}


@pytest.mark.field("enable_lora", "observed")
@pytest.mark.field("lora_adapter", "observed")
@pytest.mark.field("lora_adapter.lora_path", "observed")
def test_adapter_changes_the_answers(run: Running) -> None:
    assert not adapted(run(HALF))
    plain = tokens(run(HALF), *PROMPTS)
    assert adapted(run(ADAPTED))
    assert tokens(run(ADAPTED), *PROMPTS) == plain
    assert tokens(run(WITH_ADAPTER), *PROMPTS) != plain


@pytest.mark.field("lora_target_modules", "observed")
def test_layers_that_are_not_named_go_without_their_adapter(run: Running) -> None:
    """The adapter is one of `q_proj`."""
    plain = tokens(run(HALF), *PROMPTS)
    other = run({**WITH_ADAPTER, "lora_target_modules": ["o_proj"]})
    assert {name.rpartition(".")[2] for name in adapted(other)} == {"o_proj"}
    assert tokens(other, *PROMPTS) == plain


@pytest.mark.parametrize(
    ("name", "place", "values"),
    [
        pytest.param(name, place, values, id=name, marks=pytest.mark.field(name, "observed"))
        for name, place, values in (("max_lora_rank", 2, (8, 32)), ("max_loras", 0, (1, 2)))
    ],
)
def test_room_for_adapters_is_as_large_as_was_asked_for(
    run: Running, name: str, place: int, values: tuple[int, int]
) -> None:
    for value in values:
        room = adapted(run({**WITH_ADAPTER, name: value}))
        assert {stacked.shape[place] for stacked in room.values()} == {value}


@pytest.mark.field("lora_dtype", "observed")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_adapters_have_the_number_format(run: Running, dtype: str) -> None:
    if dtype not in HALF.values() and platform() != "cpu":
        pytest.skip("needs a CPU: CUDA's kernels take adapters in the model's format only")
    room = adapted(run({**WITH_ADAPTER, "lora_dtype": dtype}))
    assert {str(stacked.dtype) for stacked in room.values()} == {f"torch.{dtype}"}
