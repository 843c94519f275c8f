"""What vLLM's integration tests share: tiny models, and engines that are loaded as an experiment loads them."""

import contextlib
import functools
import gc
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# vLLM reads some of these while it is imported. A cell sets them, too; they are here for a run by hand.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_NO_USAGE_STATS": "1",
    # The engine in the tests' own process: it starts in seconds, and what it does can be read there.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
# Outweighs the fields that size the cache.
OUTWEIGHS = ("VLLM_CPU_KVCACHE_SPACE",)
# What vLLM and its libraries warn of each other, in modules of their own; a warning that our calls provoke, which
# names our module, stays an error.
THEIRS = (
    "vllm",
    "torch",
    "transformers",
    "typing_extensions",
    "triton",
    "numba",
    "multiprocessing",
    "importlib",
    "ast",
    "sys",
)
NOISE = (
    *(f"ignore:::{name}(\\.|$)" for name in THEIRS),
    "ignore:.*SwigPy.*has no __module__ attribute:DeprecationWarning",
    "ignore:.*builtin type swigvarlink has no __module__ attribute:DeprecationWarning",
)

Load = Callable[..., Any]
_GC_FREEZE = gc.freeze
# Loads fastest: nothing is compiled, and the cache is small enough to be cleared at once. Others may run beside it:
# the share of memory, which the cache does not take then, has to be free still.
QUICK = {"enforce_eager": True, "kv_cache_memory_bytes": 1 << 26, "gpu_memory_utilization": 0.2}


def pytest_configure(config: pytest.Config) -> None:
    for line in NOISE:
        config.addinivalue_line("filterwarnings", line)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in OUTWEIGHS:
        os.environ.pop(name, None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: each process holds a few engines, and the share of memory that one asks for has to be free."""
    gibibytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return max(1, min(os.cpu_count() or 1, gibibytes // 8, 8))


@pytest.fixture(scope="session")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every model that a field's sample names: model, experts, one-head, assistant, adapter, ...

    Beside them `windowed`, the same model with attention to the last 32 tokens only.
    """
    from llenergymeasure.audit.accepted_vllm import SHAPE, make_stand
    from llenergymeasure.audit.tiny import make_tiny_llama

    root = make_stand(tmp_path_factory.mktemp("models"))
    config = make_tiny_llama(root / "windowed", **SHAPE) / "config.json"
    windowed = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 32}
    config.write_text(json.dumps({**json.loads(config.read_text()), **windowed}))
    return root


@pytest.fixture(scope="session")
def tiny_llama(stand: Path) -> Path:
    """A folder with the tiny random Llama and its tokenizer."""
    return stand / "model"


class Engines:
    """One open engine at a time: what an engine sets up in its process, the next one could not share."""

    def __init__(self, stand: Path) -> None:
        self._stand = stand
        self._open: Any = None
        self._key = ""
        self._undo = contextlib.ExitStack()

    def fresh(self, vllm: dict[str, Any], **settings: Any) -> Any:
        """A loaded backend of its own; whatever was open before is closed."""
        self.close()
        with contextlib.ExitStack() as undo:
            undo.enter_context(_process_as_it_was())
            undo.callback(_end_workers)
            undo.callback(_end_kv_connector)
            # A sample names its model by where it stands.
            undo.enter_context(contextlib.chdir(self._stand))
            backend = _loaded({"model": "model", "prompts": ["x"], **settings, "vllm": vllm}, undo)
            self._undo = undo.pop_all()
        self._open = backend
        return backend

    def configure(self, vllm: dict[str, Any], **settings: Any) -> None:
        """Have the real API make the configuration of an engine, without loading one; what is open stays open.

        Raises:
            Exception: whatever it refuses it with.
        """
        from llenergymeasure.audit.accepted_vllm import configured
        from llenergymeasure.config.vllm.entry_points import LLM
        from llenergymeasure.core.api import RealApi, materialise

        with _process_as_it_was(), contextlib.chdir(self._stand):
            backend = _backend({"model": "model", "prompts": ["x"], **settings, "vllm": vllm})
            configured(materialise(backend.calls[LLM], RealApi()), RealApi())

    def held(self, vllm: dict[str, Any], **settings: Any) -> Any:
        """The backend that is open with this configuration, else one loaded now; tests in a row share it."""
        key = json.dumps([vllm, settings], sort_keys=True, default=str)
        if self._open is None or self._key != key:
            self.fresh(vllm, **settings)
            self._key = key
        return self._open

    def close(self) -> None:
        was_open = self._open is not None
        self._open, self._key = None, ""
        self._undo.close()
        if was_open and gc.get_freeze_count() == 0:
            _GC_FREEZE()


