"""The processes that a PyTorch run consists of: replicas, and the ranks that one model is spread over."""

import os
from typing import Any

from llenergymeasure.config.lowering import Calls
from llenergymeasure.config.pytorch.entry_points import FROM_PRETRAINED, PLAN_REPLICAS
from llenergymeasure.core.api import Api
from llenergymeasure.core.inference_backends.base import Share


def plan(calls: Calls, api: Api) -> list[Share]:
    """One share for each process, spread over the CUDA devices."""
    devices = 0
    if not _off_the_gpu(calls[FROM_PRETRAINED].get("device_map")) and api.resolve("torch.cuda.is_available")():
        devices = api.resolve("torch.cuda.device_count")()
    shares: list[Share] = api.resolve(PLAN_REPLICAS)(
        **calls[PLAN_REPLICAS],
        ranks=_ranks(calls[FROM_PRETRAINED], devices),
        devices=devices,
        cores=os.cpu_count() or 1,
    )
    return shares


def _off_the_gpu(device_map: Any) -> bool:
    """Whether the map itself keeps every part of the model away from the GPUs."""
    places = device_map.values() if isinstance(device_map, dict) else [device_map]
    return bool(places) and all(place in ("cpu", "disk", "meta") for place in places)


def _ranks(sent: dict[str, Any], devices: int) -> int:
    """Processes per replica: tensor, pipeline and data sharding multiply; `tp_plan` alone takes every device."""
    if "tp_plan" in sent:
        return int(sent.get("tp_size", max(1, devices)))
    if "distributed_config" not in sent:
        return 1
    sizes = sent["distributed_config"].arguments
    total = 1
    for name in ("tp_size", "pp_size", "fsdp_size", "dp_replicate_size"):
        total *= sizes.get(name) or 1
    return max(total, sizes.get("ep_size") or 1)
