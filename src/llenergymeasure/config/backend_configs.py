"""The config models of the backends, gathered from one module per purpose; the place to import them from."""

from llenergymeasure.config.pytorch.cache import Cache
from llenergymeasure.config.pytorch.decoding import Decoding, Sampling
from llenergymeasure.config.pytorch.loading import Loading
from llenergymeasure.config.pytorch.runtime import Runtime
from llenergymeasure.config.pytorch.speculation import Speculation
from llenergymeasure.config.vllm import beam_search, loading, sampling, speculation
from llenergymeasure.config.vllm.answers import Answers
from llenergymeasure.config.vllm.attention import Attention
from llenergymeasure.config.vllm.compilation import Compilation
from llenergymeasure.config.vllm.decoding import Decoding as VLLMDecoding
from llenergymeasure.config.vllm.kernels import Kernels
from llenergymeasure.config.vllm.lora import Lora
from llenergymeasure.config.vllm.memory import Memory
from llenergymeasure.config.vllm.parallelism import Parallelism
from llenergymeasure.config.vllm.scheduling import Scheduling
from llenergymeasure.config.vllm.structured import Structured

__all__ = ["PyTorchConfig", "VLLMConfig"]


class PyTorchConfig(Loading, Runtime, Decoding, Sampling, Cache, Speculation):
    """Parameters of transformers on PyTorch; None leaves the backend's own default untouched."""


class VLLMConfig(
    loading.Loading,
    Lora,
    speculation.Speculation,
    Parallelism,
    Memory,
    Scheduling,
    Compilation,
    Attention,
    Kernels,
    sampling.Sampling,
    Answers,
    Structured,
    VLLMDecoding,
    beam_search.Decoding,
):
    """Parameters of vLLM; None leaves the engine's own default untouched."""
