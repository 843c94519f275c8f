"""Continuous batching on the real API: the running manager's own configuration and cache hold each option."""

from collections.abc import Callable
from typing import Any

import pytest

from llenergymeasure.core.batching import BatchOutput, Prompt

from .fixtures_running import require_package

Load = Callable[..., Any]
SMALL = {"num_blocks": 16, "max_batch_tokens": 64}
TEXTS = ("The energy of a token", "A batch", "Viele Anfragen laufen zusammen und sparen Energie")


def option_names() -> frozenset[str]:
    """Options of the installed version's configuration class, empty where it has none."""
    from dataclasses import fields

    import transformers

    found = getattr(transformers, "ContinuousBatchingConfig", None)
    return frozenset(option.name for option in fields(found)) if found else frozenset()


@pytest.fixture(autouse=True)
def _version_can() -> None:
    import torch

    if not option_names() and not torch.cuda.is_available():
        pytest.skip("needs CUDA: this transformers version sizes the cache by the GPU's memory alone")
    if not option_names():
        pytest.skip("needs transformers 5.17: this version has no object that holds the options")


def run(load: Load, **options: Any) -> tuple[Any, BatchOutput]:
    """The manager that ran the prompts, kept alive to look at, and what it answered."""
    for name in options:
        if name not in option_names() | {"warmup", "persistent_manager"}:
            pytest.skip(f"needs a transformers version that has the option: {name}")
    backend = load({"continuous_batching": {**SMALL, "persistent_manager": True, **options}})
    prompts = [Prompt(index, tuple(ids)) for index, ids in enumerate(backend.encode(TEXTS, chat=False))]
    output = backend.count(backend.generate(backend.prepare(prompts)[0]))
    return backend.model._cached_continuous_batching_manager, output


def case(name: str, value: Any) -> Any:
    """An option, and a value that the manager would not choose itself."""
    return pytest.param(name, value, id=name, marks=pytest.mark.field(f"continuous_batching.{name}", "effective"))


NEED_CUDA = {
    "cpu_offload_space_safety_threshold": "pinned memory",
    "use_async_batching": "streams",
    "use_cuda_graph": "graphs",
}


def skip_without_cuda(what: str) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip(f"needs CUDA: {what}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        case("block_size", 16),
        case("page_size", 16),
        case("num_blocks", 12),
        case("max_batch_tokens", 32),
        case("max_memory_percent", 0.5),
        case("max_requests_per_batch", 2),
        case("use_async_batching", True),
        case("use_cuda_graph", (True, False)),
        case("q_padding_interval_size", 32),
        case("kv_padding_interval_size", 32),
        case("safety_margin", 0.25),
        case("seed", 7),
        case("auto_switch_to_flash", False),
        case("cpu_offload_space_safety_threshold", 0.5),
        case("drop_unsupported_processors", False),
        case("disable_nccl_graph_mixing", False),
    ],
)
def test_manager_holds_the_option(load: Load, name: str, value: Any) -> None:
    needed = {"cpu_offload_space": 0.01} if name == "cpu_offload_space_safety_threshold" else {}
    if name in NEED_CUDA:
        skip_without_cuda(NEED_CUDA[name])
    manager, output = run(load, **{name: value}, **needed)
    assert getattr(manager.continuous_batching_config, name) == value
    untouched, _ = run(load)
    assert getattr(untouched.continuous_batching_config, name) != value
    assert all(len(group[0]) >= 1 for group in output.sequences)


@pytest.mark.field("continuous_batching", "observed")
def test_answers_equal_those_of_ordinary_generation(load: Load) -> None:
    _, output = run(load)
    backend = load({"batch_size": 1})
    prompts = [Prompt(index, tuple(ids)) for index, ids in enumerate(backend.encode(TEXTS, chat=False))]
    alone = [backend.count(backend.generate(batch)).sequences[0] for batch in backend.prepare(prompts)]
    assert list(output.sequences) == alone


