"""Which attributes of an object act on the code that gets it: those it reads, and those whose processors it can use."""

import ast
from collections.abc import Iterator

from llenergymeasure.surface.recipes import Use
from llenergymeasure.surface.sources import Module, Modules

_HARMLESS = {"self", "device"}  # what a maker may do without: the object's own, and where a tensor is put


def attributes(modules: Modules, use: Use) -> set[str]:
    """Names of the attributes that act; of what cannot be decided none."""
    found: set[str] = set()
    for member in use.modules:
        module = modules.get(member)
        if module is not None:
            found |= {name for node in ast.walk(module.tree) if (name := _read(node, use.names))}
    home, classes = modules.get(use.maker.module), modules.get(use.processors)
    owner, _, method = use.maker.name.partition(".")
    if home is None or classes is None or owner not in home.classes:
        return found
    made = home.method(home.classes[owner], method)
    return found | (set(_processed(made[1], classes, use)) if made else set())


def _read(node: ast.AST, holders: tuple[str, ...]) -> str:
    """The attribute that is read here, directly or with getattr; "" where none is."""
    match node:
        case ast.Attribute(value=holder, attr=name, ctx=ast.Load()) if _holds(holder, holders):
            return name
        case ast.Call(func=ast.Name(id="getattr"), args=[holder, ast.Constant(value=str() as name), *_]) if _holds(
            holder, holders
        ):
            return name
    return ""


def _holds(node: ast.expr, holders: tuple[str, ...]) -> bool:
    return (isinstance(node, ast.Name) and node.id in holders) or (
        isinstance(node, ast.Attribute) and node.attr in holders
    )


def _processed(maker: ast.FunctionDef, classes: Module, use: Use) -> Iterator[str]:
    """Attributes for which a processor is made that works without anything but the object and the scores."""
    missing = _missing(maker, use.names)
    for branch in (node for node in ast.walk(maker) if isinstance(node, ast.If)):
        for made in _appended(branch):
            parts = [branch.test, *made.args, *(keyword.value for keyword in made.keywords)]
            nodes = [node for part in parts for node in ast.walk(part)]
            read = {name for node in nodes if (name := _read(node, use.names))}
            needs_more = any(isinstance(node, ast.Name) and node.id in missing for node in nodes)
            prepared = any(name.startswith("_") for name in read)  # only `generate` prepares private attributes
            if not needs_more and not prepared and _independent(made.func, classes, use.standing):
                yield from (name for node in ast.walk(branch.test) if (name := _read(node, use.names)))


def _missing(maker: ast.FunctionDef, holders: tuple[str, ...]) -> set[str]:
    """Arguments that nobody gives, and local values that are made of them."""
    missing = {argument.arg for argument in maker.args.args} - {*holders, *_HARMLESS}
    for node in ast.walk(maker):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names = {item.id for item in ast.walk(node.value) if isinstance(item, ast.Name)}
            missing |= {node.targets[0].id} if names & missing else set()
    return missing


def _appended(branch: ast.If) -> Iterator[ast.Call]:
    for statement in branch.body:
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="append"), args=[ast.Call() as made])):
                yield made


def _independent(made: ast.expr, classes: Module, standing: str) -> bool:
    """Whether a processor looks at the scores alone: of each sequence only the last token is there to look at."""
    owner = classes.classes.get(made.id) if isinstance(made, ast.Name) else None
    if owner is None:
        return False
    for base in classes.bases(owner):
        said = next((item for item in base.body if standing in ast.unparse(item).partition("=")[0]), None)
        value = getattr(said, "value", None)
        if isinstance(value, ast.Constant) and value.value is not None:
            return bool(value.value)
    call = classes.method(owner, "__call__")
    if call is None or len(call[1].args.args) < 3:
        return False
    tokens = call[1].args.args[1].arg
    return not any(isinstance(node, ast.Name) and node.id == tokens for node in ast.walk(call[1]))
