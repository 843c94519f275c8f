"""What this machine can run and measure, and what to do about each thing that is missing."""

import shutil
from dataclasses import dataclass

from llenergymeasure.core.energy.window import open_meters
from llenergymeasure.core.environment import installed_version

BACKENDS = {"pytorch": ("transformers", "torch", "accelerate"), "vllm": ("vllm",), "tensorrt": ("tensorrt-llm",)}


@dataclass(frozen=True)
class Finding:
    """One thing that a run may need."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Looks at packages, meters and runners; loads no backend."""
    return [
        *map(_backend, BACKENDS),
        *_meters(),
        *map(_runner, ("docker", "podman")),
        Finding("runner venv", ok=True, detail="built in"),
    ]


def _backend(name: str) -> Finding:
    versions = {package: installed_version(package) for package in BACKENDS[name]}
    missing = [package for package, version in versions.items() if version is None]
    if missing:
        return Finding(
            f"backend {name}",
            ok=False,
            detail=f"{', '.join(missing)} not installed",
            remedy=f'pip install "llenergymeasure[{name}]"',
        )
    return Finding(
        f"backend {name}", ok=True, detail=", ".join(f"{package} {version}" for package, version in versions.items())
    )


def _meters() -> list[Finding]:
    with open_meters() as meters:
        missing = meters.missing()
        gpus = list(getattr(meters.gpu, "gpus", ()))
    findings = []
    for family in ("gpu", "cpu"):
        reasons = [reason for name, reason in missing.items() if _is_gpu(name) == (family == "gpu")]
        detail = "; ".join(dict.fromkeys(reasons)) or (f"{len(gpus)} boards" if family == "gpu" else "RAPL")
        findings.append(Finding(f"{family} energy meter", ok=not reasons, detail=detail))
    return findings


def _is_gpu(name: str) -> bool:
    return name == "gpu" or name.startswith("GPU-")


def _runner(program: str) -> Finding:
    found = shutil.which(program)
    return Finding(
        f"runner {program}",
        ok=found is not None,
        detail="on PATH" if found else "not on PATH",
        remedy="" if found else f"install {program} to run cells in containers; the venv runner works without",
    )
