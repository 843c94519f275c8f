"""What the source says about a parameter beyond its signature: documented type, choices, bounds and standing."""

import ast
from dataclasses import dataclass, field, replace
from typing import Any

from llenergymeasure.surface import bodies, constraints, standing
from llenergymeasure.surface.model import ACTIVE, Parameter
from llenergymeasure.surface.sources import Enumeration, Module
from llenergymeasure.surface.values import Scope


@dataclass(frozen=True)
class Evidence:
    """Where to look.

    Attributes:
        functions: the bodies in which values are refused and deprecations announced.
        documents: parameter to (type, first words), from the documentation.
        lines: parameter to the source line that defines it.
        found: the names that were found in bodies.
        announcing: further bodies in which deprecations are announced.
    """

    scope: Scope
    functions: list[ast.FunctionDef]
    documents: dict[str, tuple[str, str]]
    lines: dict[str, int]
    found: dict[str, bodies.Found] = field(default_factory=dict)
    announcing: list[ast.FunctionDef] = field(default_factory=list)

    def documented(self, name: str) -> tuple[str, str]:
        return self.documents.get(name, ("", ""))


def checking_methods(
    module: Module, owner: ast.ClassDef | None, start: ast.FunctionDef | None
) -> list[ast.FunctionDef]:
    """The methods that a constructor calls on itself, where values are refused and deprecations are announced."""
    if owner is None or (start is not None and start.name != "__init__"):
        return []
    post = module.method(owner, "__post_init__") if start is None else None
    queue = [start] if start else [post[1]] if post else []
    found: list[ast.FunctionDef] = []
    while queue and len(found) < 8:
        node = queue.pop(0)
        found.append(node)
        for call in (n.value for n in node.body if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)):
            name = ast.unparse(call.func)
            methods = [module.method(owner, name.removeprefix("self."))] if name.startswith("self.") else []
            if name == "super().__init__":
                methods = [module.method(base, "__init__") for base in list(module.bases(owner))[1:2]]
            queue += [method[1] for method in methods if method is not None and method[1] not in found]
    return found[1:] if start else found


def describe(parameters: dict[str, Parameter], evidence: Evidence) -> dict[str, Parameter]:
    """The same parameters with types from the documentation, and choices, bounds and status from the source."""
    typed = {name: replace(p, type=p.type or _documented_type(p, evidence)) for name, p in parameters.items()}
    limits = constraints.of_functions(evidence.functions, evidence.scope, {name: p.type for name, p in typed.items()})
    warned = standing.warned_about([*evidence.functions, *evidence.announcing], evidence.scope)
    enums = evidence.scope.module.enums
    result = {}
    for name, parameter in typed.items():
        limit = limits.get(name, constraints.Constraint())
        status = _status(parameter, evidence)
        result[name] = replace(
            parameter,
            choices=parameter.choices or limit.choices or _members(enums.get(parameter.type)),
            minimum=limit.minimum if parameter.minimum is None else parameter.minimum,
            maximum=limit.maximum if parameter.maximum is None else parameter.maximum,
            status=warned.get(name, status) if status == ACTIVE else status,
        )
    return result


def _members(known: Enumeration | None) -> tuple[Any, ...]:
    return tuple(known.written.values()) if known else ()


def _documented_type(parameter: Parameter, evidence: Evidence) -> str:
    kind = evidence.documented(parameter.name)[0]
    # Documentation says "optional" both for a default and for None; a default of None decides.
    if kind and parameter.default is None and "None" not in kind.split(" | "):
        return f"{kind} | None"
    return kind


def _status(parameter: Parameter, evidence: Evidence) -> str:
    name = parameter.name
    if parameter.status != ACTIVE:
        return parameter.status
    line = evidence.lines.get(name, 0) if parameter.via in ("signature", "pop") else 0
    words = evidence.documented(name)[1]
    return standing.status_of(evidence.found.get(name), line, evidence.scope.module.lines, words)
