"""What live classes take that declare their arguments as fields, without a constructor to read: structs, pydantic's."""

import enum
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from llenergymeasure.surface.model import UNKNOWN, Parameter
from llenergymeasure.surface.objects import jsonable
from llenergymeasure.surface.recipes import Part, Recipe
from llenergymeasure.surface.spelling import live_spelling

_LOWER = {"ge": 0, "gt": 1}  # by how much a whole number is beyond the bound
_UPPER = {"le": 0, "lt": -1}


def declared(cls: type) -> dict[str, Parameter] | None:
    """None for a class that has a constructor of its own."""
    made = _factories(cls)
    if made is None:
        return None
    found = {}
    for name, argument in inspect.signature(cls).parameters.items():
        default = made.get(name, argument.default)
        required = default is argument.empty
        value = UNKNOWN if required else jsonable(default() if name in made else default)
        low, high = _bounds(cls, name)
        found[name] = Parameter(
            name,
            live_spelling(argument.annotation),
            value,
            required=required,
            choices=allowed(argument.annotation),
            minimum=low,
            maximum=high,
        )
    return found


def _factories(cls: type) -> dict[str, Any] | None:
    """Field to the function that makes its default; a signature shows a placeholder there."""
    if hasattr(cls, "__struct_fields__"):
        msgspec: Any = importlib.import_module("msgspec")  # whoever has a struct has it
        fields = msgspec.structs.fields(cls)
        return {f.name: f.default_factory for f in fields if f.default_factory is not msgspec.NODEFAULT}
    fields = getattr(cls, "__pydantic_fields__", None)
    if fields is None:
        return None
    return {name: f.default_factory for name, f in fields.items() if f.default_factory is not None}


def _bounds(cls: type, name: str) -> tuple[float | None, float | None]:
    field = getattr(cls, "__pydantic_fields__", {}).get(name)
    whole = field is not None and int in (field.annotation, *get_args(field.annotation))
    low: float | None = None
    high: float | None = None
    for limit in getattr(field, "metadata", ()):
        for key, step in _LOWER.items():
            low = getattr(limit, key) + (step if whole else 0) if getattr(limit, key, None) is not None else low
        for key, step in _UPPER.items():
            high = getattr(limit, key) + (step if whole else 0) if getattr(limit, key, None) is not None else high
    return low, high


def allowed(annotation: Any) -> tuple[Any, ...]:
    """The values of a live annotation of literals and enumerations, as users write them; () for any other."""
    found: list[Any] = []
    for member in _members(annotation):
        if get_origin(member) is Literal:
            found += get_args(member)
        elif inspect.isclass(member) and issubclass(member, enum.Enum):
            found += [jsonable(item) for item in member.__members__.values()]
        elif member is not NoneType:
            return ()
    return tuple(dict.fromkeys(found))


def _members(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def nested(package: str, recipe: Recipe, parameters: dict[str, Parameter]) -> list[Recipe]:
    """A recipe for every class with declared fields that the parameters' types name, in the recipe's folder."""
    if not recipe.nested:
        return []
    home = f"{package}.{recipe.nested.removesuffix('.py').rstrip('/').replace('/', '.')}"
    exporter = importlib.import_module(home)
    recipes = {}
    for parameter in parameters.values():
        for dotted in re.findall(r"(?<![\w'.])[\w.]*?[A-Z]\w*(?![\w'])", parameter.type):
            found = _class(dotted, exporter, recipe.parts, package)
            if found is None or not (found.__module__ + ".").startswith(f"{home}.") or _factories(found) is None:
                continue
            name = found.__name__
            where = home if getattr(exporter, name, None) is found else found.__module__
            member = f"{found.__module__.removeprefix(f'{package}.').replace('.', '/')}.py"
            recipes[name] = Recipe(f"{where}.{name}", (Part(member, name),), nested=recipe.nested)
    return list(recipes.values())


def _class(dotted: str, exporter: Any, parts: tuple[Part, ...], package: str) -> type | None:
    """The class behind a name in a type; one that is imported for type checkers alone has no module in front of it."""
    module, _, name = dotted.rpartition(".")
    own = [f"{package}.{part.module.removesuffix('.py').replace('/', '.')}" for part in parts]
    for place in (sys.modules.get(module) if module else exporter, *(sys.modules.get(item) for item in own)):
        found = getattr(place, name, None)
        if inspect.isclass(found):
            return found
    return None
