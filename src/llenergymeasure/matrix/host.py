"""What a record says about the machine: what figures depend on, and nothing that identifies it."""

import os
import platform
from pathlib import Path

from llenergymeasure.matrix.records import Host


def facts() -> Host:
    gpus, driver = _gpus()
    return Host(_cpu(), os.cpu_count(), _memory_bytes(), gpus, driver)


def versions() -> dict[str, str]:
    # The kernel's own version string may carry the name of who built it.
    system = f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}"
    return {"python": platform.python_version(), "platform": system.strip()}


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


def _gpus() -> tuple[tuple[str, ...], str | None]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return (), None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return tuple(_text(pynvml.nvmlDeviceGetName(handle)) for handle in handles), _text(
            pynvml.nvmlSystemGetDriverVersion()
        )
    except pynvml.NVMLError:
        return (), None
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
