"""vLLM's exceptions and deaths, turned into an error that names the field and says what to do."""

import re
from pathlib import Path

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Calls
from llenergymeasure.config.origin import one_line
from llenergymeasure.config.vllm.entry_points import LLM
from llenergymeasure.core import failures
from llenergymeasure.core.energy.nvml import memory_holders
from llenergymeasure.core.inference_backends import vllm_log
from llenergymeasure.errors import EnvironmentLacksError, LlemError, RequestError

_OCCUPIED = re.compile(r"(Free|Available) memory on .*? is less than desired \w+ memory utilization \([^)]*\)")
_NO_ROOM = re.compile(r"No available memory for the cache blocks|larger than the available KV cache memory[^.]*")
_CONTEXT = re.compile(
    r"max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len \([^)]*?(?P<has>\d+)"
)
_DIED = re.compile(r"Engine core initialization failed|EngineDeadError|EngineCore encountered|died unexpectedly")
_MEMORY_FIELDS = ("gpu_memory_utilization", "kv_cache_memory_bytes", "max_model_len", "max_num_seqs")


def explain(error: BaseException, calls: Calls, model: str, doing: str, log: str) -> LlemError:
    """The error that a user sees for what the engine raised while `doing` something.

    What another process of the engine said of the cause is taken from the log.
    """
    if isinstance(error, LlemError):
        return error
    said = _message(error)
    name = type(error).__name__
    if log and (_DIED.search(said) or name == "EngineDeadError"):
        said = vllm_log.raised(Path(log)) or said
        cause = _recognise(said, calls, model, doing)
        return cause or died(f"vLLM's engine, while {doing} {model},", said, log)
    if (cause := _recognise(said, calls, model, doing)) is not None:
        return cause
    if fields := failures.mentioned(str(error), calls.origins):
        return RequestError(
            f"{', '.join(fields)}: refused while {doing} {model}: {said}", f"change or remove {' or '.join(fields)}"
        )
    return failures.explain(error, calls, model, doing) if "\n" not in said else died(model, said, log)


def died(who: str, how: str, log: str) -> EnvironmentLacksError:
    """The error for an engine that ended by itself, with its own last lines."""
    lines = vllm_log.last_lines(Path(log)) if log else []
    last = f"; its last lines: {' | '.join(lines)}" if lines else ""
    return EnvironmentLacksError(
        f"{who} died ({one_line(how)}){last}",
        "see what the lines name; where it is memory, lower gpu_memory_utilization, max_model_len or max_num_seqs",
    )


def _recognise(said: str, calls: Calls, model: str, doing: str) -> LlemError | None:
    if found := _OCCUPIED.search(said):
        holders = memory_holders()
        who = f"; it is held by {', '.join(holders)}" if holders else ""
        return EnvironmentLacksError(
            f"{_path(calls, 'gpu_memory_utilization')}: {found[0].rstrip('. ')}{who}",
            "end what holds the memory, or lower vllm.gpu_memory_utilization",
        )
    if found := _CONTEXT.search(said):
        return RequestError(
            f"{_path(calls, 'max_model_len')}: {found['asked']} tokens were asked for, "
            f"the model's context is {found['has']}",
            f"lower it to {found['has']} at most",
        )
    if _NO_ROOM.search(said):
        return EnvironmentLacksError(
            f"{_path(calls, 'gpu_memory_utilization')}: no room for the KV cache "
            f"while {doing} {model}: {one_line(said)}",
            "raise vllm.gpu_memory_utilization, or lower vllm.max_model_len or vllm.max_num_seqs",
        )
    if failures.NO_MEMORY.search(said):
        return EnvironmentLacksError(
            f"out of memory while {doing} {model}: {one_line(said)}",
            f"lower {', '.join(f'vllm.{name}' for name in _MEMORY_FIELDS)} or the number format's width, "
            "or free the memory that others hold",
        )
    return None


def _path(calls: Calls, name: str) -> str:
    return calls.origins.get(Target(LLM, name), f"vllm.{name}")


def _message(error: BaseException) -> str:
    """What the exception says; of a pydantic one, what is wrong, without the frame around it."""
    errors = getattr(error, "errors", None)
    if callable(errors) and type(error).__name__ == "ValidationError":
        return "; ".join(str(line["msg"]).removeprefix("Value error, ") for line in errors())
    return failures.first_line(error)
