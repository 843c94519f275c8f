"""What tests of engines see in one that runs: its worker, the real cache, the real weights, what was compiled."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from llenergymeasure.core.inference_backends.vllm import VLLMBackend

from .conftest import Engines
from .fixtures_requests import GREEDY, backend_on
from .fixtures_running import Step, steps_of, tokens

# Steps that are handed out one by one: what each holds does not depend on how far the one before has come.
STEPWISE = {"async_scheduling": False}

Running = Callable[..., VLLMBackend]


def running(engines: Engines) -> Running:
    """A function that gives an engine with a section, answering greedily, from its seed and with an empty cache."""

    def run(vllm: dict[str, Any] | None = None, **settings: Any) -> VLLMBackend:
        backend = backend_on(engines, {**GREEDY, **(vllm or {})}, **settings)
        backend.seed()
        return backend

    return run


def core(backend: VLLMBackend) -> Any:
    """The engine's inner loop; it must run in this process."""
    return backend.llm.llm_engine.engine_core.engine_core


def runner(backend: VLLMBackend) -> Any:
    """What runs the model in the only worker."""
    return core(backend).model_executor.driver_worker.worker.model_runner


def facts(backend: VLLMBackend) -> list[dict[str, Any]]:
    """What the tool reads of each worker."""
    return list(backend.llm.collective_rpc("llem_facts"))


def weights(backend: VLLMBackend) -> dict[str, Any]:
    """The loaded model's weights by name; on a CPU those of linear layers are empty once they are packed."""
    return dict(runner(backend).get_model().named_parameters())


def cache_blocks(backend: VLLMBackend) -> int:
    """Blocks that requests can get, and the one that vLLM keeps for itself."""
    return int(core(backend).scheduler.kv_cache_manager.block_pool.num_gpu_blocks)


def cache_bytes(backend: VLLMBackend) -> int:
    """Of the tensors that hold keys and values, all layers together."""
    return sum(cache.numel() * cache.element_size() for cache in runner(backend).kv_caches)


def steps(backend: VLLMBackend, *prompts: tuple[int, ...]) -> list[Step]:
    """What the scheduler hands out while the engine answers."""
    with steps_of(backend) as seen:
        tokens(backend, *prompts)
    return seen


@contextlib.contextmanager
def compiled() -> Iterator[dict[str, int]]:
    """By how much vLLM's own counters of compilation rise; filled when the block ends."""
    from vllm.compilation.counter import compilation_counter

    before, rises = vars(compilation_counter.clone()), dict[str, int]()
    yield rises
    rises.update({name: value - before[name] for name, value in vars(compilation_counter).items()})
