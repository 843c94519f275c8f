"""Refuses a load that is not the one asked for: weights that are random, values that nothing uses, other kernels."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from llenergymeasure.config.bindings import PartsOfModel, Target, walk
from llenergymeasure.config.lowering import Build, Calls, Ref, plain
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import FROM_PRETRAINED, GENERATION_CONFIG, TOKENIZER
from llenergymeasure.core.api import Api, materialise
from llenergymeasure.core.inference_backends.base import NotAsRequestedError
from llenergymeasure.errors import RequestError

_NOT_TOGETHER = "complete the weights, or correct config.json or the options that change the model's shape"
STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")


def refuse_revisions_of_folders(calls: Calls) -> None:
    """A folder holds one revision; transformers would take it whatever revision is asked for.

    Raises:
        RequestError: names the field.
    """
    for entry_point in (FROM_PRETRAINED, TOKENIZER):
        sent = calls[entry_point]
        if "revision" in sent and os.path.isdir(sent["pretrained_model_name_or_path"]):  # noqa: PTH112 - any text
            path = calls.origins[Target(entry_point, "revision")]
            raise RequestError(
                f"{path}: would be ignored: {sent['pretrained_model_name_or_path']} is a folder, not a repository",
                f"remove {path}, or name the repository",
            )


def load_whole(arguments: Mapping[str, Any], api: Api) -> tuple[Any, list[str]]:
    """The model, with every one of its tensors out of the checkpoint; and what a reader of the result should know.

    Raises:
        RequestError: tensors are missing, which transformers would fill with random numbers, or of another shape.
    """
    source = arguments["pretrained_model_name_or_path"]
    try:
        model, info = api.resolve(FROM_PRETRAINED)(**materialise(arguments, api), output_loading_info=True)
    except RuntimeError as error:
        if "size mismatch" in str(error) or "ignore_mismatched_sizes" in str(error):
            raise RequestError(
                f"model: {source}: the checkpoint holds tensors of another shape", _NOT_TOGETHER
            ) from error
        raise
    if missing := truly_missing(model, [str(name) for name in info.get("missing_keys") or ()], api):
        raise RequestError(
            f"model: {source}: the checkpoint lacks {_some(missing)}, which would be random", _NOT_TOGETHER
        )
    unused = [str(name) for name in info.get("unexpected_keys") or ()]
    return model, [f"{source}: the checkpoint holds {_some(unused)}, which the model does not use"] if unused else []


def truly_missing(model: Any, names: list[str], api: Api) -> list[str]:
    """The names without what a method that quantizes while loading makes itself, such as scales."""
    quantizer = getattr(model, "hf_quantizer", None)
    if not names or quantizer is None or quantizer.pre_quantized:
        return names
    with api.resolve("torch.device")("meta"):
        plain = type(model)(model.config).state_dict().keys()
    return [name for name in names if name in plain]


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more tensors"


def verify_loaded(model: Any, calls: Calls, api: Api) -> list[str]:
    """Refuse a model that is not the one sent, or that has no use for what was sent; returns what is worth telling.

    Raises:
        NotAsRequestedError: names the field, what was sent and what runs.
        RequestError: names the field that this model would ignore.
    """
    for entry_point, checks in _CHECKS.items():
        for name, check in checks.items():
            sent = calls[entry_point]
            if name in sent and (actual := check(model, sent[name], api)) is not None:
                path = calls.origins[Target(entry_point, name)]
                raise NotAsRequestedError(
                    f"{path}: {plain(sent[name])!r} was asked for, {actual} runs",
                    f"choose a value that this model, machine and transformers version support, or remove {path}",
                )
    for target, path in calls.origins.items():
        use = _not_in_vocabulary if target in _naming("tokens") else _USES.get(target.entry_point, {}).get(target.name)
        sent = calls[target.entry_point]
        if use is not None and target.name in sent and (why := use(model, sent[target.name])):
            raise RequestError(f"{path}: would be ignored: {why}", f"remove {path}, or choose another model")
    _check_kept_modules(model, calls)
    return _notices(model, calls)


@lru_cache(maxsize=2)
def _naming(kind: Literal["tokens", "modules"]) -> frozenset[Target]:
    """Parameters whose values name parts of the model."""
    fields = [field for field in walk(ExperimentConfig, "pytorch") if PartsOfModel(kind) in field.info.metadata]
    return frozenset(target for field in fields for target in field.targets("pytorch"))


def _notices(model: Any, calls: Calls) -> list[str]:
    """What was sent and came to nothing here, without being wrong."""
    sent = calls[FROM_PRETRAINED]
    places = {str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()}
    told = []
    if "offload_folder" in sent and "disk" not in places:
        told.append(("offload_folder", "nothing was placed on disk"))
    if "offload_buffers" in sent and not ((places & {"cpu", "disk"} and len(places) > 1) or places == {"disk"}):
        told.append(("offload_buffers", "nothing was offloaded"))
    if "tp_plan" in sent and getattr(model, "_tp_size", None) in (None, 1):
        told.append(("tp_plan", "one process runs the whole model: set tp_size, or use several GPUs"))
    notices = [f"{calls.origins[Target(FROM_PRETRAINED, name)]}: {what}" for name, what in told]
    packed = getattr(model.config, "quantization_config", None) is not None and "quantization_config" not in sent
    if packed and not quantized_modules(model):
        notices.append(f"the checkpoint is quantized, but its weights were turned into {model.dtype} while loading")
    return notices


def _check_dtype(model: Any, sent: Any, api: Api) -> str | None:
    if not isinstance(sent, Ref) or getattr(model, "is_quantized", False):
        return None
    wanted = api.resolve(sent.path)
    return None if model.dtype == wanted else str(model.dtype)


def _check_attention(model: Any, sent: Any, api: Api) -> str | None:  # noqa: ARG001 - one signature for all checks
    actual = model.config._attn_implementation  # noqa: SLF001 - transformers has no public name for it
    return None if actual == sent else repr(actual)


def _check_devices(model: Any, sent: Any, api: Api) -> str | None:  # noqa: ARG001
    """An explicit device, or map of devices, must be where the weights are; strategies (`auto`) may choose."""
    actual = {str(parameter.device) for parameter in model.parameters()}
    if isinstance(sent, Mapping):
        wanted = {_device(device) for device in sent.values()}
        # Offloaded weights rest on the meta device until they are needed.
        return None if actual - {"meta"} <= wanted else ", ".join(sorted(actual))
    if isinstance(sent, str) and sent in STRATEGIES:
        return None
    return None if actual == {_device(sent)} else ", ".join(sorted(actual))


def _device(named: str | int) -> str:
    return f"cuda:{named}" if isinstance(named, int) else "cuda:0" if named == "cuda" else named


def _check_quantization(model: Any, sent: Build, api: Api) -> str | None:
    config = getattr(model.config, "quantization_config", None)
    if isinstance(config, Mapping):  # HQQ in 4.57 writes a dict there; its quantizer keeps the object
        config = model.hf_quantizer.quantization_config
    if config is None:
        return "no quantization"
    wanted = api.resolve(sent.entry_point).__name__
    if type(config).__name__ != wanted:
        return f"{type(config).__name__}"
    if getattr(config, "dequantize", False):
        return None
    return None if quantized_modules(model) else "a model without one quantized layer"


def quantized_modules(model: Any) -> Counter[str]:
    """How many modules of each class hold quantized weights: a class, or a weight tensor, that is not torch's own."""
    found: Counter[str] = Counter()
    for module in model.modules():
        weight: Any = getattr(module, "weight", None)
        weight = weight.to_local() if hasattr(weight, "to_local") else weight  # a rank's part of a tensor
        own = type(module).__module__.startswith(("torch.nn.", "transformers.models."))
        tensor = type(weight)
        if weight is not None and not own and hasattr(module, "in_features"):
            found[type(module).__name__] += 1
        elif weight is not None and tensor.__name__ not in ("Parameter", "Tensor"):
            found[f"{type(module).__name__}[{tensor.__name__}]"] += 1
        elif (
            weight is not None
            and hasattr(module, "in_features")
            and type(getattr(weight, "data", None)).__name__ != "Tensor"
        ):
            found[f"{type(module).__name__}[{type(weight.data).__name__}]"] += 1
    return found


