"""What a loaded transformers model says it runs with, held against what was sent to it."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Build, Calls, plain
from llenergymeasure.config.pytorch.entry_points import (
    GENERATE_BATCH,
    GENERATION_CONFIG,
    TORCH_COMPILE,
)
from llenergymeasure.config.pytorch.speculation import Drafting
from llenergymeasure.core.api import Api
from llenergymeasure.core.batching import Batch
from llenergymeasure.core.inference_backends.base import Difference, Effective, NotAsRequestedError
from llenergymeasure.core.inference_backends.pytorch_loaded import cuda_devices, quantized_modules

if TYPE_CHECKING:
    from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend


def end_tokens(model: Any, generation: Mapping[str, Any]) -> tuple[frozenset[int], int | None]:
    """The end tokens and the padding token that apply in generate."""
    own = model.generation_config
    ends = generation.get("eos_token_id", own.eos_token_id)
    pad = generation.get("pad_token_id", own.pad_token_id)
    found = frozenset(ends if isinstance(ends, list | tuple) else () if ends is None else (ends,))
    return found, pad if pad is not None else next(iter(found), None)


def read_back(backend: "PyTorchBackend", batch: Batch) -> Effective:
    """The running model's own configuration, and every sent value that it does not confirm."""
    return compared(backend, *inside_generate(backend, batch))


def compared(backend: "PyTorchBackend", generation: dict[str, Any], inside: dict[str, Any]) -> Effective:
    """The model's own configuration beside what decoding runs with, held against what was sent."""
    model, calls = backend.model, backend.calls
    values = {"model": _model_values(model, calls), "generation": generation, **inside}
    differences = [
        Difference(calls.origins[Target(GENERATION_CONFIG, name)], plain(sent), generation[name])
        for name, sent in calls[GENERATION_CONFIG].items()
        if name in generation and not same(plain(sent), generation[name]) and not isinstance(sent, Build)
    ]
    differences += _other_cache(calls, inside.get("cache_layers", ()))
    warnings = [*backend.warnings]
    if not cuda_devices(model) and backend.api.resolve("torch.cuda.is_available")():
        warnings.append("a GPU is there, and the model runs on the CPU")
    return Effective(values, tuple(differences), tuple(warnings))


def _other_cache(calls: Calls, layers: Sequence[str]) -> list[Difference]:
    """Some names stand for caches of a window; a model that has none gets another kind, and the name stays."""
    sent = calls[GENERATION_CONFIG].get("cache_implementation", "")
    windowed = any(word in sent for word in ("sliding", "hybrid"))
    if not windowed or not layers or any("Sliding" in layer or "Chunked" in layer for layer in layers):
        return []
    path = calls.origins[Target(GENERATION_CONFIG, "cache_implementation")]
    return [Difference(path, sent, ", ".join(layers))]


def same(sent: Any, effective: Any) -> bool:
    """Equal as JSON, a single value and a list of it alike (transformers turns one end token into a list).

    Of a mapping the sent keys count: transformers adds the model's configuration to a cache's options.
    """
    if isinstance(sent, Mapping) and isinstance(effective, Mapping):
        return all(name in effective and same(value, effective[name]) for name, value in sent.items())
    if isinstance(sent, tuple | list) or isinstance(effective, tuple | list):
        return bool(_listed(sent) == _listed(effective))
    return bool(sent == effective)


def _listed(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_listed(item) if isinstance(item, tuple | list) else item for item in value]
    return [value]


