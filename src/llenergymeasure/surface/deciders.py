"""Which parameters are set once more after their arguments were taken, and whose code does it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from llenergymeasure.surface.definitions import find, referred
from llenergymeasure.surface.model import EntryPoint, Parameter
from llenergymeasure.surface.recipes import Settling
from llenergymeasure.surface.sources import Module, Modules, statements

ENGINE = "engine"  # start-up code, which looks at the model, the device and the other settings
PLATFORM = "platform"  # whichever platform is there
ENVIRONMENT = "environment"

_FILLING = ("append", "extend", "insert", "add", "update", "setdefault")

Key = tuple[str, str]  # a config class, in small letters without underscores, and its attribute


@dataclass(frozen=True)
class Setting:
    """One place at which an attribute is set; `changes` where its own value goes into the new one."""

    by: str
    changes: bool


def mark(points: dict[str, EntryPoint], modules: Modules, settling: Settling) -> dict[str, EntryPoint]:
    """The same entry points, their parameters marked with who decides them."""
    found: dict[Key, list[Setting]] = {}
    for module, by in _modules(modules, settling):
        for key, setting in _settings(module, by, settling.arguments.name):
            found.setdefault(key, []).append(setting)
    handed = _handed_on(modules, settling, found)
    marked = {}
    for name, point in points.items():
        own = _plain(name.rpartition(".")[2])
        parameters = {}
        for field, parameter in point.parameters.items():
            keys = [(own, field), *(handed.get(field, []) if name == settling.entry_point else [])]
            parameters[field] = _marked(parameter, [item for place in keys for item in found.get(place, [])])
        marked[name] = replace(point, parameters=parameters)
    return marked


def of_default(node: ast.expr | None, module: Module) -> tuple[str, ...]:
    """Whether the expression of a default asks the environment or the platform."""
    named = [item for item in ast.walk(node) if isinstance(item, ast.Name)] if node is not None else []
    functions = [module.functions[item.id] for item in named if item.id in module.functions]
    return tuple(sorted({by for item in (node, *functions) if item is not None for by in _asked(item)}))


def _marked(parameter: Parameter, settings: list[Setting]) -> Parameter:
    if parameter.required:
        return parameter
    # A value that is only brought into another form is decided by who gave it; nobody gives these.
    deciding = {item.by for item in settings if not item.changes or parameter.default in (None, "auto")}
    return replace(parameter, decided_by=tuple(sorted({*parameter.decided_by, *deciding})))


def _modules(modules: Modules, settling: Settling) -> Iterator[tuple[Module, str]]:
    for member, platform in settling.platforms:
        module = modules.get(member)
        if module is not None:
            yield module, platform
    for member in dict.fromkeys((*settling.engine, *modules.read(settling.folder))):
        module = modules.get(member)
        if module is not None:
            yield module, ENGINE


def _settings(module: Module, by: str, arguments: str) -> Iterator[tuple[Key, Setting]]:
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef):
            methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
            for function in methods.values():
                if not any(ast.unparse(item).endswith(".setter") for item in function.decorator_list):
                    yield from _set_in(function, node.name, methods, by, takes_over=node.name == arguments)
    for value in module.constants.values():
        if isinstance(value, ast.Dict):
            yield from ((key, Setting(by, changes=False)) for key in _tabled(value))


def _set_in(
    function: ast.FunctionDef, owner: str, methods: dict[str, ast.FunctionDef], by: str, *, takes_over: bool
) -> Iterator[tuple[Key, Setting]]:
    found = _assignments(function)
    asked = {
        name: who
        for target, value in found
        if (who := _asked(value) | _asked_by_methods(value, methods))
        for name in _names(target)
    }
    for key, target, value in _attributes(found, owner):
        if takes_over and _own(value) and not _own(target):
            continue
        who = _asked(value).union(*(asked.get(name, ()) for name in _names(value)))
        for one in who if who and by == ENGINE else {*who, by}:
            yield key, Setting(one, changes=_contains(value, target))


def _assignments(function: ast.FunctionDef) -> list[tuple[ast.expr, ast.expr]]:
    """Target and value; an operation on a target counts as one on its own value, a filled list or table as set."""
    found = []
    for node in statements(function.body):
        if isinstance(node, ast.Assign):
            targets = (item for t in node.targets for item in (t.elts if isinstance(t, ast.Tuple) else [t]))
            found += [(target, node.value) for target in targets]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            found.append((node.target, node.value))
        elif isinstance(node, ast.AugAssign):
            found.append((node.target, ast.BinOp(node.target, node.op, node.value)))
        elif isinstance(node, ast.Expr):
            match node.value:
                case ast.Call(func=ast.Attribute(value=ast.Attribute() as target, attr=name), args=[*_, value]) if (
                    name in _FILLING
                ):
                    found.append((target, value))
    return [(target.value if isinstance(target, ast.Subscript) else target, value) for target, value in found]


def _attributes(found: list[tuple[ast.expr, ast.expr]], owner: str) -> Iterator[tuple[Key, ast.Attribute, ast.expr]]:
    """Every attribute that is set, under the class of what holds it, with its value."""
    aliases = {
        target.id: value.attr
        for target, value in found
        if isinstance(target, ast.Name) and isinstance(value, ast.Attribute)
    }
    for target, value in found:
        if isinstance(target, ast.Attribute) and not _is_made_anew(value, target):
            held = target.value
            holder = held.attr if isinstance(held, ast.Attribute) else held.id if isinstance(held, ast.Name) else ""
            yield (_plain(owner if holder == "self" else aliases.get(holder, holder)), target.attr), target, value


def _names(node: ast.AST) -> list[str]:
    return [item.id for item in ast.walk(node) if isinstance(item, ast.Name)]


def _asked_by_methods(value: ast.expr, methods: dict[str, ast.FunctionDef]) -> set[str]:
    """Who is asked in a method of the same class that gives the value."""
    match value:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name)) if name in methods:
            return _asked(methods[name])
    return set()


def _is_made_anew(value: ast.expr, target: ast.Attribute) -> bool:
    """Whether an object is made of what was given for it, as in `self.x_config = XConfig(**self.x_config)`."""
    return isinstance(value, ast.Call) and any(
        keyword.arg is None and _contains(keyword.value, target) for keyword in value.keywords
    )


def _contains(node: ast.expr, target: ast.Attribute) -> bool:
    same = [item for item in ast.walk(node) if isinstance(item, ast.Attribute) and item.attr == target.attr]
    return any(ast.unparse(item) == ast.unparse(target) for item in same)


def _tabled(table: ast.Dict) -> Iterator[Key]:
    """The attributes in a table of defaults such as {"x_config": {"attribute": value}}."""
    for key, value in zip(table.keys, table.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and isinstance(value, ast.Dict):
            for inner in value.keys:
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield _plain(key.value), inner.value
            yield from _tabled(value)


def _asked(node: ast.AST) -> set[str]:
    """Who is asked in an expression, beside the objects at hand."""
    names = _names(node)
    text = ast.unparse(node) if "os" in names else ""
    environment = "envs" in names or "os.environ" in text or "os.getenv" in text
    return {*([ENVIRONMENT] if environment else []), *([PLATFORM] if "current_platform" in names else [])}


def _handed_on(modules: Modules, settling: Settling, found: dict[Key, list[Setting]]) -> dict[str, list[Key]]:
    """Field of the arguments' class to the attributes that get its value, and to itself.

    Taking a value over from the arguments is no decision; giving a config class a local value is one.
    """
    module = modules.get(settling.arguments.module)
    owner = module.classes.get(settling.arguments.name) if module is not None else None
    if module is None or owner is None:
        return {}
    handed: dict[str, list[Key]] = {}
    for item in owner.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            keys = handed.setdefault(item.target.id, [(_plain(owner.name), item.target.id)])
            origin = referred(item.value, module)
            if origin is not None:
                keys.append((_plain(origin[1].name), ast.unparse(origin[2].target)))
    for key, value in _given(owner):
        names = [name for name in _own(value) if name in handed]
        if not names and isinstance(value, ast.Name) and find(module, value.id) is None:
            found.setdefault(key, []).append(Setting(ENGINE, changes=False))
            names = [key[1]] if key[1] in handed else []
        for name in names:
            handed[name].append(key)
    return handed


def _given(owner: ast.ClassDef) -> Iterator[tuple[Key, ast.expr]]:
    """Attribute of a config class and the value that it gets, in a call or by assignment."""
    for node in ast.walk(owner):
        match node:
            case ast.Call(func=ast.Name(id=name), keywords=keywords) if name.endswith("Config"):
                yield from (((_plain(name), keyword.arg), keyword.value) for keyword in keywords if keyword.arg)
            case ast.FunctionDef():
                set_here = _attributes(_assignments(node), owner.name)
                yield from ((key, value) for key, target, value in set_here if not _own(target))


def _own(node: ast.expr) -> list[str]:
    """The attributes of `self` in an expression."""
    return [
        item.attr
        for item in ast.walk(node)
        if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name) and item.value.id == "self"
    ]


def _plain(name: str) -> str:
    """CacheConfig and cache_config are the same."""
    return name.replace("_", "").lower()
