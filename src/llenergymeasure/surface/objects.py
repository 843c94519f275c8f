"""Reading live callables and values into the form that a surface has."""

import ast
import dataclasses
import enum
import inspect
import math
import textwrap
from typing import Any

from llenergymeasure.surface.model import UNKNOWN
from llenergymeasure.surface.sources import Module, is_word
from llenergymeasure.surface.values import Scope


def made_default(owner: type | None, name: str, default: Any) -> Any:
    """A dataclass writes a placeholder where a field's default is made anew for each object."""
    if owner is not None and dataclasses.is_dataclass(owner) and type(default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
        factory = next(item.default_factory for item in dataclasses.fields(owner) if item.name == name)
        return factory() if callable(factory) else UNKNOWN
    return default


def source_of(function: Any) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):  # a generated constructor has none
        return None


def tree_of(function: Any) -> ast.FunctionDef | None:
    source = source_of(function)
    nodes = ast.parse(source).body if source else []
    return nodes[0] if nodes and isinstance(nodes[0], ast.FunctionDef) else None


def scope_of(function: Any, owner: type | None) -> Scope:
    """Lists of names that a body walks over are the live ones."""
    known: dict[str, Any] = {
        name: value for name, value in function.__globals__.items() if isinstance(value, list | tuple | set)
    }
    for name in dir(owner) if owner is not None else ():
        value = inspect.getattr_static(owner, name, None)
        if isinstance(value, list | tuple | str):
            known[f"self.{name}"] = value
    return Scope(Module("", ""), None, known)


def look_up(node: ast.expr, function: Any, owner: type | None) -> Any:
    """The live value of a fallback: a literal, a global, or an attribute of either or of the class."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        pass
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 2:
        return look_up(node.args[1], function, owner)  # kwargs.pop(old_name, fallback)
    names = ast.unparse(node).split(".")
    value = owner if names[0] in ("self", "cls") else function.__globals__.get(names[0], UNKNOWN)
    for name in names[1:]:
        value = getattr(value, name, UNKNOWN)
    return UNKNOWN if isinstance(value, property) or callable(value) else value


def jsonable(value: Any) -> Any:  # noqa: PLR0911 - one return per kind
    if value is UNKNOWN:
        return UNKNOWN
    if isinstance(value, enum.Enum):
        return jsonable(_written(value))
    if isinstance(value, float) and not math.isfinite(value):
        return {"expr": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=repr)
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    # An object that is an entry point itself has a row there for each of its values.
    is_declared = hasattr(type(value), "__pydantic_fields__")
    return {"expr": f"{type(value).__name__}()" if is_declared else str(value)}


def _written(member: enum.Enum) -> Any:
    """How a user writes a member of an enumeration: by name where its value is not for writing."""
    if isinstance(member, str | int):
        return member.value
    words = all(is_word(item.value) for item in type(member).__members__.values())
    return member.value if words else member.name
