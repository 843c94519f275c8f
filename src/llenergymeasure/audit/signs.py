"""How each parameter shows on what the real API made with it, where that is not an attribute of its own name.

What shows nowhere does not count as accepted.
"""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from llenergymeasure.audit import specimens
from llenergymeasure.config.bindings import Target
from llenergymeasure.config.pytorch.entry_points import (
    AUTOCAST,
    FROM_PRETRAINED,
    GENERATE,
    GENERATE_BATCH,
    MATMUL_PRECISION,
    PAD,
    SET_SEED,
    TOKENIZE,
    TOKENIZER,
    TORCH_COMPILE,
)

QUANTIZED_CACHE = "transformers.QuantizedCache"


MISSING = object()


@dataclass(frozen=True)
class Sign:
    """One parameter's sign.

    Attributes:
        read: takes what the API made with the parameter.
        expect: what a value must be read as, where that is not the value itself.
        stand: the folder of specimens to be in, where the field's sample means something.
        needs: a package without which the API takes the value and reads it nowhere.
    """

    read: Callable[[Any], Any]
    expect: Callable[[Any], Any] = lambda value: value
    stand: str = specimens.PLAIN
    needs: str = ""


def _edition(stand: str = specimens.PLAIN) -> Sign:
    return Sign(specimens.edition, specimens.EDITIONS.__getitem__, stand)


def _other_tokenizer(stand: str = specimens.PLAIN) -> Sign:
    return Sign(specimens.is_other, lambda _: True, stand)


def _is_own_code(made: Any) -> bool:
    return type(made).__module__.startswith("transformers_modules")


def _config(name: str) -> Callable[[Any], Any]:
    return lambda model: getattr(model.config, name, MISSING)


def _distributed(name: str) -> Callable[[Any], Any]:
    return lambda model: getattr(getattr(model.config, "distributed_config", None), name, MISSING)


def _devices(model: Any) -> Any:
    found = {parameter.device.type for parameter in model.parameters()}
    return found.pop() if len(found) == 1 else found


def _places(model: Any) -> set[str]:
    return set(map(str, (getattr(model, "hf_device_map", None) or {}).values()))


def _offload_folder(model: Any) -> str:
    del model
    return next((path.name for path in Path().iterdir() if path.is_dir() and "offload" in path.name), "")


def _offloads_buffers(model: Any) -> Any:
    outer = [module._hf_hook for module in model.modules() if hasattr(module, "_hf_hook")]  # noqa: SLF001
    hooks = [hook for item in outer for hook in getattr(item, "hooks", [item]) if getattr(hook, "offload", False)]
    return next((hook.offload_buffers for hook in hooks), MISSING)


def _is_not_mapped(model: Any) -> bool:  # noqa: ARG001 - it is held while the question is asked
    """Whether no weight file is mapped into this process while there is a model that would hold it so."""
    gc.collect()  # earlier models
    return "model.safetensors" not in Path("/proc/self/maps").read_text(encoding="utf-8")


def _backend(module: Any) -> Any:
    """The compiler that torch chose for a compiled module."""
    from torch._dynamo.eval_frame import innermost_backend

    return innermost_backend(module.dynamo_ctx.callback)


def _mode_options(mode: str) -> Any:
    from torch._inductor import list_mode_options

    return list_mode_options(mode)


def _manager(name: str) -> Callable[[Any], Any]:
    """What the manager of continuous batching, which a model keeps when asked to, says."""
    return lambda model: getattr(getattr(model, "_cached_continuous_batching_manager", None), name, MISSING)


def _layers(hqq: Any) -> Any:
    """Bits and groups of each layer, where an HQQ configuration describes single layers."""
    inside = {layer: made["weight_quant_params"] for layer, made in hqq.quant_config.items()}
    return {layer: {name: made[name] for name in ("nbits", "group_size")} for layer, made in inside.items()}


def _attribute(name: str) -> Callable[[Any], Any]:
    return lambda made: getattr(made, name, MISSING)