def cuda_devices(model: Any) -> list[int]:
    """Indices of the CUDA devices that hold any of the model."""
    return sorted({parameter.device.index or 0 for parameter in model.parameters() if parameter.device.type == "cuda"})


def _no_own_code(model: Any, sent: Any) -> str:  # noqa: ARG001 - one signature for all
    module = type(model).__module__
    return f"{type(model).__name__} is the library's own code" if module.startswith("transformers.models.") else ""


def _no_experts(model: Any, sent: Any) -> str:  # noqa: ARG001
    return "" if model._can_set_experts_implementation() else f"{type(model).__name__} has no experts"  # noqa: SLF001


def _no_adapter(model: Any, sent: Any) -> str:  # noqa: ARG001
    return "" if getattr(model, "_hf_peft_config_loaded", False) else "the model's folder names no adapter"


def _check_kept_modules(model: Any, calls: Calls) -> None:
    """Modules that are to stay as they are must be there; a misspelt one would be quantized."""
    sent = calls[FROM_PRETRAINED].get("quantization_config")
    if not isinstance(sent, Build):
        return
    known = [module for module, _ in model.named_modules()]
    for name, wanted in sent.arguments.items():
        if Target(sent.entry_point, name) not in _naming("modules"):
            continue
        missing = [
            item for item in wanted or () if not any(item in module or re.search(item, module) for module in known)
        ]
        if missing:
            path = f"{calls.origins[Target(FROM_PRETRAINED, 'quantization_config')]}.{name}"
            why = _lacks("module", missing, {part for module in known for part in (module, module.rpartition(".")[2])})
            raise RequestError(f"{path}: would be ignored: {why}", f"correct {path}, or choose another model")


