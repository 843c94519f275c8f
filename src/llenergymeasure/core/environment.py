"""What a result must say of the machine and packages it was measured with; no host or user names."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

PACKAGES = {
    "pytorch": (
        "transformers", "torch", "accelerate", "tokenizers",
        "bitsandbytes", "torchao", "optimum-quanto", "hqq", "kernels",
    ),
    "vllm": ("vllm", "torch", "transformers"),
    "tensorrt": ("tensorrt-llm", "tensorrt", "torch", "transformers"),
}  # fmt: skip


def describe_environment(backend: str) -> dict[str, Any]:
    """Versions and hardware, as JSON."""
    return {
        "packages": {
            name: version for name in ("llenergymeasure", *PACKAGES[backend]) if (version := installed_version(name))
        },
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cpu_cores": os.cpu_count(),
        "gpus": gpus(),
    }


def installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """The processor's name, the architecture where the system tells no name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpus() -> list[dict[str, str]]:
    """Name, UUID and driver of every GPU that the loaded torch sees; empty where torch is not loaded or sees none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [
        {
            "name": torch.cuda.get_device_name(index),
            "uuid": str(torch.cuda.get_device_properties(index).uuid),
            "memory_gib": f"{torch.cuda.get_device_properties(index).total_memory / 2**30:.1f}",
            "cuda": str(torch.version.cuda),
        }
        for index in range(torch.cuda.device_count())
    ]