def _kept(name: str) -> Callable[[Any], Any]:
    """An attribute of an object, or what the object's own dict says of it, at any depth."""

    def search(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return MISSING
        if name in value:
            return value[name]
        return next((found for item in value.values() if (found := search(item)) is not MISSING), MISSING)

    def read(made: Any) -> Any:
        found = getattr(made, name, MISSING)
        return search(made.to_dict()) if found is MISSING and hasattr(made, "to_dict") else found

    return read


def sign_of(target: Target) -> Sign:
    """A parameter's sign; an attribute of its own name where nothing else is declared."""
    return _SIGNS.get(target.entry_point, {}).get(target.name) or Sign(_kept(target.name))


_SIGNS: Mapping[str, Mapping[str, Sign]] = {
    FROM_PRETRAINED: {
        "pretrained_model_name_or_path": _edition(),
        "revision": _edition(specimens.HUB),
        "code_revision": Sign(lambda model: type(model).edition, stand=specimens.CODE_ELSEWHERE),
        "trust_remote_code": Sign(_is_own_code, stand=specimens.OWN_CODE),
        "variant": _edition(),
        "subfolder": _edition(),
        "gguf_file": _edition(specimens.GGUF),
        "use_safetensors": _edition(),
        "disable_mmap": Sign(_is_not_mapped),
        "device_map": Sign(_devices),
        "max_memory": Sign(_places, lambda _: {"cpu", "disk"}),
        "offload_folder": Sign(_offload_folder),
        "offload_buffers": Sign(_offloads_buffers),
        "attn_implementation": Sign(_config("_attn_implementation")),
        "experts_implementation": Sign(_config("_experts_implementation")),
        "adapter_kwargs": Sign(
            _attribute("_hf_peft_config_loaded"), lambda _: True, stand=specimens.ADAPTED, needs="peft"
        ),
        "quantization_config": Sign(_config("quantization_config")),
        "distributed_config": Sign(_config("distributed_config")),
        "tp_plan": Sign(_distributed("tp_plan")),
        "tp_size": Sign(_distributed("tp_size")),
    },
    TOKENIZER: {
        "pretrained_model_name_or_path": _other_tokenizer(),
        "revision": _other_tokenizer(specimens.HUB),
        "subfolder": _other_tokenizer(),
        # Some versions read a tokenizer.json beside the file instead of it: the stand has none.
        "gguf_file": _other_tokenizer(specimens.GGUF),
        "trust_remote_code": Sign(_is_own_code, stand=specimens.OWN_CODE),
        "use_fast": Sign(_attribute("is_fast"), stand=specimens.TWO_TOKENIZERS),
    },
    TOKENIZE: {
        "add_special_tokens": Sign(lambda ids: ids[0] == 0),
        "split_special_tokens": Sign(lambda ids: ids[-1] != 0),
    },
    PAD: {
        "padding": Sign(lambda batch: "max_length" if batch.shape[1] > 2 else "longest"),
        "max_length": Sign(lambda batch: batch.shape[1]),
        "pad_to_multiple_of": Sign(lambda batch: batch.shape[1]),
    },
    SET_SEED: {"seed": Sign(lambda generator: generator.initial_seed())},
    MATMUL_PRECISION: {"precision": Sign(lambda precision: precision)},
    AUTOCAST: {"dtype": Sign(_attribute("dtype"))},
    TORCH_COMPILE: {
        "": Sign(lambda module: type(module).__name__, lambda _: "OptimizedModule"),
        "fullgraph": Sign(lambda module: getattr(module.dynamo_ctx, "fullgraph", MISSING)),
        "dynamic": Sign(lambda module: getattr(module.dynamo_ctx, "_dynamic", MISSING)),
        "backend": Sign(lambda module: _backend(module).compiler_name),
        "mode": Sign(lambda module: _backend(module).config, _mode_options),
        "options": Sign(lambda module: _backend(module).config),
    },
    GENERATE: {
        "assistant_model": Sign(_attribute("drafts"), lambda _: True),
    },
    GENERATE_BATCH: {
        "continuous_batching_config": Sign(_manager("continuous_batching_config")),
        "persistent_manager": Sign(lambda model: hasattr(model, "_cached_continuous_batching_manager")),
        "warmup": Sign(_manager("warmed_up")),
    },
    QUANTIZED_CACHE: {
        "backend": Sign(
            lambda layer: type(layer).__name__, {"quanto": "QuantoQuantizedLayer", "hqq": "HQQQuantizedLayer"}.get
        )
    },
    "transformers.HqqConfig": {"dynamic_config": Sign(_layers)},
    "transformers.CompressedTensorsConfig": {
        # Versions that renamed it keep the opposite, under the new name.
        "run_compressed": Sign(lambda made: getattr(made, "run_compressed", not getattr(made, "dequantize", None)))
    },
}


def same(sent: Any, actual: Any) -> bool:
    """Equal, in whatever form an API keeps it: an enum's member for its value, a dtype's name, a pair for one value."""
    if isinstance(actual, Enum) and not isinstance(sent, Enum):
        return str(sent).casefold() in {str(actual.value).casefold(), actual.name.casefold()}
    if isinstance(actual, list | tuple):
        if isinstance(sent, list | tuple):
            return len(sent) == len(actual) and all(map(same, sent, actual))
        return bool(actual) and all(same(sent, item) for item in actual)
    if isinstance(sent, Mapping) and isinstance(actual, Mapping):
        return sent.keys() == actual.keys() and all(same(value, actual[key]) for key, value in sent.items())
    if isinstance(actual, str) and not isinstance(sent, str):
        return str(sent).removeprefix("torch.") == actual.removeprefix("torch.")
    return isinstance(sent, bool) == isinstance(actual, bool) and bool(sent == actual)
