"""Following a constructor that nobody gave an argument: the values it fills in, and the values it refuses."""

import ast
from dataclasses import dataclass, field
from typing import Any

from llenergymeasure.surface.bodies import keyword_variable
from llenergymeasure.surface.model import UNKNOWN
from llenergymeasure.surface.values import Scope, evaluate, jsonable, truth


class _Given:
    """A value that is there, but not known: it is not None, and equal to nothing in particular."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        if other is None or other is UNKNOWN or other is self:
            return other is self
        raise TypeError  # which makes the comparison one that cannot be told


_GIVEN = _Given()


@dataclass
class Trace:
    """The state while the statements of a function run with every argument left at its default.

    Conditions that cannot be told leave what they assign unknown: a value is reported only where it must apply.
    """

    scope: Scope
    names: set[str]
    local: dict[str, Any] = field(default_factory=dict)
    filled: dict[str, Any] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    depth: int = 0
    rest: str | None = None  # the variable of the keyword arguments, of which none was given

    def run(self, body: list[ast.stmt]) -> bool:
        """False when the function ends here."""
        return all(self.step(statement) for statement in body)

    def step(self, statement: ast.stmt) -> bool:
        match statement:
            case ast.Return() | ast.Raise():
                return False
            case ast.Assign(targets=[target], value=value):
                self.assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self.assign(target, value)
            case ast.If():
                return self.branch(statement)
            case ast.With():
                return self.run(statement.body)
            case ast.Expr(value=ast.Call() as call):
                self.call(call)
            case _:
                self.forget([statement])
        return True

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        match target:
            case ast.Subscript(value=ast.Name(id=self.rest), slice=ast.Constant(value=str() as name)):
                result = evaluate(value, self.here())
                if name in self.names and result is not UNKNOWN:
                    self.filled[name] = result
                return
        if not isinstance(target, ast.Name | ast.Attribute):
            self.forget([target])
            return
        key = ast.unparse(target)
        taken = _taken_name(value)
        if taken:
            self.owners[key] = taken
        name = self.owners.get(key, key.removeprefix("self."))
        result = evaluate(value, self.here())
        self.local[key] = result
        if name in self.names and result is not UNKNOWN and result is not None:
            self.filled[name] = result

    def here(self) -> Scope:
        return Scope(self.scope.module, self.scope.owner, self.local)

    def branch(self, statement: ast.If) -> bool:
        holds = self.holds(statement.test)
        if holds is not None:
            return self.run(statement.body if holds else statement.orelse)
        if _refuses(statement.body):
            return self.run(statement.orelse)
        if _refuses(statement.orelse):
            return self.run(statement.body)
        self.forget([*statement.body, *statement.orelse])
        return not any(
            isinstance(n, ast.Return) for part in (*statement.body, *statement.orelse) for n in ast.walk(part)
        )

    def holds(self, test: ast.expr) -> bool | None:
        match test:
            case ast.Compare(left=ast.Constant(), ops=[ast.NotIn()], comparators=[ast.Name(id=self.rest)]):
                return True
        return truth(test, self.here())

    def forget(self, nodes: list[Any]) -> None:
        for node in nodes:
            for item in ast.walk(node):
                if isinstance(item, ast.Name | ast.Attribute) and isinstance(item.ctx, ast.Store):
                    self.local[ast.unparse(item)] = UNKNOWN

    def call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func)
        owner = self.scope.owner
        if owner is None or self.depth > 3:
            return
        if name == "super().__init__":
            self.parent(node, owner)
        elif name.startswith("self.") and not node.args and not node.keywords:
            found = self.scope.module.method(owner, name.removeprefix("self."))
            if found is not None:
                self.nested(found[1], {})

    def parent(self, node: ast.Call, owner: ast.ClassDef) -> None:
        module = self.scope.module
        for base in list(module.bases(owner))[1:]:
            found = next((n for n in base.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
            if found is not None:
                given = {k.arg: evaluate(k.value, self.here()) for k in node.keywords if k.arg}
                self.nested(found, given)
                return

    def nested(self, function: ast.FunctionDef, given: dict[str, Any]) -> None:
        arguments = defaults(function, self.scope) | given
        inner = {key: value for key, value in self.local.items() if key.startswith("self.")} | arguments
        trace = Trace(self.scope, self.names, inner, self.filled, {}, self.depth + 1)
        trace.run(function.body)
        self.local |= {key: value for key, value in trace.local.items() if key.startswith("self.")}


def defaults(function: ast.FunctionDef, scope: Scope) -> dict[str, Any]:
    """Parameter name to default value; UNKNOWN where there is none or it cannot be told."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    found: dict[str, Any] = {argument.arg: UNKNOWN for argument in [*positional, *arguments.kwonlyargs]}
    for argument, value in zip(reversed(positional), reversed(arguments.defaults), strict=False):
        found[argument.arg] = evaluate(value, scope)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            found[argument.arg] = evaluate(default, scope)
    found.pop("self", None)
    return found


def filled_in(function: ast.FunctionDef, scope: Scope, names: set[str], given: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a call with every default leaves in the parameters, in JSON form, where that differs from the default.

    `given` names the parameters that a user always passes.
    """
    start = {name: _GIVEN if name in given else value for name, value in defaults(function, scope).items()}
    trace = Trace(scope, names, dict(start), rest=keyword_variable(function))
    trace.run(function.body)
    return {
        name: jsonable(value)
        for name, value in trace.filled.items()
        if value is not _GIVEN and start.get(name) != value
    }


def filled_in_fields(
    owner: ast.ClassDef, scope: Scope, fields: dict[str, Any], given: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The same for a dataclass, whose `__post_init__` does the filling."""
    found = scope.module.method(owner, "__post_init__")
    if found is None:
        return {}
    start = {name: _GIVEN if name in given else value for name, value in fields.items()}
    trace = Trace(scope, set(fields), {f"self.{name}": value for name, value in start.items()})
    trace.run(found[1].body)
    return {
        name: jsonable(value)
        for name, value in trace.filled.items()
        if name not in given and value is not _GIVEN and fields[name] != value
    }


def _taken_name(node: ast.expr) -> str:
    """The name in `kwargs.pop("name", ...)`, also where a call or a fallback is wrapped around it."""
    for item in ast.walk(node):
        match item:
            case ast.Call(func=ast.Attribute(attr="pop" | "get"), args=[ast.Constant(value=str() as name), *_]):
                return name
    return ""


def _refuses(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], ast.Raise)
