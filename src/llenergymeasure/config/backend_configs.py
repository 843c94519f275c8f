"""The config models of the backends, gathered from one module per purpose; the place to import them from."""

from llenergymeasure.config.pytorch.cache import Cache
from llenergymeasure.config.pytorch.decoding import Decoding, Sampling
from llenergymeasure.config.pytorch.loading import Loading
from llenergymeasure.config.pytorch.runtime import Runtime
from llenergymeasure.config.pytorch.speculation import Speculation

__all__ = ["PyTorchConfig"]


class PyTorchConfig(Loading, Runtime, Decoding, Sampling, Cache, Speculation):
    """Parameters of transformers on PyTorch; None leaves the backend's own default untouched."""
