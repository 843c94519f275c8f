"""What a result must say of the machine and packages it was measured with; no host or user names."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from llenergymeasure.core.energy.nvml import board_facts
from llenergymeasure.core.results import GPU, Environment, Process

PACKAGES = {
    "pytorch": (
        "transformers", "torch", "accelerate", "tokenizers",
        "bitsandbytes", "torchao", "optimum-quanto", "hqq", "kernels",
    ),
    "vllm": ("vllm", "torch", "transformers"),
    "tensorrt": ("tensorrt-llm", "tensorrt", "torch", "transformers"),
}  # fmt: skip


def describe_environment(backend: str, processes: Sequence[Process]) -> Environment:
    """Versions and hardware; `processes` are the replicas', each described where it ran."""
    torch = sys.modules.get("torch")
    found = gpus()
    return Environment(
        packages={
            name: version for name in ("llenergymeasure", *PACKAGES[backend]) if (version := installed_version(name))
        },
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cpu=cpu_model(),
        cpu_cores=os.cpu_count(),
        cuda=str(torch.version.cuda) if torch is not None and found else None,
        gpus=found,
        processes=list(processes),
    )


def describe_process() -> Process:
    """This process's share of the CPU, once its backend is loaded."""
    torch = sys.modules.get("torch")
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Process(cpu_threads=torch.get_num_threads() if torch is not None else None, cpu_affinity=affinity)


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


def gpus() -> list[GPU]:
    """Every GPU that the loaded torch sees; empty where torch is not loaded or sees none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    boards = board_facts()
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        uuid = f"GPU-{str(properties.uuid).removeprefix('GPU-')}"  # NVML writes the prefix, torch does not
        board = boards.get(uuid)
        found.append(
            GPU(
                uuid=uuid,
                name=properties.name,
                memory_gib=round(properties.total_memory / 2**30, 1),
                driver=board.driver if board else None,
                power_limit_w=board.power_limit_w if board else None,
            )
        )
    return found
