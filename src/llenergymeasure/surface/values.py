"""The value of an expression, where the source alone decides it; nothing of the package is executed."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llenergymeasure.surface.definitions import enumeration, field_of, find, find_class
from llenergymeasure.surface.model import UNKNOWN
from llenergymeasure.surface.sources import Module, assignments

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.LShift: operator.lshift,
}
_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    kind.__name__: kind for kind in (int, float, str, list, tuple, set, frozenset, dict)
}
_TYPES: dict[str, type] = {
    "str": str,
    "bool": bool,
    "int": int,
    "float": float,
    "list": list,
    "dict": dict,
    "tuple": tuple,
}


@dataclass(frozen=True)
class Symbol:
    """An object named by its dotted path, such as torch.float32, that no literal can stand for."""

    path: str


@dataclass
class Scope:
    """What names mean at one place: local values first, then the class's attributes, then the module's."""

    module: Module
    owner: ast.ClassDef | None = None
    local: Mapping[str, Any] = field(default_factory=dict)

    def name(self, name: str) -> Any:
        if name in self.local:
            return self.local[name]
        own = assignments(self.owner.body).get(name) if self.owner is not None else None
        if own is not None:
            return evaluate(own, Scope(self.module))
        found = find(self.module, name)
        known = found is not None and isinstance(found.node, ast.expr)
        return evaluate(found.node, Scope(found.module)) if known else UNKNOWN  # type: ignore[union-attr,arg-type]

    def attribute(self, node: ast.Attribute) -> Any:
        text = ast.unparse(node)
        return self.local[text] if text in self.local else self._attribute(text)

    def _attribute(self, text: str) -> Any:
        head, _, rest = text.partition(".")
        known = enumeration(self.module, head)
        if known is not None:
            name = rest.removesuffix(".value")
            return (known.written if name == rest else known.values).get(name, UNKNOWN)
        if head in ("self", "cls") and self.owner is not None:
            for base in self.module.bases(self.owner):
                attributes = assignments(base.body)
                if rest in attributes:
                    return evaluate(attributes[rest], Scope(self.module))
            return UNKNOWN
        if head == "torch":
            return Symbol(text)
        variables = self.module.imported_module(head)
        if variables is not None:
            declared = assignments(variables.guarded).get(
                rest
            )  # as type checkers are told: the value where none is set
            return UNKNOWN if declared is None else evaluate(declared, Scope(variables))
        return self.field(head, rest)

    def field(self, owner: str, name: str) -> Any:
        """The default of a class's field: what reading it off the class gives."""
        found = field_of(self.module, owner, name)
        if found is None or found[2].value is None:
            return UNKNOWN
        return evaluate(found[2].value, Scope(found[0], found[1]))


def evaluate(node: ast.expr, scope: Scope) -> Any:
    """UNKNOWN where the source alone does not decide the value."""
    try:
        return _evaluate(node, scope)
    except (TypeError, ValueError, ArithmeticError, KeyError, RecursionError):
        return UNKNOWN


def _evaluate(node: ast.expr, scope: Scope) -> Any:  # noqa: PLR0911 - one return per kind
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return scope.name(node.id)
        case ast.Attribute():
            return scope.attribute(node)
        case ast.List() | ast.Tuple() | ast.Set():
            return _collection(node, scope)
        case ast.Dict():
            pairs = [
                (_evaluate(k, scope) if k else UNKNOWN, _evaluate(v, scope))
                for k, v in zip(node.keys, node.values, strict=True)
            ]
            return UNKNOWN if any(UNKNOWN in pair for pair in pairs) else dict(pairs)
        case ast.UnaryOp():
            return _unary(node, scope)
        case ast.BinOp(op=ast.Pow(), right=ast.Constant(value=int() as exponent)) if exponent < 100:
            base = _evaluate(node.left, scope)
            return base**exponent if isinstance(base, int | float) and abs(base) <= 1000 else UNKNOWN
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            left, right = _evaluate(node.left, scope), _evaluate(node.right, scope)
            return UNKNOWN if UNKNOWN in (left, right) else _OPERATORS[type(op)](left, right)
        case ast.IfExp():
            condition = truth(node.test, scope)
            return UNKNOWN if condition is None else _evaluate(node.body if condition else node.orelse, scope)
        case ast.BoolOp() | ast.Compare():
            decided = truth(node, scope)
            return UNKNOWN if decided is None else decided
        case ast.Call():
            return _call(node, scope)
    return UNKNOWN


def _unary(node: ast.UnaryOp, scope: Scope) -> Any:
    if isinstance(node.op, ast.Not):
        decided = truth(node, scope)
        return UNKNOWN if decided is None else decided
    value = _evaluate(node.operand, scope)
    return UNKNOWN if value is UNKNOWN or not isinstance(node.op, ast.USub) else -value