@pytest.mark.field("continuous_batching.num_blocks", "observed")
@pytest.mark.parametrize("blocks", [8, 16])
def test_cache_has_the_blocks(load: Load, blocks: int) -> None:
    manager, _ = run(load, num_blocks=blocks)
    assert manager.batch_processor.cache.num_blocks == blocks


@pytest.mark.field("continuous_batching.scheduler_type", "observed")
@pytest.mark.parametrize(("scheduler", "kind"), [("fifo", "FIFOScheduler"), ("prefill_first", "PrefillFirstScheduler")])
def test_scheduler_is_the_one(load: Load, scheduler: str, kind: str) -> None:
    manager, _ = run(load, scheduler_type=scheduler)
    assert type(manager.batch_processor.scheduler).__name__ == kind


@pytest.mark.field("continuous_batching.allow_block_sharing", "effective")
@pytest.mark.parametrize("allowed", [True, False])
def test_blocks_are_shared(load: Load, allowed: bool) -> None:
    manager, _ = run(load, allow_block_sharing=allowed)
    assert manager.batch_processor.cache.allow_block_sharing is allowed


@pytest.mark.field("continuous_batching.cpu_offload_space", "effective")
def test_space_for_evicted_caches(load: Load) -> None:
    skip_without_cuda("pinned memory")
    manager, _ = run(load, cpu_offload_space=0.01)
    assert manager.continuous_batching_config.cpu_offload_space == 0.01


@pytest.mark.field("continuous_batching.return_logprobs", "observed")
@pytest.mark.parametrize("wanted", [True, False])
def test_probabilities_are_computed(load: Load, wanted: bool) -> None:
    manager, _ = run(load, return_logprobs=wanted)
    assert manager.batch_processor.return_logprobs is wanted


@pytest.mark.field("continuous_batching.varlen_compile_config", "effective")
@pytest.mark.field("continuous_batching.varlen_compile_config.backend", "effective")
@pytest.mark.field("continuous_batching.varlen_compile_config.dynamic", "effective")
@pytest.mark.field("continuous_batching.varlen_compile_config.mode", "effective")
def test_compilation_of_prompts(load: Load) -> None:
    manager, _ = run(load, varlen_compile_config={"backend": "eager", "dynamic": True, "mode": "default"})
    config = manager.continuous_batching_config.varlen_compile_config
    assert (config.backend, config.dynamic, config.mode) == ("eager", True, "default")


@pytest.mark.field("continuous_batching.decode_compile_config", "effective")
@pytest.mark.field("continuous_batching.decode_compile_config.backend", "effective")
@pytest.mark.field("continuous_batching.decode_compile_config.dynamic", "effective")
@pytest.mark.field("continuous_batching.decode_compile_config.mode", "effective")
def test_compilation_of_decoding(load: Load) -> None:
    require_package("flash_attn", "only its fast decoding path compiles decoding by itself")
    manager, _ = run(load, decode_compile_config={"backend": "eager", "dynamic": True, "mode": "default"})
    config = manager.continuous_batching_config.decode_compile_config
    assert (config.backend, config.dynamic, config.mode) == ("eager", True, "default")


@pytest.mark.field("continuous_batching.persistent_manager", "observed")
@pytest.mark.parametrize("kept", [True, False])
def test_manager_outlives_the_call(load: Load, kept: bool) -> None:
    backend = load({"continuous_batching": {**SMALL, "persistent_manager": kept}})
    (ids,) = backend.encode(TEXTS[:1], chat=False)
    backend.generate(backend.prepare([Prompt(0, tuple(ids))])[0])
    assert hasattr(backend.model, "_cached_continuous_batching_manager") is kept


@pytest.mark.field("continuous_batching.warmup", "observed")
@pytest.mark.parametrize("wanted", [True, False])
def test_manager_is_warmed_up(load: Load, wanted: bool) -> None:
    manager, _ = run(load, warmup=wanted)
    assert manager.warmed_up is wanted
