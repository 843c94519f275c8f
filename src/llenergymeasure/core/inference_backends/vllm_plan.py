"""The processes that a vLLM run consists of: one engine for each data-parallel rank; its workers it starts itself."""

import dataclasses
import os

from llenergymeasure.config.lowering import Calls
from llenergymeasure.config.pytorch.entry_points import PLAN_REPLICAS
from llenergymeasure.core.api import Api
from llenergymeasure.core.inference_backends.base import Share, free_port


def plan(calls: Calls, api: Api) -> list[Share]:
    """One share for each rank; they meet at one port, and vLLM itself binds its threads and devices."""
    shares: list[Share] = api.resolve(PLAN_REPLICAS)(**calls[PLAN_REPLICAS], cores=os.cpu_count() or 1)
    port = free_port() if len(shares) > 1 else 0
    return [dataclasses.replace(share, threads=None, port=port) for share in shares]
