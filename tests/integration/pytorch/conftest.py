"""What the integration tests share: the tiny model, and a backend that is loaded as an experiment loads it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.audit.tiny import make_tiny_llama

# Third-party packages warn about each other while they are imported; what our own calls provoke stays an error.
IMPORT_NOISE = (
    "ignore:`torch.jit.script:DeprecationWarning",
    "ignore:.*SwigPy.*has no __module__ attribute:DeprecationWarning",
    "ignore:TensorFloat32 tensor cores for float32:UserWarning",  # the compiler's advice on a GPU that has them
    "ignore:The CUDA Graph is empty:UserWarning",  # a part of a compiled step that launches nothing
)


def pytest_configure(config: pytest.Config) -> None:
    for line in IMPORT_NOISE:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_downloaded() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        yield


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny random Llama and its tokenizer."""
    return make_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session", autouse=True)
def _tiny_models_are_quick(tiny_llama: Path) -> None:
    """A tiny model's kernels gain nothing from threads, and collecting it need not look at all of torch each time."""
    import gc

    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


@pytest.fixture
def load(tiny_llama: Path) -> Iterator[Callable[..., Any]]:
    """Load the tiny model with a `pytorch:` section, through lowering and the real backend; closed afterwards."""
    from llenergymeasure.config.models import ExperimentConfig
    from llenergymeasure.core.api import RealApi
    from llenergymeasure.core.experiment import plan
    from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend
    from llenergymeasure.core.session import version_calls

    opened, api = [], RealApi()

    def _load(
        pytorch: dict[str, Any], *, model: Path = tiny_llama, max_tokens: int = 4, **settings: Any
    ) -> PyTorchBackend:
        config = ExperimentConfig.model_validate(
            {
                "model": str(model),
                "prompts": ["x"],
                "output": {"max_tokens": max_tokens},
                "pytorch": pytorch,
                **settings,
            }
        )
        # On the GPU where there is one: what an experiment would do.
        opened.append(PyTorchBackend(version_calls(config, api), api, plan(config, api)[0].device))
        opened[-1].load()
        return opened[-1]

    yield _load
    for backend in opened:
        backend.close()
