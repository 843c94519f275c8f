"""Types, bounds, defaults and units in the words of somebody who writes a configuration or reads a result."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from llenergymeasure.config.bindings import alternatives
from llenergymeasure.surface.model import UNKNOWN

_PLAIN = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path", Any: "any value"}
_BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))
# The ending of a name says its unit; the first that fits.
_UNITS = (
    ("_per_output_token_j", "J/token"), ("_per_request_j", "J/request"), ("tokens_per_second", "tokens/s"),
    ("requests_per_second", "requests/s"), ("_ms", "ms"), ("_s", "s"), ("_j", "J"), ("_w", "W"), ("_gib", "GiB"),
    ("tokens", "tokens"), ("requests", "requests"), ("count", "requests"), ("repeats", "passes"),
    ("replicas", "replicas"), ("_cores", "cores"), ("_threads", "threads"), ("_affinity", "cores"),
    ("mean", "the figure's"), ("p50", "the figure's"), ("p90", "the figure's"), ("p99", "the figure's"),
)  # fmt: skip


def code(value: Any) -> str:
    """A value as it is written in a configuration."""
    return f"`{value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}`"


def takes(info: FieldInfo) -> str:
    """Kinds of value, choices and bounds, and the short forms of a section."""
    kinds = [kind(item) for item in alternatives(info.annotation)]
    kinds += _short_forms(info)
    bounds = []
    for item in info.metadata:
        for type_, name, sign in _BOUNDS:
            if isinstance(item, type_):
                bounds.append(f"{sign} {getattr(item, name)}")
        if isinstance(item, MinLen):
            bounds.append("not empty")
    return ", ".join([" or ".join(kinds), *bounds])


def kind(annotation: Any) -> str:
    """The words for one kind of value."""
    annotation = _bare(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    known: dict[Any, Callable[[], str]] = {
        # Sorted: Python takes choices in another order for the same type, and keeps the one it met first.
        Literal: lambda: ("one of " if len(arguments) > 1 else "") + ", ".join(map(code, sorted(arguments))),
        list: lambda: f"list of {_several(arguments[0])}",
        tuple: lambda: "list of " + " and ".join(map(kind, arguments)),
        dict: lambda: f"mapping of {_several(arguments[0])} to {_several(arguments[1])}",
    }
    if origin in known:
        return known[origin]()
    return " or ".join(kind(item) for item in arguments if item is not type(None)) or str(annotation)


def _bare(annotation: Any) -> Any:
    """Without what is annotated to it, such as strictness."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _several(annotation: Any) -> str:
    plural = {int: "integers", float: "numbers", str: "texts", Any: "values"}
    words = []
    for item in alternatives(annotation):
        one = plural.get(_bare(item)) or kind(item)
        words.append(re.sub(r"^(section|list|mapping)\b", r"\1s", one))
    return " or ".join(words) + (" or null" if type(None) in get_args(annotation) else "")


def _short_forms(info: FieldInfo) -> list[str]:
    """What an editor is told that a section may be instead, by the field's own change of its JSON Schema."""
    schema: dict[str, Any] = {"$ref": "#"}
    if info.json_schema_extra is None or not callable(info.json_schema_extra):
        return []
    info.json_schema_extra(schema)
    forms = [form for form in schema.get("anyOf", []) if "$ref" not in form]
    return ["list of texts" if form["type"] == "array" else "text" for form in forms]


def default(info: FieldInfo) -> str:
    """The tool's own default of a field."""
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None:
        return "none"
    return "those below" if isinstance(value, BaseModel) else code(value)


def shown(value: Any) -> str:
    """A default of the backend, from its surface."""
    if value is UNKNOWN:
        return "not known"
    if isinstance(value, Mapping) and set(value) == {"expr"}:
        return code(str(value["expr"]))
    return "none" if value is None else code(value)


def examples(info: FieldInfo) -> str:
    """As they stand after the field's name and colon in YAML."""
    return ", ".join(f"`{_flow(item)}`" for item in info.examples or ())


def _flow(value: Any) -> str:
    """YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return (
        json.dumps(value, ensure_ascii=False) if not isinstance(value, str) or re.search(r"[:#,\[{?]", value) else value
    )


def unit(name: str, annotation: Any) -> str:
    """The unit of a figure, "" for what is none or only tells which one of several."""
    if get_origin(annotation) is list and next(models(annotation), None) is not None:
        return ""
    return next((words for ending, words in _UNITS if name.endswith(ending)), "")


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models(argument)


def anchor(heading: str) -> str:
    """The anchor that Markdown renderers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