def _loaded(data: dict[str, Any], undo: contextlib.ExitStack) -> Any:
    """An engine that counts what is free, while another process gives memory back, refuses to start: it starts anew."""
    for attempt in range(5):
        backend = _backend(data)
        undo.callback(backend.close)
        try:
            backend.load()
        except AssertionError as error:
            if attempt == 4 or "Error in memory profiling" not in str(error):
                raise
        else:
            break
    return backend


def _backend(data: dict[str, Any]) -> Any:
    from llenergymeasure.config.models import ExperimentConfig
    from llenergymeasure.core.api import RealApi
    from llenergymeasure.core.inference_backends.base import Share
    from llenergymeasure.core.inference_backends.vllm import VLLMBackend
    from llenergymeasure.core.session import version_calls

    data.setdefault("output", {"max_tokens": 4})
    api = RealApi()
    return VLLMBackend(version_calls(ExperimentConfig.model_validate(data), api), api, Share())


def _end_workers() -> None:
    """Of an engine that could not be started: vLLM leaves them running until its process ends."""
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join()


def _end_kv_connector() -> None:
    """One that could not be started would otherwise be found by the next engine."""
    with contextlib.suppress(ImportError):
        from vllm.distributed.kv_transfer import kv_transfer_state

        with contextlib.suppress(Exception):
            kv_transfer_state.ensure_kv_transfer_shutdown()
        kv_transfer_state._KV_CONNECTOR_AGENT = None


@contextlib.contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Undo what an engine leaves in its process: variables of the environment, and the cores it may use."""
    environment = dict(os.environ)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        if cores is not None:
            os.sched_setaffinity(0, cores)


@pytest.fixture(scope="session")
def engines(stand: Path) -> Iterator[Engines]:
    pytest.importorskip("vllm", reason="needs vLLM, which is not installed")
    made = Engines(stand)
    with one_after_the_other():
        yield made
        made.close()


@contextlib.contextmanager
def one_after_the_other() -> Iterator[None]:
    """Let many engines start in one process, which vLLM is not made for."""
    from vllm.platforms import current_platform

    with pytest.MonkeyPatch.context() as patch:
        # Collecting an engine need not look at all of torch, which is there from the first one on: two seconds each.
        patch.setattr(gc, "freeze", lambda: None)
        patch.setattr(gc, "unfreeze", lambda: None)
        # Kernels are replaced in all modules there are, and that fails on those that an earlier engine has imported.
        if once := getattr(current_platform, "register_triton_kernel_overrides", None):
            patch.setattr(current_platform, once.__name__, functools.cache(once))
        yield


@pytest.fixture
def load(engines: Engines) -> Iterator[Load]:
    """Load a tiny model with a `vllm:` section, through lowering and the real backend; closed afterwards.

    `load({"max_num_seqs": 2}, model="experts", output={"max_tokens": 8})`; loading again closes the engine before.
    """
    yield engines.fresh
    engines.close()


@pytest.fixture
def held(engines: Engines) -> Load:
    """As `load`, but an engine that is open with the same configuration is taken, and stays open for the next test."""
    return engines.held
