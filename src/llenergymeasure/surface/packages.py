"""Which packages make up a backend."""

import difflib

from llenergymeasure.errors import RequestError
from llenergymeasure.surface import companions, transformers, vllm
from llenergymeasure.surface.recipes import Package

_KNOWN = {
    "pytorch": (transformers.PACKAGE, companions.TORCH, companions.TORCHAO),
    "vllm": (vllm.PACKAGE,),
}


def distributions(name: str) -> tuple[str, ...]:
    """The names under which a package can be installed: its own and those of its other builds."""
    return next((p.distributions for known in _KNOWN.values() for p in known if p.name == name), (name,))


def install_hint(backend: str) -> str:
    """How to get the backend's packages, and which builds of them serve as well."""
    builds = [name for package in _KNOWN.get(backend, ()) for name in package.builds]
    return f'pip install "llenergymeasure[{backend}]"' + (f" (or, in its place, {', '.join(builds)})" if builds else "")


BACKENDS = tuple(_KNOWN)


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
