"""Names that a function takes out of its **kwargs in its body."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llenergymeasure.surface.values import Scope, evaluate

# Where a name is found in several ways, the one that says most about it is kept.
_PRECEDENCE = ("pop", "get", "subscript", "loop", "contains")


@dataclass(frozen=True)
class Found:
    """One name in a body; `default` is the expression given as fallback, None where there is none."""

    name: str
    via: str
    default: ast.expr | None = None
    ignored: bool = False
    line: int = 0


def keyword_variable(function: ast.FunctionDef) -> str | None:
    if function.args.kwarg:
        return function.args.kwarg.arg
    # Helpers that work on a caller's keyword arguments take them as a plain dict of that name.
    return "kwargs" if any(argument.arg == "kwargs" for argument in function.args.args) else None


def names(function: ast.FunctionDef, scope: Scope, variable: str | None = None) -> dict[str, Found]:
    """Every name that the body takes from `variable`, the function's own **kwargs unless another is given."""
    variable = variable or keyword_variable(function)
    if variable is None:
        return {}
    context = _Context(function, scope, variable)
    found: dict[str, list[Found]] = {}
    for item in context.occurrences():
        found.setdefault(item.name, []).append(item)
    return {name: _merge(items) for name, items in found.items() if not name.startswith("_")}


def _merge(items: list[Found]) -> Found:
    best = min(items, key=lambda item: (item.ignored, item.default is None, _PRECEDENCE.index(item.via)))
    return replace(best, ignored=all(item.ignored for item in items))


class _Context:
    def __init__(self, function: ast.FunctionDef, scope: Scope, variable: str) -> None:
        self.function = function
        self.scope = scope
        self.variable = variable
        self.nodes = list(ast.walk(function))
        self.parents = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.loaded = {node.id for node in self.nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        self.lists = {
            node.targets[0].id: node.value
            for node in self.nodes
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
        }
        # A name dropped after everything was handed on has been used by whoever received it.
        forwards = (
            k.value for node in self.nodes if isinstance(node, ast.Call) for k in node.keywords if k.arg is None
        )
        self.forwarded = min((node.lineno for node in forwards if self.is_variable(node)), default=10**9)

    def is_variable(self, node: ast.expr | None) -> bool:
        return isinstance(node, ast.Name) and node.id == self.variable

    def occurrences(self) -> Iterator[Found]:
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield from self.call(node)
            elif isinstance(node, ast.Subscript) and self.is_variable(node.value) and isinstance(node.ctx, ast.Load):
                for name in self.strings(node.slice):
                    yield Found(name, "subscript", line=node.lineno)
            elif isinstance(node, ast.Compare):
                yield from self.compare(node)

    def call(self, node: ast.Call) -> Iterator[Found]:
        method = node.func
        if (
            not isinstance(method, ast.Attribute)
            or method.attr not in ("pop", "get")
            or not self.is_variable(method.value)
        ):
            return
        if not node.args:
            return
        default = node.args[1] if len(node.args) > 1 else None
        ignored = method.attr == "pop" and self.discarded(node)
        first = node.args[0]
        via = method.attr if isinstance(first, ast.Constant) else "loop"
        for name in self.strings(first):
            yield Found(name, via, default, ignored, node.lineno)

    def compare(self, node: ast.Compare) -> Iterator[Found]:
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.In | ast.NotIn | ast.Eq):
            return
        left, right = node.left, node.comparators[0]
        if isinstance(node.ops[0], ast.In | ast.NotIn) and self.is_variable(right):
            via = "contains" if isinstance(left, ast.Constant) else "loop"
            for name in self.strings(left):
                yield Found(name, via, ignored=self.only_to_discard(node, name), line=node.lineno)
        elif isinstance(left, ast.Name) and self.walks_keys(left):
            for name in self.strings(right) if isinstance(node.ops[0], ast.Eq) else self.members(right):
                yield Found(name, "loop", line=node.lineno)

    def walks_keys(self, name: ast.Name) -> bool:
        """Whether the name is a loop's variable over the keyword arguments themselves."""
        for loop in self.nodes:
            if isinstance(loop, ast.For) and any(
                self.is_variable(n) for n in ast.walk(loop.iter) if isinstance(n, ast.Name)
            ):
                first = loop.target.elts[0] if isinstance(loop.target, ast.Tuple) else loop.target
                if isinstance(first, ast.Name) and first.id == name.id and name in set(ast.walk(loop)):
                    return True
        return False

    def strings(self, node: ast.expr) -> Sequence[str]:
        """The literal names that an expression stands for: itself, or what a loop around it walks over."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if not isinstance(node, ast.Name):
            return []
        parent: ast.AST | None = node
        while parent is not None:
            generators = getattr(parent, "generators", [])
            for loop in [parent] if isinstance(parent, ast.For) else generators:
                if isinstance(loop.target, ast.Name) and loop.target.id == node.id:
                    return self.members(loop.iter)
            parent = self.parents.get(parent)
        return []

    def members(self, node: ast.expr) -> Sequence[str]:
        if isinstance(node, ast.Name) and node.id in self.lists:
            node = self.lists[node.id]
        value: Any = evaluate(node, self.scope)
        if not isinstance(value, list | tuple | set | frozenset):
            return []
        return [item for item in value if isinstance(item, str)]

    def only_to_discard(self, test: ast.Compare, name: str) -> bool:
        """Whether a name is looked for so that it can be dropped."""
        branch = self.parents.get(test)
        return isinstance(branch, ast.If) and any(
            isinstance(item, ast.Expr)
            and isinstance(item.value, ast.Call)
            and any(found.name == name and found.ignored for found in self.call(item.value))
            for item in branch.body
        )

    def discarded(self, node: ast.Call) -> bool:
        if node.lineno > self.forwarded:
            return False
        parent = self.parents.get(node)
        if isinstance(parent, ast.Expr):
            return True
        if isinstance(parent, ast.Assign) and len(parent.targets) == 1 and isinstance(parent.targets[0], ast.Name):
            return parent.targets[0].id not in self.loaded
        return False


def consumes_rest(function: ast.FunctionDef) -> bool:
    """Whether names beyond the listed ones have a use: kept, walked over or handed on to no base class."""
    variable = keyword_variable(function)
    if variable is None:
        return False
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            handed = [*node.args, *(keyword.value for keyword in node.keywords)]
            called = ast.unparse(node.func)
            if any(isinstance(a, ast.Name) and a.id == variable for a in handed):
                if not called.startswith(("super(", "logger.", "len", "set", "copy.")):
                    return True
            elif called == f"{variable}.items":
                return True
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id == variable:
            return True
    return False
