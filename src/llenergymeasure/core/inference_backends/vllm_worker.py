"""What runs inside vLLM's workers, installed by `worker_extension_cls`: it reads, and sets the seed of a pass."""

import os
import random
from collections import Counter
from typing import Any

from llenergymeasure.core.inference_backends.vllm_json import as_json


class WorkerExtension:
    """Mixed by vLLM into the class of its workers; its methods are called by name through `collective_rpc`."""

    vllm_config: Any
    model_runner: Any
    device: Any

    def llem_seed(self, seed: int) -> None:
        """Have the worker's random numbers begin at the seed, as vLLM does when it loads."""
        import numpy as np
        import torch

        random.seed(seed)
        np.random.seed(seed)  # the V2 runner draws every request's own seed from it
        torch.manual_seed(seed)

    def llem_device(self) -> str | None:
        """The GPU that this worker computes on, by its UUID; None on a CPU."""
        import torch

        if getattr(self.device, "type", "") != "cuda":
            return None
        return f"GPU-{str(torch.cuda.get_device_properties(self.device).uuid).removeprefix('GPU-')}"

    def llem_config(self) -> dict[str, Any]:
        """The configuration that this worker runs with, as JSON."""
        found: dict[str, Any] = as_json(self.vllm_config)
        return found

    def llem_facts(self) -> dict[str, Any]:
        """What is not in any configuration: layers by class, kernels, captured graphs, this process.

        Counts of graphs and models are of all engines that this process has had.
        """
        from vllm.compilation.counter import compilation_counter

        model = self.model_runner.get_model()
        quantized = Counter(
            type(method).__name__
            for module in model.modules()
            if (method := getattr(module, "quant_method", None)) is not None
        )
        attention = Counter(
            backend.get_name()
            for module in model.modules()
            if hasattr(module, "get_attn_backend") and (backend := module.get_attn_backend()) is not None
        )
        parameters = list(model.parameters())
        return {
            "pid": os.getpid(),
            "model_class": type(model).__name__,
            "dtypes": dict(Counter(str(parameter.dtype) for parameter in parameters)),
            # Those of linear layers are no longer there where a CPU's kernels have packed them.
            "parameters_unpacked": sum(parameter.numel() for parameter in parameters),
            "quantization_methods": dict(quantized),
            "attention_backends": dict(attention),
            "captured_graphs": int(compilation_counter.num_cudagraph_captured),
            "compiled_models": int(compilation_counter.num_models_seen),
            "cpu_threads": _threads(),
        }


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())
