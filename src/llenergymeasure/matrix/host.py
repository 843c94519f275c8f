"""What a record says about the machine: what figures depend on, and nothing that identifies it."""

import itertools
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from llenergymeasure.matrix.records import Host


def facts() -> Host:
    gpus, driver, _ = _asked()
    return Host(_cpu(), os.cpu_count(), _memory_bytes(), gpus, driver)


def versions() -> dict[str, str]:
    # The kernel's own version string may carry the name of who built it.
    system = f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}"
    return {"python": platform.python_version(), "platform": system.strip()}


def lacks(cell_platform: str, environ: Mapping[str, str] = os.environ) -> str:
    """What cells of a platform need and this machine does not have, "" where it has it; loads no backend."""
    if cell_platform != "cuda":
        return ""
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    if mask is not None and not _unmasked(mask):
        return f"an NVIDIA GPU, and CUDA_VISIBLE_DEVICES={mask!r} hides every one"
    gpus, _, problem = _asked()
    return "" if gpus else f"an NVIDIA GPU, and {problem or 'NVML shows none'}"


def devices(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, else all, by number."""
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(str(number) for number in range(len(_asked()[0]))) if mask is None else _unmasked(mask)


def _unmasked(mask: str) -> tuple[str, ...]:
    """CUDA shows those that stand before the first that is no name of a board."""
    names = (name.strip() for name in mask.split(","))
    return tuple(itertools.takewhile(lambda name: name and not name.startswith("-"), names))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _asked() -> tuple[tuple[str, ...], str | None, str]:
    """The GPUs, their driver, and why NVML says nothing of them where it does not."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return (), None, f"NVML does not answer ({error})"
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        names = tuple(_text(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
        return names, _text(pynvml.nvmlSystemGetDriverVersion()), ""
    except pynvml.NVMLError as error:
        return (), None, f"NVML could not list the GPUs ({error})"
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
