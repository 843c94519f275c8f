"""vLLM's exceptions and deaths, turned into an error that names the field and says what to do."""

import builtins
import contextlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Calls, plain
from llenergymeasure.config.origin import one_line
from llenergymeasure.config.vllm.entry_points import LLM
from llenergymeasure.core import failures
from llenergymeasure.core.energy.nvml import memory_holders
from llenergymeasure.core.inference_backends import vllm_log, vllm_machine
from llenergymeasure.core.inference_backends.vllm_readback import leaves
from llenergymeasure.errors import EnvironmentLacksError, LlemError, RequestError

_OCCUPIED = re.compile(
    r"(Free|Available) memory on .*? is less than (desired \w+ memory utilization|requested memory for kv) \([^)]*\)"
)
_NO_ROOM = re.compile(
    r"No available memory for the cache blocks|larger than the available KV cache memory"
    r"|leaving none for the KV cache|not enough GPU memory available to serve"
)
_CONTEXT = re.compile(
    r"max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len "
    r"\(\w+=(?P<has>[\d.]+) or model_max_length=(?P<own>\w+)"
)
_FEW_GPUS = re.compile(r"(World|Tensor parallel) size \(\d+\) .*larger than the number of available GPUs \(\d+\)")
_WRAPPED = re.compile(r"(?:Worker|RayWorkerWrapper) failed with error '(?P<says>.*)', please check")
_KILLED = re.compile(r"proc\(s\): \{.*: -(?!15\b)\d+")
_CRASHED = re.compile(r"(CUDA|NCCL|HIP|Triton) [Ee]rror|cudaError|(CUBLAS|CUDNN)_STATUS")
# The number of blocks decides where both are set.
_CACHE_FIELDS = ("num_gpu_blocks_override", "kv_cache_memory_bytes")
# What messages call a field otherwise than by its name.
_SHORT = {
    "tp_size": "tensor_parallel_size", "pp_size": "pipeline_parallel_size", "dcp_size": "decode_context_parallel_size",
    "pcp_size": "prefill_context_parallel_size", "context_length": "max_model_len",
}  # fmt: skip
_LONGEST = 400
_SHORTEST = 2  # letters of a value that may as well be any word


def explain(error: BaseException, calls: Calls, model: str, doing: str, log: str) -> LlemError:
    """The error that a user sees for what the engine raised while `doing` something.

    What another process of the engine said of the cause is taken from the log.
    """
    if isinstance(error, LlemError):
        return error
    name, said = type(error).__name__, _message(error)
    if wrapped := _WRAPPED.search(said):
        said = wrapped["says"]
    elif log and vllm_log.follows(said):
        found = None if _KILLED.search(said) else vllm_log.raised(Path(log))
        if found is None:
            return died(f"vLLM's engine, while {doing} {model},", vllm_log.death(Path(log)) or said, log)
        name, said = found
    again = _again(name, said)
    recognised = _recognise(said, calls, model, doing) or failures.recognise(again, calls, model, doing)
    if recognised is not None:
        return recognised
    if _CRASHED.search(said):
        return died(f"vLLM's engine, while {doing} {model},", said, log)
    if fields := _meant(said, calls) or _holding(said, calls):
        return RequestError(
            f"{', '.join(fields)}: refused while {doing} {model}: {one_line(said, _LONGEST)}",
            f"change or remove {' or '.join(fields)}",
        )
    return failures.explain(again, calls, model, doing)


def died(who: str, how: str, log: str) -> EnvironmentLacksError:
    """The error for an engine that ended by itself, with its own last lines."""
    lines = vllm_log.last_lines(Path(log)) if log else []
    last = f"; its last lines: {' | '.join(lines)}" if lines else ""
    return EnvironmentLacksError(
        f"{who} died ({one_line(how)}){last}",
        "see what the lines name; where it is memory, lower gpu_memory_utilization, max_model_len or max_num_seqs",
    )


