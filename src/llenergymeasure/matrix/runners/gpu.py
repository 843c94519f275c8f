"""How a daemon hands GPUs to a container: found in what it says of itself, then tried in a tiny one."""

import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix.limits import Limits
from llenergymeasure.matrix.runners import container, owners, tiny
from llenergymeasure.matrix.runners.daemon import Daemon

if TYPE_CHECKING:
    from docker.types import DeviceRequest

KIND = "nvidia.com/gpu"
_DEADLINE_S = 60.0
# The shell of the tiny image has no other program beside it; /dev/dxg is the one device of all GPUs under WSL.
_LOOK = "for node in /dev/nvidia[0-9]* /dev/dxg; do [ -e $node ] && echo $node; done; :"
_TOOLKIT = (
    "install NVIDIA's container toolkit, run `sudo nvidia-ctk runtime configure --runtime=docker`, restart the daemon"
)
_SPEC = (
    "run `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` (of NVIDIA's container toolkit), "
    "and again after each change of the driver"
)
_DRIVER = "load NVIDIA's driver on the machine: `nvidia-smi` must answer there first"
# Seen on 4.3 and 4.9: it takes the request and hands out nothing.
_PODMAN = (
    "podman's Docker-compatible API does not pass GPUs on in every version: take --runner docker, or a newer podman "
    "with a CDI specification (`sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`)"
)
# What a daemon says where a way does not work, and what to do about it; the first that fits.
_REMEDIES = (
    (r"unresolvable CDI devices?|CDI .*not found|no CDI", _SPEC),
    (r"driver not loaded|driver/library|libnvidia-ml|nvml error|driver error|no such file .*/dev/nvidia", _DRIVER),
    (r"unknown device|invalid device", "choose devices that `nvidia-smi -L` lists with --devices"),
    (r"could not select device driver|nvidia-container.*(not found|no such file)|unknown.*runtime", _TOOLKIT),
)


@dataclass(frozen=True)
class Way:
    """One way to GPUs, and the requests that go it."""

    name: str
    requests: tuple["DeviceRequest", ...]


def parse_devices(text: str) -> tuple[str, ...]:
    """Numbers or UUIDs of GPUs, as `nvidia-smi -L` lists them, with commas between; raises RequestError."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not re.fullmatch(r"\d+|(GPU|MIG)-[0-9A-Za-z/-]+", name):
            raise RequestError(f"--devices {text}: {name!r} is no GPU", "give numbers or UUIDs such as 0,1")
    if len(set(names)) < len(names):
        raise RequestError(f"--devices {text}: one GPU is there twice", "name each once")
    return names


def ways(daemon: Daemon, devices: Sequence[str]) -> tuple[Way, ...]:
    """The ways to try: CDI where it is on, and the NVIDIA runtime, which Docker may have without saying so.

    CDI devices are looked up in the daemon's own list where it gives one, else named by their convention.
    """
    from docker.types import DeviceRequest

    names = [f"{KIND}={device}" for device in devices or ("all",)]
    cdi = Way("CDI", (DeviceRequest(driver="cdi", device_ids=names),))
    if daemon.podman:
        return (cdi,)
    # `docker run --gpus` asks the same; compute and utility are CUDA and NVML.
    wanted = {"driver": "nvidia", "capabilities": [["gpu", "compute", "utility"]]}
    chosen = {"device_ids": list(devices)} if devices else {"count": -1}
    runtime = Way("the NVIDIA runtime", (DeviceRequest(**wanted, **chosen),))
    known = [row["ID"] for row in daemon.info.get("DiscoveredDevices") or () if row.get("Source") == "cdi"]
    on = set(names) <= set(known) if known else bool(daemon.info.get("CDISpecDirs"))
    return (cdi, runtime) if on else (runtime,)


def reach(daemon: Daemon, devices: Sequence[str], user: tuple[int, int]) -> Way:
    """The first way on which a tiny container sees the GPUs; raises EnvironmentLacksError with what is in each way."""
    refusals = []
    with tiny.image(daemon) as image:
        for way in ways(daemon, devices):
            try:
                nodes = _seen(daemon, image, way, user)
            except EnvironmentLacksError as error:
                refusals.append(f"{way.name}: {error.cause}")
                continue
            if len(nodes) >= max(1, len(devices)) or nodes == ["/dev/dxg"]:
                return way
            refusals.append(f"{way.name}: a container sees {', '.join(nodes) or 'no GPU'}")
    said = "; ".join(refusals)
    which = f"GPU {','.join(devices)}" if devices else "a GPU"
    raise EnvironmentLacksError(f"no container reaches {which}: {said}", remedy(daemon, said))


def remedy(daemon: Daemon, said: str) -> str:
    """What to do about a way that does not work."""
    for pattern, words in _REMEDIES:
        if re.search(pattern, said, re.IGNORECASE):
            return words
    if daemon.podman:
        return _PODMAN
    if daemon.info.get("CDISpecDirs"):
        return _SPEC
    return _DRIVER if "nvidia" in (daemon.info.get("Runtimes") or {}) else _TOOLKIT


def _seen(daemon: Daemon, image: str, way: Way, user: tuple[int, int]) -> list[str]:
    lines: list[str] = []
    name = f"llem-gpu-check-{uuid.uuid4().hex[:8]}"
    plan = container.Plan(
        name=name,
        image=image,
        argv=[tiny.SHELL, "-c", _LOOK],
        labels=owners.labels("GPU check", name),
        user=user,
        limits=Limits(shm_gib=0.01, tmp_gib=0.01),
        memory_bytes=256 * 1024 * 1024,
        devices=way.requests,
    )
    ended = container.run(daemon, plan, log=Path(os.devnull), on_line=lines.append, deadline_s=_DEADLINE_S, grace_s=0)
    if problem := ended.lost or ended.crash or ("it hung" if ended.timed_out else ""):
        raise EnvironmentLacksError(f"the tiny container that looks for it failed: {problem}")
    return lines
