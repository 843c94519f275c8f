"""What an engine needs of the machine before it starts: devices for every rank, cores for every worker on a CPU."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Calls
from llenergymeasure.config.pytorch.entry_points import PLAN_REPLICAS
from llenergymeasure.config.vllm.entry_points import LLM
from llenergymeasure.core.api import Api, materialise
from llenergymeasure.core.inference_backends.base import Share
from llenergymeasure.errors import EnvironmentLacksError, RequestError

# Each multiplies the worker processes of one engine.
_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size")
# What decides which model it is.
_DESCRIBING = (
    "model", "revision", "code_revision", "trust_remote_code", "hf_overrides", "hf_config_path", "config_format",
)  # fmt: skip
_BINDING = "VLLM_CPU_OMP_THREADS_BIND"


def refuse_revisions_of_folders(calls: Calls) -> None:
    """A folder holds one revision; vLLM would take it whatever revision is asked for.

    Raises:
        RequestError: names the field.
    """
    sent = calls[LLM]
    for name, source in (("revision", sent.get("model")), ("tokenizer_revision", sent.get("tokenizer"))):
        if name in sent and source is not None and Path(source).is_dir():
            path = calls.origins[Target(LLM, name)]
            raise RequestError(
                f"{path}: would be ignored: {source} is a folder, not a repository",
                f"remove {path}, or name the repository",
            )


def prepare(calls: Calls, api: Api, share: Share) -> list[str]:
    """Set what vLLM reads from the environment; what a reader of the result should know is returned.

    Raises:
        EnvironmentLacksError: the parallel sizes need more devices than there are.
    """
    workers = math.prod(int(calls[LLM].get(name, 1)) for name in _SIZES)
    total = workers * share.replicas
    joined = share.replicas > 1 and _has_experts(calls, api)
    if joined:
        _join_ranks(share, api)
    # Ranks that share experts count the devices and cores of all of them; engines on their own see only theirs.
    mine = slice(None) if joined else slice(share.replica * workers, (share.replica + 1) * workers)
    platform: Any = api.resolve("vllm.platforms.current_platform")
    if platform.is_cpu():
        return _bind_cores(total, mine, sizing(calls))
    visible = int(api.resolve("torch.cuda.device_count")())
    if total > visible and calls[LLM].get("distributed_executor_backend") != "ray":
        fields = sizing(calls)
        raise EnvironmentLacksError(
            f"{' times '.join(fields)}: {total} processes need {total} GPUs, "
            f"{visible} {'is' if visible == 1 else 'are'} visible",
            f"lower {' or '.join(fields)}, or run where there are more GPUs",
        )
    if share.replicas > 1 and not joined:
        environ = api.resolve("os.environ")
        named = environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(visible)))
        environ["CUDA_VISIBLE_DEVICES"] = ",".join(named.split(",")[mine])
    return []


def _has_experts(calls: Calls, api: Api) -> bool:
    """Whether the ranks share the model's experts. Without any, vLLM refuses to join them: each is an engine alone."""
    sent = materialise({name: value for name, value in calls[LLM].items() if name in _DESCRIBING}, api)
    config: Any = api.resolve("vllm.EngineArgs")(**sent).create_model_config()
    return bool(config.get_num_experts())


def sizing(calls: Calls) -> list[str]:
    """The fields that multiply the processes, as far as they are set."""
    targets = [Target(LLM, name) for name in _SIZES] + [Target(PLAN_REPLICAS, "num_processes")]
    return [calls.origins[target] for target in targets if target in calls.origins] or ["vllm"]


def _join_ranks(share: Share, api: Api) -> None:
    """The ranks of a data-parallel group are told of each other by the environment, as in vLLM's own examples."""
    environ = api.resolve("os.environ")
    environ |= {
        "VLLM_DP_RANK": str(share.replica), "VLLM_DP_RANK_LOCAL": str(share.replica),
        "VLLM_DP_SIZE": str(share.replicas), "VLLM_DP_MASTER_IP": "127.0.0.1",
        "VLLM_DP_MASTER_PORT": str(share.port),
    }  # fmt: skip


def _bind_cores(workers: int, mine: slice, fields: Sequence[str]) -> list[str]:
    """Divide the cores between the workers: vLLM binds one worker to each NUMA node and refuses a second one there."""
    if workers == 1 or _BINDING in os.environ:
        return []
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    if len(cores) < workers:
        raise EnvironmentLacksError(
            f"{' times '.join(fields)}: {workers} workers on the CPU need a core each, {len(cores)} may be used",
            f"lower {' or '.join(fields)}",
        )
    each = len(cores) // workers
    shares = [cores[start * each : (start + 1) * each] for start in range(workers)]
    binding = "|".join(",".join(map(str, share)) for share in shares[mine])
    os.environ[_BINDING] = binding
    return [f"{_BINDING} was not set: {workers} workers share the cores, and these have {binding}"]