def _recognise(said: str, calls: Calls, model: str, doing: str) -> LlemError | None:
    shown = one_line(said, _LONGEST)
    if found := _OCCUPIED.search(said):
        holders = memory_holders()
        who = f"; it is held by {', '.join(holders)}" if holders else ""
        cause = f"{found[0]}{who}"
        # The share has to be free beside a size of the cache, too.
        sized = ("kv_cache_memory_bytes",) if "kv cache allocation" in cause else ()
        path = _path(calls, *sized, "gpu_memory_utilization")
        return EnvironmentLacksError(f"{path}: {cause}", f"end what holds the memory, or lower {path}")
    if found := _CONTEXT.search(said):
        has = int(max(float(found["has"]), float(found["own"]) if found["own"].isdecimal() else 0))
        path = _asking(calls, "max_model_len", found["asked"])
        return RequestError(
            f"{path}: {found['asked']} tokens were asked for, the model's context is {has}",
            f"lower it to {has} at most",
        )
    if _NO_ROOM.search(said):
        path = _path(calls, *_CACHE_FIELDS, "gpu_memory_utilization")
        # A size that was asked for is too small on any machine.
        kind = RequestError if path.endswith(_CACHE_FIELDS) else EnvironmentLacksError
        return kind(
            f"{path}: no room for the KV cache while {doing} {model}: {shown}",
            f"raise {path}, or lower vllm.max_model_len or vllm.max_num_seqs",
        )
    if found := _FEW_GPUS.search(said):
        fields = vllm_machine.sizing(calls)
        return EnvironmentLacksError(
            f"{' times '.join(fields)}: {found[0]}", f"lower {' or '.join(fields)}, or run where there are more GPUs"
        )
    if failures.NO_MEMORY.search(said):
        paths = [_path(calls, *_CACHE_FIELDS, "gpu_memory_utilization"), "vllm.max_model_len", "vllm.max_num_seqs"]
        return EnvironmentLacksError(
            f"out of memory while {doing} {model}: {shown}",
            f"lower {', '.join(paths)} or the number format's width, or free the memory that others hold",
        )
    return None


def _path(calls: Calls, *names: str) -> str:
    """The first of the fields that is set, else the last one."""
    paths = [calls.origins[target] for name in names if (target := Target(LLM, name)) in calls.origins]
    return [*paths, f"vllm.{names[-1]}"][0]


def _asking(calls: Calls, name: str, value: str) -> str:
    """The fields that sent this value of a parameter, also one of a draft model, else the parameter's own field."""
    asking = [path for (_, known), path, sent in _sent(calls) if known == name and str(plain(sent)) == value]
    return ", ".join(asking) or _path(calls, name)


def _meant(said: str, calls: Calls) -> list[str]:
    """The fields that a message speaks of: by names of several words, as they are written, else as they are spoken."""
    sent = sorted(_sent(calls), key=lambda item: -item[1].count("."))  # of two of a name the outer one is meant
    paths = {called: path for names, path, _ in sent for called in names}
    written = re.findall(r"[A-Za-z_]\w*", said)
    found = {_SHORT.get(word, word) for word in written}
    spoken = f" {' '.join(re.findall(r'[a-z0-9_]+', said.lower()))} "
    long = [name for name in paths if "_" in name]
    named = [name for name in long if name in found] or [
        name for name in long if f" {name.replace('_', ' ')} " in spoken
    ]
    return list(dict.fromkeys(paths[name] for name in named))


def _holding(said: str, calls: Calls) -> list[str]:
    """The fields whose value the message quotes, else has as a word of its own, such as a way to quantize.

    Not those that name a model or a version of it, nor numbers and the like, which any message may have.
    """
    values = {
        path: value
        for target, path in calls.origins.items()
        if target.name not in failures.SOURCES
        and isinstance(value := calls[target.entry_point][target.name], str)
        and value != "auto"
    }
    words = re.findall(r"[\w.-]*\w", said)
    quoted = [path for path, value in values.items() if re.search(rf"(['\"`]){re.escape(value)}\1", said)]
    return quoted or [
        path
        for path, value in values.items()
        if value in words and (_telling(path, value) or _beside(path.rpartition(".")[2], value, words))
    ]


def _telling(path: str, value: str) -> bool:
    return len(value) > _SHORTEST and not re.fullmatch(r"[-+.\d]+", value) and not path.endswith("revision")


def _beside(name: str, value: str, words: list[str]) -> bool:
    return any({name, value} == {*pair} for pair in itertools.pairwise(words))


def _sent(calls: Calls) -> Iterator[tuple[tuple[str, str], str, Any]]:
    """Every parameter that is sent, also inside objects, as messages call it, with its field's path and its value.

    One inside an object is also called after that: speculative_max_model_len.
    """
    for target, path in calls.origins.items():
        whole = calls[target.entry_point][target.name]
        for names, value in leaves((target.name,), whole):
            for depth, name in enumerate(names, 1):
                longer = f"{names[0].removesuffix('_config')}_{name}" if depth > 1 else name
                yield (longer, name), ".".join([path, *names[1:depth]]), value if depth == len(names) else None


def _again(name: str, said: str) -> BaseException:
    """An exception like the one that another process raised."""
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):  # one that takes more than a message
            return kind(said)
    made: BaseException = type(name, (Exception,), {})(said)
    return made


def _message(error: BaseException) -> str:
    """What the exception says; of a pydantic one, what is wrong with which value, without the frame around it."""
    errors = getattr(error, "errors", None)
    if callable(errors) and type(error).__name__ == "ValidationError":
        found = []
        for line in errors():
            where = ".".join(map(str, line["loc"]))
            says = str(line["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
            found.append(f"{where}: {says}" if where else says)
        return "; ".join(found)
    return failures.first_line(error)
