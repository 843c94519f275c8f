"""What this machine can run and measure with this version, and what to do about each thing that is missing."""

import os
from dataclasses import dataclass

from llenergymeasure.config.bindings import BACKENDS
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.energy.nvml import BoardFacts, board_facts, visible_boards
from llenergymeasure.core.energy.window import open_meters
from llenergymeasure.core.environment import installed_version
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.packages import distributions, install_hint

NEEDED = {"pytorch": ("transformers", "torch", "accelerate"), "vllm": ("vllm",), "tensorrt": ("tensorrt-llm",)}


@dataclass(frozen=True)
class Finding:
    """One thing that a run may need."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Looks at packages and meters; loads no backend. A backend that this version cannot run is not offered."""
    return [*(_backend(name) for name in BACKENDS if name in ExperimentConfig.model_fields), _gpu(), *_meters()]


def _backend(name: str) -> Finding:
    found = {
        build: version
        for package in NEEDED[name]
        for build in distributions(package)
        if (version := installed_version(build))
    }
    missing = [package for package in NEEDED[name] if not found.keys() & set(distributions(package))]
    if missing:
        return Finding(
            f"backend {name}",
            ok=False,
            detail=f"{', '.join(missing)} not installed",
            remedy=install_hint(name),
        )
    pinned = snapshots.versions(name)
    detail = ", ".join(f"{package} {version}" for package, version in found.items())
    if snapshots.installed_version(name) not in pinned:
        detail += f"; audited are {', '.join(pinned)}: another version's parameters are read from its source"
    return Finding(f"backend {name}", ok=True, detail=detail)


def _gpu() -> Finding:
    """What CUDA shows to programs that start here; whether a container reaches it as well, its runner finds out."""
    boards, facts = visible_boards(os.environ), board_facts()
    if boards:
        shown = [f"{_board(gpu.name, facts.get(gpu.uuid))}, {memory_gib:.0f} GiB" for gpu, memory_gib in boards]
        return Finding("GPU", ok=True, detail="; ".join(shown))
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    if facts and mask is not None:
        cause, remedy = f"CUDA_VISIBLE_DEVICES={mask!r} hides all {len(facts)}", "unset it, or name the one to use"
        return Finding("GPU", ok=False, detail=cause, remedy=remedy)
    remedy = "load NVIDIA's driver: `nvidia-smi` must list the GPU first (docs/gpu-runner.md); CPUs need nothing of it"
    return Finding("GPU", ok=False, detail="no NVIDIA driver here shows one", remedy=remedy)


def _meters() -> list[Finding]:
    with open_meters() as meters:
        missing = meters.missing()
        gpus = list(getattr(meters.gpu, "gpus", ()))
    boards = board_facts() if gpus else {}
    findings = []
    for family in ("gpu", "cpu"):
        reasons = [reason for name, reason in missing.items() if _is_gpu(name) == (family == "gpu")]
        there = ", ".join(_board(gpu.name, boards.get(gpu.uuid)) for gpu in gpus) if family == "gpu" else "RAPL"
        detail = "; ".join(dict.fromkeys(reasons)) or there
        findings.append(Finding(f"{family.upper()} energy meter", ok=not reasons, detail=detail))
    return findings


def _board(name: str, facts: BoardFacts | None) -> str:
    driver = f" (driver {facts.driver})" if facts is not None and facts.driver else ""
    return f"{name}{driver}"


def _is_gpu(name: str) -> bool:
    return name == "gpu" or name.startswith("GPU-")
