"""Which values a package refuses, read from the conditions under which it raises."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from llenergymeasure.surface.definitions import referred
from llenergymeasure.surface.model import UNKNOWN
from llenergymeasure.surface.values import Scope, Symbol, evaluate, jsonable

_MIRROR: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}


@dataclass(frozen=True)
class Constraint:
    """Bounds include their end; where a real number's end is excluded, the end is still named."""

    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


def of_functions(functions: Iterable[ast.FunctionDef], scope: Scope, types: dict[str, str]) -> dict[str, Constraint]:
    """Constraints that hold whatever the other parameters are; `types` maps the parameters to their types."""
    found: dict[str, Constraint] = {}
    for function in functions:
        local: dict[str, Any] = {}
        here = Scope(scope.module, scope.owner, local)
        for statement in function.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                local[statement.targets[0].id] = evaluate(statement.value, here)
            if isinstance(statement, ast.If):
                for name, constraint in _of_if(statement, here, types):
                    found[name] = _both(found.get(name, Constraint()), constraint)
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                for name, constraint in _of_call(statement.value, scope, types).items():
                    found[name] = _both(found.get(name, Constraint()), constraint)
    return found


def _of_call(call: ast.Call, scope: Scope, types: dict[str, str]) -> dict[str, Constraint]:
    """What a function of the module that gets parameters refuses of them."""
    function = scope.module.functions.get(call.func.id) if isinstance(call.func, ast.Name) else None
    names = [] if function is None else [argument.arg for argument in function.args.args]
    pairs = ((inner, _parameter(given, types)) for inner, given in zip(names, call.args, strict=False))
    passed = {inner: outer for inner, outer in pairs if outer}
    if function is None or not passed:
        return {}
    inside = of_functions([function], Scope(scope.module), {inner: types[outer] for inner, outer in passed.items()})
    return {passed[name]: constraint for name, constraint in inside.items()}


def declared(field: ast.AnnAssign, scope: Scope) -> Constraint:
    """The bounds that a field states in `Field(...)`, as its value, in its type, or where its default is taken from."""
    calls = [node for node in ast.walk(field.annotation) if isinstance(node, ast.Call)]
    value = field.value
    if isinstance(value, ast.Call):
        calls.append(value)
    found = referred(value, scope.module)
    result = declared(found[2], Scope(found[0], found[1])) if found else Constraint()
    for call in calls:
        stated = {k.arg: evaluate(k.value, scope) for k in call.keywords if k.arg in ("ge", "gt", "le", "lt")}
        whole = "int" in ast.unparse(field.annotation) and "float" not in ast.unparse(field.annotation)
        low, high = _end(stated, "ge", "gt", whole), _end(stated, "le", "lt", whole)
        result = _both(Constraint(minimum=low, maximum=high), result)
    return result


def _end(stated: dict[str, Any], included: str, excluded: str, whole: bool) -> float | None:  # noqa: FBT001
    if isinstance(stated.get(included), int | float):
        return stated[included]  # type: ignore[no-any-return]
    end = stated.get(excluded)
    step = (1 if excluded == "gt" else -1) if whole else 0
    return end + step if isinstance(end, int | float) else None


def _both(first: Constraint, second: Constraint) -> Constraint:
    return Constraint(
        first.choices or second.choices,
        second.minimum if first.minimum is None else first.minimum,
        second.maximum if first.maximum is None else first.maximum,
    )


def _of_if(statement: ast.If, scope: Scope, types: dict[str, str]) -> Iterator[tuple[str, Constraint]]:
    if statement.body and isinstance(statement.body[-1], ast.Raise) and not statement.orelse:
        yield from _refused(statement.test, scope, types)
        return
    chain = _equality_chain(statement, scope, types)
    if chain is not None:
        yield chain


def _equality_chain(statement: ast.If, scope: Scope, types: dict[str, str]) -> tuple[str, Constraint] | None:
    """`if x == "a": ... elif x == "b": ... else: raise` allows a and b."""
    values: list[Any] = []
    names: set[str] = set()
    node: list[ast.stmt] = [statement]
    while len(node) == 1 and isinstance(node[0], ast.If):
        test = node[0].test
        if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
            return None
        names.add(_parameter(test.left, types))
        values.append(evaluate(test.comparators[0], scope))
        node = node[0].orelse
    refused = bool(node) and isinstance(node[-1], ast.Raise)
    if not refused or len(names) != 1 or "" in names or UNKNOWN in values:
        return None
    return names.pop(), Constraint(choices=tuple(jsonable(value) for value in values))


def _refused(test: ast.expr, scope: Scope, types: dict[str, str]) -> Iterator[tuple[str, Constraint]]:
    parts = test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
    optional = {name for part in parts if (name := _present(part, types))}
    rest = [part for part in parts if not _present(part, types)]
    if len(rest) != 1:
        return
    part = rest[0]
    alternatives = part.values if isinstance(part, ast.BoolOp) and isinstance(part.op, ast.Or) else [part]
    read = [_comparison(alternative, scope, types) for alternative in alternatives]
    for item in read:
        if item is not None and (not optional or item[0] in optional) and (len(read) == 1 or not item[1].choices):
            name, constraint = item
            if constraint.choices and name in optional and None not in constraint.choices:
                constraint = replace(constraint, choices=(*constraint.choices, None))
            yield name, constraint


def _present(node: ast.expr, types: dict[str, str]) -> str:
    """The parameter in `x is not None`."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.IsNot):
        return _parameter(node.left, types)
    return ""


def _parameter(node: ast.expr, types: dict[str, str]) -> str:
    name = ast.unparse(node).removeprefix("self.") if isinstance(node, ast.Name | ast.Attribute) else ""
    return name if name in types else ""


def _comparison(node: ast.expr, scope: Scope, types: dict[str, str]) -> tuple[str, Constraint] | None:  # noqa: PLR0911 - one return per kind
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Compare):
        return _required_range(node.operand, scope, types)
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return None
    left, op, right = node.left, type(node.ops[0]), node.comparators[0]
    name = _parameter(left, types)
    if not name and op in _MIRROR:
        name, op, right = _parameter(right, types), _MIRROR[op], left
    value = evaluate(right, scope)
    if any(_parameter(item, types) for item in ast.walk(right) if isinstance(item, ast.Name | ast.Attribute)):
        return None  # a bound by another parameter is none by itself
    if not name or value is UNKNOWN or isinstance(value, Symbol):
        return None
    if op is ast.NotIn and isinstance(value, list | tuple | set | frozenset | dict):
        return name, Constraint(choices=tuple(jsonable(set(value) if isinstance(value, set) else list(value))))
    if op is ast.NotEq and not isinstance(value, bool):
        return name, Constraint(choices=(jsonable(value),))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    whole = "int" in types[name] and "float" not in types[name] and isinstance(value, int)
    step = 1 if whole else 0
    bounds = {
        ast.Lt: Constraint(minimum=value),
        ast.LtE: Constraint(minimum=value + step),
        ast.Gt: Constraint(maximum=value),
        ast.GtE: Constraint(maximum=value - step),
    }
    return (name, bounds[op]) if op in bounds else None


def _required_range(node: ast.Compare, scope: Scope, types: dict[str, str]) -> tuple[str, Constraint] | None:
    """`low < x < high` as a condition that must hold."""
    if len(node.ops) != 2 or not all(isinstance(op, ast.Lt | ast.LtE) for op in node.ops):
        return None
    name = _parameter(node.comparators[0], types)
    low, high = evaluate(node.left, scope), evaluate(node.comparators[1], scope)
    if not name or not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return name, Constraint(minimum=low, maximum=high)