def _collection(node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> Any:
    items: list[Any] = []
    for element in node.elts:
        value = _evaluate(element.value if isinstance(element, ast.Starred) else element, scope)
        if value is UNKNOWN:
            return UNKNOWN
        items.extend(value if isinstance(element, ast.Starred) else [value])
    return items if isinstance(node, ast.List) else tuple(items) if isinstance(node, ast.Tuple) else set(items)


def _call(node: ast.Call, scope: Scope) -> Any:  # noqa: PLR0911 - one return per kind
    name = ast.unparse(node.func)
    arguments = [_evaluate(argument, scope) for argument in node.args]
    head, _, rest = name.partition(".")
    if head in scope.module.enums and rest == "__members__.values":
        return tuple(scope.module.enums[head].values.values())
    if name in ("field", "dataclasses.field", "Field", "msgspec.field"):
        return _field(node, scope)
    if name == "get_field" and len(node.args) == 2:
        return scope.field(ast.unparse(node.args[0]), str(arguments[1]))
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in ("pop", "get") and len(node.args) == 2:  # nobody passed it: the fallback applies
            return arguments[1]
        if node.func.attr in ("lower", "upper") and not node.args:
            value = _evaluate(node.func.value, scope)
            return getattr(value, node.func.attr)() if isinstance(value, str) else UNKNOWN
    if name in ("cast", "typing.cast") and len(arguments) == 2:
        return arguments[1]
    if UNKNOWN in arguments or node.keywords or name not in _CONSTRUCTORS:
        return UNKNOWN
    value = _CONSTRUCTORS[name](*arguments)
    return UNKNOWN if isinstance(value, float) and not math.isfinite(value) else value


def _field(node: ast.Call, scope: Scope) -> Any:
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if "default" in keywords:
        return _evaluate(keywords["default"], scope)
    if node.args:  # of pydantic's
        return _evaluate(node.args[0], scope)
    factory = keywords.get("default_factory")
    if isinstance(factory, ast.Lambda):
        return _evaluate(factory.body, scope)
    name = ast.unparse(factory) if factory is not None else ""
    if name in _CONSTRUCTORS:
        return _CONSTRUCTORS[name]()
    found = find_class(scope.module, name) if name else None
    if found is not None and any(ast.unparse(base).partition("[")[0] == "dict" for base in found[1].bases):
        return {}
    return Symbol(f"{name}()") if found else UNKNOWN


def truth(node: ast.expr, scope: Scope) -> bool | None:
    """Whether a condition holds, None where it cannot be told."""
    match node:
        case ast.UnaryOp(op=ast.Not()):
            inner = truth(node.operand, scope)
            return None if inner is None else not inner
        case ast.BoolOp():
            return _connective(node, scope)
        case ast.Compare(ops=[op], comparators=[right]):
            return _compare(evaluate(node.left, scope), op, evaluate(right, scope))
        case ast.Call(func=ast.Name(id="isinstance"), args=[target, kind]):
            return _is_instance(evaluate(target, scope), ast.unparse(kind))
    value = evaluate(node, scope)
    return None if value is UNKNOWN or isinstance(value, Symbol) else bool(value)


def _connective(node: ast.BoolOp, scope: Scope) -> bool | None:
    parts = [truth(value, scope) for value in node.values]
    decisive = isinstance(node.op, ast.Or)
    if decisive in parts:
        return decisive
    return None if None in parts else not decisive


def _compare(left: Any, op: ast.cmpop, right: Any) -> bool | None:  # noqa: PLR0911 - one return per kind
    if UNKNOWN in (left, right):
        return None
    try:
        match op:
            case ast.Is() | ast.Eq():
                return bool(left == right)
            case ast.IsNot() | ast.NotEq():
                return bool(left != right)
            case ast.In():
                return left in right
            case ast.NotIn():
                return left not in right
            case ast.Lt():
                return bool(left < right)
            case ast.LtE():
                return bool(left <= right)
            case ast.Gt():
                return bool(left > right)
            case ast.GtE():
                return bool(left >= right)
    except TypeError:
        return None
    return None


def _is_instance(value: Any, kind: str) -> bool | None:
    if value is UNKNOWN or isinstance(value, Symbol):
        return None
    if value is None:
        return False
    return isinstance(value, _TYPES[kind]) if kind in _TYPES else None


def jsonable(value: Any) -> Any:
    """A value as a surface writes it: tuples and sets are lists, symbols are `{"expr": path}`."""
    if isinstance(value, Symbol):
        return {"expr": value.path}
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    return value


def default_of(node: ast.expr, scope: Scope) -> Any:
    """The JSON form of a default, its source text in `{"expr": ...}` where it cannot be evaluated."""
    value = evaluate(node, scope)
    if value is UNKNOWN or value is Ellipsis or isinstance(value, bytes):
        return {"expr": ast.unparse(node)}
    return jsonable(value)
