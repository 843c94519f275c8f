"""What a result must say of the machine and packages it was measured with; no host or user names."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llenergymeasure.core.energy.nvml import board_facts, visible_boards
from llenergymeasure.core.results import GPU, Environment, Process
from llenergymeasure.surface.packages import distributions

PACKAGES = {
    "pytorch": (
        "transformers", "torch", "accelerate", "tokenizers",
        "bitsandbytes", "torchao", "optimum-quanto", "hqq", "kernels",
    ),
    "vllm": ("vllm", "torch", "transformers"),
    "tensorrt": ("tensorrt-llm", "tensorrt", "torch", "transformers"),
}  # fmt: skip


@dataclass(frozen=True)
class Hardware:
    """The GPUs of a process, and the version of CUDA that its backend was built with."""

    cuda: str | None = None
    gpus: tuple[GPU, ...] = ()


def describe_environment(backend: str, processes: Sequence[Process], hardware: Hardware) -> Environment:
    """Versions and hardware; `processes` are the replicas', each described where it ran, as the hardware is."""
    return Environment(
        packages={
            name: version
            for package in ("llenergymeasure", *PACKAGES[backend])
            for name in distributions(package)
            if (version := installed_version(name))
        },
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cpu=cpu_model(),
        cpu_cores=os.cpu_count(),
        cuda=hardware.cuda,
        gpus=list(hardware.gpus),
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


def describe_hardware() -> Hardware:
    """The GPUs that the loaded backend sees, described in its own process."""
    torch = sys.modules.get("torch")
    found = gpus()
    return Hardware(str(torch.version.cuda) if torch is not None and found else None, tuple(found))


def gpus() -> list[GPU]:
    """Every GPU that the loaded torch sees; empty where torch is not loaded or sees none.

    Where torch has not touched the GPUs, because the engine's workers are other processes, NVML is asked: torch would
    take memory on them.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    boards = board_facts()
    if not torch.cuda.is_initialized():
        seen = [(gpu.uuid, gpu.name, memory_gib) for gpu, memory_gib in visible_boards(os.environ)]
    else:
        properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        seen = [
            # NVML writes the prefix, torch does not.
            (f"GPU-{str(item.uuid).removeprefix('GPU-')}", item.name, item.total_memory / 2**30)
            for item in properties
        ]
    return [
        GPU(
            uuid=uuid,
            name=name,
            memory_gib=round(memory_gib, 1),
            driver=board.driver if (board := boards.get(uuid)) else None,
            power_limit_w=board.power_limit_w if board else None,
        )
        for uuid, name, memory_gib in seen
    ]