def _not_in_vocabulary(model: Any, sent: Any) -> str:
    size = getattr(model.config.get_text_config(), "vocab_size", None)
    outside = [token for token in _ids(sent) if isinstance(size, int) and not 0 <= token < size]
    return f"the model's {size} tokens have no {', '.join(map(str, outside))}" if outside else ""


def _ids(sent: Any) -> Iterator[int]:
    """Every token id of a value, at any depth; what stands beside them is no whole number."""
    if isinstance(sent, Mapping):
        sent = list(sent)
    if isinstance(sent, list | tuple):
        for item in sent:
            yield from _ids(item)
    elif isinstance(sent, int):
        yield sent


def _no_such_part(model: Any, sent: Any) -> str:
    """A part that a map of devices names and the model lacks would leave the part that was meant anywhere."""
    if not isinstance(sent, Mapping):
        return ""
    known = {name for name, _ in (*model.named_modules(), *model.named_parameters())}
    missing = [name for name in sent if name and not any(f"{part}.".startswith(f"{name}.") for part in known)]
    return _lacks("part", missing, known) if missing else ""


def _lacks(kind: str, missing: Sequence[str], known: Iterable[str]) -> str:
    near = difflib.get_close_matches(missing[0], list(known), n=1)
    return f"the model has no {kind} {', '.join(missing)}" + (f"; did you mean {near[0]}?" if near else "")


def _no_attention_weights(model: Any, sent: Any) -> str:  # noqa: ARG001
    actual = model.config._attn_implementation  # noqa: SLF001
    return "" if actual == "eager" else f"{actual} attention returns no weights, eager does"


def _no_such_layer(model: Any, sent: int) -> str:
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    return f"the model has {layers} layers" if isinstance(layers, int) and sent >= layers else ""


_CHECKS: Mapping[str, Mapping[str, Callable[[Any, Any, Api], str | None]]] = {
    FROM_PRETRAINED: {
        "dtype": _check_dtype,
        "attn_implementation": _check_attention,
        "device_map": _check_devices,
        "quantization_config": _check_quantization,
    }
}
_USES: Mapping[str, Mapping[str, Callable[[Any, Any], str]]] = {
    FROM_PRETRAINED: {
        "code_revision": _no_own_code,
        "experts_implementation": _no_experts,
        "adapter_kwargs": _no_adapter,
        "device_map": _no_such_part,
    },
    GENERATION_CONFIG: {
        "assistant_early_exit": _no_such_layer,
        "output_attentions": _no_attention_weights,
    },
}
