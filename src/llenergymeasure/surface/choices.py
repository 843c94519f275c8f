"""Which values a parameter allows, where these can be listed: its type's, and the words that a validator knows."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llenergymeasure.surface import spelling
from llenergymeasure.surface.definitions import enumeration, find
from llenergymeasure.surface.sources import Module


@dataclass(frozen=True)
class Place:
    """The field whose validators see a value."""

    module: Module
    owner: ast.ClassDef
    name: str

    def validators(self) -> Iterator[ast.FunctionDef]:
        for function in self.owner.body:
            if isinstance(function, ast.FunctionDef) and any(self._is_named(d) for d in function.decorator_list):
                yield function

    def _is_named(self, decorator: ast.expr) -> bool:
        return (
            isinstance(decorator, ast.Call)
            and ast.unparse(decorator.func).endswith("field_validator")
            and any(isinstance(item, ast.Constant) and item.value == self.name for item in decorator.args)
        )


def allowed(annotation: ast.expr | None, module: Module, place: Place | None = None) -> tuple[Any, ...]:
    """The values of a type that consists of literals and enumerations, as users write them; () where it does not."""
    if annotation is None:
        return ()
    validators = list(place.validators()) if place else []

    def members(name: str) -> list[Any]:
        known = enumeration(module, name)
        if known is None:
            return _coerced(annotation, module)
        written = list(known.written.values())
        said = {str(value).lower() for value in written}
        by_name = any(_looks_up(validator, name) for validator in validators)
        return written + [member for member in known.members if by_name and member.lower() not in said]

    found = spelling.choices(annotation, members)
    return tuple(dict.fromkeys((*found, *(word for v in validators for word in _words(v))))) if found else ()


def _looks_up(validator: ast.FunctionDef, enum: str) -> bool:
    """Whether members are found by their name."""
    return any(
        isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == enum
        for node in ast.walk(validator)
    )


def _words(validator: ast.FunctionDef) -> Iterator[str]:
    """Further words that a validator takes, as in `if value.lower() == "auto": return None`."""
    for node in ast.walk(validator):
        match node:
            case ast.If(
                test=ast.Compare(ops=[ast.Eq()], comparators=[ast.Constant(value=str() as word)]),
                body=[*_, ast.Return()],
            ):
                yield word


def _coerced(annotation: ast.expr, module: Module) -> list[Any]:
    """The keys of the table in which a function that stands in the type looks a value up."""
    for name in (node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)):
        function = module.functions.get(name)
        for node in ast.walk(function) if function else ():
            match node:
                case ast.Subscript(value=ast.Name(id=table), slice=ast.Name()):
                    found = find(module, table)
                    if found is not None and isinstance(found.node, ast.Dict):
                        return [key.value for key in found.node.keys if isinstance(key, ast.Constant)]
    return []
