"""The fields of a class that takes them as its arguments: a dataclass, a NamedTuple or a struct."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from llenergymeasure.surface import constraints, construction, deciders, standing
from llenergymeasure.surface.choices import Place, allowed
from llenergymeasure.surface.definitions import document, referred, spelled_out
from llenergymeasure.surface.evidence import Evidence, checking_methods, describe
from llenergymeasure.surface.model import ACTIVE, DEPRECATED, UNKNOWN, Parameter
from llenergymeasure.surface.sources import Module, is_dataclass
from llenergymeasure.surface.spelling import canonical, documented_types
from llenergymeasure.surface.values import Scope, default_of, evaluate

Parameters = dict[str, Parameter]


@dataclass(frozen=True)
class Read:
    """What a function or class takes."""

    parameters: Parameters
    open: bool


def fields(module: Module, owner: ast.ClassDef, given: tuple[str, ...] = ()) -> Read:
    """`given` names the fields that are passed in every call."""
    scope = Scope(module, owner)
    parameters: Parameters = {}
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    documents: dict[str, tuple[str, str]] = {}
    for base in reversed(list(module.bases(owner))):
        documents |= documented_types(ast.get_docstring(base))
        for item in base.body if is_dataclass(base) else []:
            if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name) or not _settable(item):
                continue
            name = item.target.id
            values[name] = UNKNOWN if item.value is None else evaluate(item.value, scope)
            parameters[name] = _field(item, name, base, scope)
            lines[name] = item.lineno
    functions = checking_methods(module, owner, None)
    methods = [item for item in owner.body if isinstance(item, ast.FunctionDef)]
    described = describe(parameters, Evidence(scope, functions, documents, lines, announcing=methods))
    return Read(resolve(described, construction.filled_in_fields(owner, scope, values, given)), open=False)


def _field(item: ast.AnnAssign, name: str, owner: ast.ClassDef, scope: Scope) -> Parameter:
    annotation = spelled_out(item.annotation, scope.module)
    bounds = constraints.declared(item, scope)
    places = list(_places(item, name, owner, scope.module))
    return Parameter(
        name,
        canonical(annotation),
        UNKNOWN if item.value is None else default_of(item.value, scope),
        required=item.value is None,
        choices=allowed(annotation, scope.module, places[-1][0]),
        minimum=bounds.minimum,
        maximum=bounds.maximum,
        decided_by=deciders.of_default(places[-1][1].value, places[-1][0].module),
        status=next((status for place, field in places if (status := _stated(place, field)) != ACTIVE), ACTIVE),
    )


def _places(
    item: ast.AnnAssign, name: str, owner: ast.ClassDef, module: Module
) -> Iterator[tuple[Place, ast.AnnAssign]]:
    """The field itself, and the one whose default it takes: that one gets the value in the end."""
    yield Place(module, owner, name), item
    found = referred(item.value, module)
    if found is not None and isinstance(found[2].target, ast.Name):
        yield Place(found[0], found[1], found[2].target.id), found[2]


def _stated(place: Place, field: ast.AnnAssign) -> str:
    """What the declaration itself says: in the text below it, or to pydantic."""
    if isinstance(field.value, ast.Call) and any(keyword.arg == "deprecated" for keyword in field.value.keywords):
        return DEPRECATED
    return standing.stated(place.name, document(place.owner, field))


def _settable(item: ast.AnnAssign) -> bool:
    text = ast.unparse(item.annotation)
    return "ClassVar" not in text and not (item.value is not None and "init=False" in ast.unparse(item.value))


def resolve(parameters: Parameters, filled: dict[str, Any]) -> Parameters:
    """The same with the values that apply where nobody gave one."""
    return {
        name: replace(p, resolved=filled[name])
        if name in filled and (p.default is None or p.via == "contains")  # looked for, and put in where it is absent
        else p
        for name, p in parameters.items()
    }
