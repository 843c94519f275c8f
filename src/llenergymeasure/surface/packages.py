"""Which packages make up a backend."""

import difflib

from llenergymeasure.errors import RequestError
from llenergymeasure.surface import companions, transformers, vllm
from llenergymeasure.surface.recipes import Package

_KNOWN = {
    "pytorch": (transformers.PACKAGE, companions.TORCH, companions.TORCHAO),
    "vllm": (vllm.PACKAGE,),
}


def packages(backend: str) -> dict[str, Package]:
    """The packages of a backend by import name, the backend's own first.

    Raises RequestError for a backend that has no surface.
    """
    if backend not in _KNOWN:
        near = difflib.get_close_matches(backend, _KNOWN, n=1)
        raise RequestError(
            f"{backend}: no backend of this name has a surface" + (f"; did you mean {near[0]}?" if near else ""),
            f"choose one of: {', '.join(_KNOWN)}",
        )
    return {package.name: package for package in _KNOWN[backend]}
