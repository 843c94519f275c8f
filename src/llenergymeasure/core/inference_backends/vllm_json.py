"""vLLM's configuration objects as JSON: what a result can hold and a reader can compare."""

import dataclasses
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

_SECRETS = ("hf_token",)
_DEEPEST = 6


def as_json(value: Any, depth: int = 0) -> Any:  # noqa: PLR0911 - one return per kind of value
    """Configurations by field, enums as a user writes them, everything that JSON does not know as text."""
    if isinstance(value, Enum):
        return value.value if isinstance(value, str | int) else value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "to_diff_dict"):  # a model's own configuration: its folder says it
        return {"class": type(value).__name__}
    if type(value).__name__ == "QuantKey":
        return _format_name(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and depth < _DEEPEST:
        names = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
        return {
            name: as_json(getattr(value, name, None), depth + 1)
            for name in names
            if name not in _SECRETS and not callable(getattr(value, name, None))
        }
    if isinstance(value, Mapping):
        return {str(key): as_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((as_json(item, depth + 1) for item in value), key=str)
    if hasattr(value, "__struct_fields__"):
        return {name: as_json(getattr(value, name), depth + 1) for name in value.__struct_fields__}
    return str(value)


def _format_name(key: Any) -> str:
    """A number format by the name under which a configuration asks for it."""
    names = getattr(sys.modules.get("vllm.config.quantization"), "QUANT_KEY_NAMES", {})
    return next((name for name, known in names.items() if known == key), str(key))