def inside_generate(backend: "PyTorchBackend", batch: Batch) -> tuple[dict[str, Any], dict[str, Any]]:
    """The generation config that decoding gets, and the processors, criteria and cache made from it.

    `custom_generate` is transformers' own hook: generate prepares everything as for a real call and hands it over.
    """
    seen: dict[str, Any] = {}

    def look(
        model: Any, input_ids: Any, logits_processor: Any, stopping_criteria: Any, generation_config: Any,
        tokenizer: Any = None, assistant_model: Any = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        del model, tokenizer, assistant_model
        # Its own dict leaves the compile options out in some versions.
        seen["generation"] = {**generation_config.to_dict(), "compile_config": generation_config.compile_config}
        seen["logits_processors"] = [type(item).__name__ for item in logits_processor]
        seen["stopping_criteria"] = [type(item).__name__ for item in stopping_criteria]
        cache = kwargs.get("past_key_values")
        seen["cache"] = None if cache is None else type(cache).__name__
        seen["cache_layers"] = sorted({type(layer).__name__ for layer in getattr(cache, "layers", ())})
        return input_ids

    with _tokenizer_kept(backend.model, backend.generation.get("tokenizer")):
        backend.model.generate(**batch.inputs, **backend.generation_arguments(), custom_generate=look)
    # A static cache is kept for the next call, which takes it for one that has been used.
    vars(backend.model).pop("_cache", None)
    generation = {**jsonable(seen.pop("generation")), **_drafting(backend)}
    if isinstance(options := generation.get("cache_config"), dict) and "backend" not in options:
        options["backend"] = _cache_library(seen["cache_layers"])  # some versions take the name out as they use it
    return generation, seen


def _cache_library(layers: Sequence[str]) -> str | None:
    """The library that a quantized cache's layers are of, by their class."""
    return next((name for name in ("quanto", "hqq", "fp8") if any(name in layer.lower() for layer in layers)), None)


def _drafting(backend: "PyTorchBackend") -> dict[str, Any]:
    """What the draft model's own generation config says, where one drafts."""
    drafts = backend.generation.keys() & {"assistant_model", "assistant_early_exit"}
    if not drafts:
        return {}
    own = backend.generation.get("assistant_model", backend.model).generation_config
    values = {name: getattr(own, name, None) for name in Drafting.model_fields}
    return {name: value for name, value in values.items() if value is not None}


@contextlib.contextmanager
def _tokenizer_kept(model: Any, tokenizer: Any) -> Iterator[None]:
    """Transformers loses the tokenizer on the way to a `custom_generate` callable, and then refuses stop strings."""
    name = "_extract_generation_mode_kwargs"
    extract = getattr(model, name, None)
    if tokenizer is None or extract is None:
        yield
        return
    setattr(model, name, lambda *given, **named: {**extract(*given, **named), "tokenizer": tokenizer})
    try:
        yield
    finally:
        delattr(model, name)


def _model_values(model: Any, calls: Calls) -> dict[str, Any]:
    parameters = list(itertools.chain(model.parameters(), model.buffers()))
    devices = Counter(str(parameter.device) for parameter in parameters)
    quantization: Any = getattr(model.config, "quantization_config", None)
    return {
        "class": type(model).__name__,
        "dtype": str(model.dtype),
        "dtypes": dict(Counter(str(parameter.dtype) for parameter in parameters)),
        "attn_implementation": model.config._attn_implementation,  # noqa: SLF001
        "devices": dict(devices),
        "device_map": {name: str(device) for name, device in (getattr(model, "hf_device_map", None) or {}).items()},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "commit": getattr(model.config, "_commit_hash", None),
        "quantization": jsonable(quantization.to_dict())
        if hasattr(quantization, "to_dict")
        else jsonable(quantization),
        "quantized_modules": dict(quantized_modules(model)),
        "compiled": TORCH_COMPILE in calls,
    }


def verify_compiled(calls: Calls, api: Api) -> None:
    """Refuse a run for which compilation was sent and none happened."""
    if compilations(calls, api) == 0:
        path = compiled_by(calls)
        raise NotAsRequestedError(
            f"{path}: compilation was asked for, and no graph was compiled",
            f"run with TORCH_LOGS=graph_breaks to see why, or remove {path}",
        )


def compilations(calls: Calls, api: Api) -> int | None:
    """Graphs that torch compiled in this process so far, None where nothing was asked to be compiled."""
    if compiled_by(calls) is None:
        return None
    return int(api.resolve("torch._dynamo.utils.counters")["stats"]["unique_graphs"])


def compiled_by(calls: Calls) -> str | None:
    """The field that asks for compilation: of the forward pass, of decoding, or of continuous batching's steps."""
    if TORCH_COMPILE in calls:
        return "pytorch.torch_compile"
    if "compile_config" in calls[GENERATION_CONFIG] and not calls[GENERATION_CONFIG].get("disable_compile"):
        return calls.origins[Target(GENERATION_CONFIG, "compile_config")]
    sent = calls[GENERATE_BATCH].get("continuous_batching_config")
    options = sent.arguments if isinstance(sent, Build) else {}
    asking = (name for name in options if name.endswith("_compile_config") or name == "default_compile_level")
    return next((f"pytorch.continuous_batching.{name}" for name in asking if options[name] != 0), None)


def jsonable(value: Any) -> Any:
    """JSON of what transformers calls a dict: tensors, dtypes and private keys are in it."""
    if isinstance(value, Mapping) and {"_type", "_data"} <= value.keys():  # how torchao writes an object or a dtype
        data = jsonable(value["_data"])
        return {"type": str(value["_type"]), **data} if isinstance(data, dict) else data
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items() if not str(key).startswith("_")}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "to_dict"):
        return jsonable(value.to_dict())
    return str(value)
