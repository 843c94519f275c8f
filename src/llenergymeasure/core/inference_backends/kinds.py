"""Which module runs a backend, and how its processes are planned."""

from collections.abc import Callable
from dataclasses import dataclass

from llenergymeasure.config.lowering import Calls
from llenergymeasure.core import failures
from llenergymeasure.core.api import Api
from llenergymeasure.core.inference_backends import pytorch_plan, vllm_failures, vllm_plan
from llenergymeasure.core.inference_backends.base import Backend, Share
from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend
from llenergymeasure.core.inference_backends.vllm import VLLMBackend
from llenergymeasure.errors import LlemError


@dataclass(frozen=True)
class Kind:
    """A backend's module, as the experiment uses it.

    Attributes:
        own_process: whether even a single replica gets a process of its own, because it starts others and prints.
        replicas: the field that says how many there are.
        explain: the error that a user sees for what the backend raised; the last argument is its log, "" without one.
        died: the error for a process of its own that ended: who, how, and its log.
    """

    make: Callable[[Calls, Api, Share], Backend]
    plan: Callable[[Calls, Api], list[Share]]
    own_process: bool
    replicas: str
    explain: Callable[[BaseException, Calls, str, str, str], LlemError]
    died: Callable[[str, str, str], LlemError]


_KINDS = {
    "pytorch": Kind(
        lambda calls, api, share: PyTorchBackend(calls, api, share.device),
        pytorch_plan.plan,
        own_process=False,
        replicas="pytorch.num_processes",
        explain=lambda error, calls, model, doing, log: failures.explain(error, calls, model, doing),  # noqa: ARG005
        died=vllm_failures.died,
    ),
    "vllm": Kind(
        VLLMBackend,
        vllm_plan.plan,
        own_process=True,
        replicas="vllm.data_parallel_size",
        explain=vllm_failures.explain,
        died=vllm_failures.died,
    ),
}


def kind_of(backend: str) -> Kind:
    """Of a backend that the configuration has a section for."""
    return _KINDS[backend]
