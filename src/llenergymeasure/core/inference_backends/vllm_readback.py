"""What a running engine says it runs with, read in its workers and held against what was sent."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Build, plain
from llenergymeasure.config.vllm.entry_points import BEAM_SEARCH_PARAMS, LLM, SAMPLING_PARAMS
from llenergymeasure.config.vllm.kernels import OpPriority
from llenergymeasure.core.inference_backends import vllm_log
from llenergymeasure.core.inference_backends.base import Difference, Effective
from llenergymeasure.core.inference_backends.vllm_json import as_json

if TYPE_CHECKING:
    from llenergymeasure.core.inference_backends.vllm import VLLMBackend

MISSING = object()
# Where the engine keeps a parameter under another name than its own; all others are found by their name.
PLACES: Mapping[str, str] = {
    "attention_backend": "attention_config.backend",
    "lora_target_modules": "lora_config.target_modules",
    "mamba_backend": "mamba_config.backend",
    "mamba_ssu_algorithm": "mamba_config.ssu_algorithm",
    "enable_mamba_cache_stochastic_rounding": "mamba_config.enable_stochastic_rounding",
    "mamba_cache_philox_rounds": "mamba_config.stochastic_rounding_philox_rounds",
    "gdn_prefill_backend": "additional_config.gdn_prefill_backend",
    "kda_prefill_backend": "additional_config.kda_prefill_backend",
    "kda_decode_backend": "additional_config.kda_decode_backend",
    "kv_cache_dtype": "cache_config.cache_dtype",
    "reasoning_parser": "structured_outputs_config.reasoning_parser",
    "cpu_offload_params": "offload_config.uva.cpu_offload_params",
    "offload_group_size": "offload_config.prefetch.offload_group_size",
    "offload_num_in_group": "offload_config.prefetch.offload_num_in_group",
    "offload_prefetch_step": "offload_config.prefetch.offload_prefetch_step",
    "offload_params": "offload_config.prefetch.offload_params",
    "scheduling_policy": "scheduler_config.policy",
}
# Lists to which the engine adds entries of its own.
_EXTENDED = ("custom_ops", "compile_ranges_endpoints")
_APPENDED = frozenset(OpPriority.model_fields)  # after what was asked for: the order is what counts
# Parts of the names of variables whose value is nobody's business; a result is made to be passed on.
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_AUTO = ("auto", -1)  # leave the choice to the engine: whatever it chose is what was asked for


def read_back(backend: "VLLMBackend") -> Effective:
    """The workers' configuration and facts, and every sent value that the engine does not confirm."""
    engine = backend.llm.collective_rpc("llem_config")[0]
    params = as_json(backend.params)
    workers = backend.llm.collective_rpc("llem_facts")
    values = {
        "engine": engine,
        "sampling": params,
        "workers": workers,
        "environment": _environment(),
        "log_warnings": vllm_log.warnings(Path(backend.share.log)) if backend.share.log else [],
    }
    differences = [
        Difference(path, sent, found)
        for path, sent, found in _compared(backend, engine, params)
        if not confirms(path.rpartition(".")[2], sent, found) and sent not in _AUTO
    ]
    differences += _unused_attention(backend, workers)
    return Effective(values, tuple(differences), tuple(backend.noticed()))


def _environment() -> dict[str, str]:
    """The engine's own variables; of those that hold a secret only that they are set."""
    return {
        name: "(set)" if any(part in name.upper() for part in _SECRET) else value
        for name, value in sorted(os.environ.items())
        if name.startswith("VLLM_")
    }


def _unused_attention(backend: "VLLMBackend", workers: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    """A kernel for attention that no layer uses: on a CPU the engine takes its own and keeps the other's name."""
    sent = backend.calls[LLM].get("attention_backend", "auto")
    ran = sorted({name for worker in workers for name in worker.get("attention_backends", ())})
    if ran and sent not in _AUTO and not any(same(sent, used) for used in ran):
        yield Difference(backend.calls.origins[Target(LLM, "attention_backend")], sent, ", ".join(ran))


def _compared(backend: "VLLMBackend", engine: Any, params: Any) -> Iterator[tuple[str, Any, Any]]:
    calls = backend.calls
    for entry_point, values in ((LLM, engine), (SAMPLING_PARAMS, params), (BEAM_SEARCH_PARAMS, params)):
        for name, value in calls[entry_point].items():
            path = calls.origins[Target(entry_point, name)]
            for names, sent in leaves((name,), value):
                found = locate(values, names) if entry_point == LLM else follow(values, names)
                if found is not MISSING:
                    yield ".".join([path, *names[1:]]), plain(sent), found


def leaves(names: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every single value that is sent, those inside objects by their own names."""
    inside = value.arguments if isinstance(value, Build) else value
    if isinstance(inside, Mapping) and inside and all(isinstance(name, str) for name in inside):
        for name, inner in inside.items():
            yield from leaves((*names, name), inner)
    else:
        yield names, value


def locate(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """A parameter's value in the engine's configuration, MISSING where it keeps none."""
    place = PLACES.get(".".join(names))
    if place is not None:
        return follow(values, tuple(place.split(".")))
    if names == ("enable_lora",) and "lora_config" in values:
        return values["lora_config"] is not None
    if names == ("cpu_offload_gb",) and follow(values, ("offload_config", "uva")) is not MISSING:
        return follow(values, ("offload_config", "uva", "cpu_offload_gb"))  # moved after 0.11
    for part in (values, *(item for item in values.values() if isinstance(item, Mapping))):
        if names[0] in part and (found := follow(part, names)) is not MISSING:
            return found
    return MISSING


def follow(values: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        if not isinstance(values, Mapping) or name not in values:
            return MISSING
        values = values[name]
    return values


def confirms(name: str, sent: Any, found: Any) -> bool:
    """Whether what the engine runs with is what was sent, or holds it where the engine adds to it."""
    if name in _EXTENDED and isinstance(sent, list) and isinstance(found, list):
        return all(any(same(item, other) for other in found) for item in sent)
    if name in _APPENDED and isinstance(sent, list) and isinstance(found, list):
        return same(sent, found[: len(sent)])
    return same(sent, found)


def same(sent: Any, found: Any) -> bool:
    """Equal as JSON; names of dtypes and enum members in any spelling, of a mapping what was sent."""
    if isinstance(sent, Mapping) and isinstance(found, Mapping):
        return all(str(name) in found and same(value, found[str(name)]) for name, value in sent.items())
    if isinstance(sent, list | tuple | set) and isinstance(found, list | tuple):
        ordered = (sorted(sent, key=str), sorted(found, key=str)) if isinstance(sent, set) else (sent, found)
        return len(ordered[0]) == len(ordered[1]) and all(map(same, *ordered))
    if isinstance(sent, str) and isinstance(found, str):
        return _word(sent) == _word(found)
    return isinstance(sent, bool) == isinstance(found, bool) and bool(sent == found)


def _word(text: str) -> str:
    word = text.removeprefix("torch.").casefold()
    return {"half": "float16", "float": "float32"}.get(word, word)
