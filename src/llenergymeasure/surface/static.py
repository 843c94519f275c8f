"""Reading entry points from source, by targeted parsing of the few modules that define them."""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llenergymeasure.surface import bodies, construction, deciders, uses
from llenergymeasure.surface.choices import allowed
from llenergymeasure.surface.definitions import find_class, method_of, spelled_out
from llenergymeasure.surface.evidence import Evidence, checking_methods, describe
from llenergymeasure.surface.fields import Parameters, Read, fields, resolve
from llenergymeasure.surface.model import ACTIVE, DEPRECATED, IGNORED, UNKNOWN, EntryPoint, Parameter
from llenergymeasure.surface.recipes import ALL, BODY, POPPED, Family, Package, Part, Recipe
from llenergymeasure.surface.sources import Module, Modules, is_dataclass
from llenergymeasure.surface.spelling import canonical, documented_types
from llenergymeasure.surface.values import Scope, default_of, evaluate, jsonable


def entry_points(modules: Modules, package: Package) -> dict[str, EntryPoint]:
    """The entry points that this version has; those whose source is absent are left out."""
    for member in package.required:
        modules.need(member)
    found = {}
    for recipe in (*package.recipes, *(recipe for family in package.families for recipe in members(modules, family))):
        queue = [recipe]
        while queue:
            here = queue.pop(0)
            point = entry_point(modules, here) if here.name not in found else None
            if point is not None:
                found[point.name] = point
                queue += nested(modules, here, point)
    if package.settling is not None:
        found = deciders.mark(found, modules, package.settling)
    for recipe in package.recipes:
        if recipe.uses is not None and recipe.name in found and recipe.uses.entry_point in found:
            known = found[recipe.uses.entry_point].parameters.keys()
            acts_on = tuple(sorted(uses.attributes(modules, recipe.uses) & known))
            found[recipe.name] = replace(found[recipe.name], acts_on={recipe.uses.entry_point: acts_on})
    return found


def nested(modules: Modules, recipe: Recipe, point: EntryPoint) -> list[Recipe]:
    """A recipe for every class of the recipe's folder that the parameters' types name, by its public name."""
    if not recipe.nested:
        return []
    names = {name for p in point.parameters.values() for name in re.findall(r"(?<![\w'.])[A-Z]\w*(?![\w'])", p.type)}
    exporter = modules.get(f"{recipe.nested.rstrip('/')}/__init__.py")
    recipes = {}
    for module in filter(None, (modules.get(part.module) for part in recipe.parts)):
        for found in filter(None, (find_class(module, name) for name in sorted(names))):
            home, name = found[0].member, found[1].name
            if not home.startswith(recipe.nested) or not is_dataclass(found[1]):
                continue
            public = exporter is not None and find_class(exporter, name) is not None
            where = (recipe.nested if public else home.removesuffix(".py")).rstrip("/").replace("/", ".")
            recipes[name] = Recipe(f"{modules.package}.{where}.{name}", (Part(home, name),), nested=recipe.nested)
    return list(recipes.values())


def members(modules: Modules, family: Family) -> list[Recipe]:
    """A recipe for every subclass of the family's base, however indirect."""
    module, exported = modules.need(family.module), modules.need(family.exporter).text
    recipes = []
    for name, node in module.classes.items():
        lineage = {base.name for base in module.bases(node)} | {ast.unparse(base) for base in node.bases}
        if family.base not in lineage or name == family.base or name.startswith("_"):
            continue
        public = re.search(rf"\b{name}\b", exported) is not None
        where = family.module.removesuffix(".py").replace("/", ".")
        prefix = family.prefix if public else f"{modules.package}.{where}"
        recipes.append(Recipe(f"{prefix}.{name}", (Part(family.module, name),)))
    return recipes


def entry_point(modules: Modules, recipe: Recipe) -> EntryPoint | None:
    merged: Parameters = {}
    accepts_more = False
    for index, part in enumerate(recipe.parts):
        module = modules.get(part.module)
        read = None if module is None else _part(module, part, recipe)
        if read is None:
            if index == 0:
                return None
            continue
        merged = merge(merged, read.parameters)
        accepts_more |= read.open
    merged |= _later_defaults(modules, recipe, merged)
    finished = {name: _finish(parameter) for name, parameter in merged.items() if not name.startswith("_")}
    return EntryPoint(recipe.name, finished, open=accepts_more if recipe.open is None else recipe.open)


def _part(module: Module, part: Part, recipe: Recipe) -> Read | None:
    head, _, method = part.name.partition(".")
    if head in module.classes:
        owner = module.classes[head]
        if not method or method == "__init__":
            return constructor(module, owner, part.take, recipe.given)
        found = method_of(module, owner, method)
        return None if found is None else function(found[0], found[2], found[1], recipe.given, part.take)
    if head in module.functions and not method:
        return function(module, module.functions[head], None, recipe.given, part.take)
    return None


def merge(outer: Parameters, inner: Parameters) -> Parameters:
    """The union; the outer function's default applies unless it merely hands the name on."""
    result = dict(inner)
    for name, first in outer.items():
        second = inner.get(name)
        if second is None:
            result[name] = first
            continue
        hands_on = first.via not in ("signature", "pop") or first.default is UNKNOWN
        hands_on = hands_on and not (first.required and not second.required)  # who calls the outer one must give it
        base, other = (second, first) if hands_on else (first, second)
        status = ACTIVE if IGNORED in (first.status, second.status) and first.status != second.status else base.status
        status = DEPRECATED if DEPRECATED in (first.status, second.status) else status
        resolved = second.resolved if base.resolved is UNKNOWN and base.default == second.default else base.resolved
        if hands_on and first.resolved is not UNKNOWN:
            resolved = first.resolved  # it fills the value in before it hands the name on
        result[name] = replace(
            base,
            type=base.type or other.type,
            choices=base.choices or other.choices,
            minimum=other.minimum if base.minimum is None else base.minimum,
            maximum=other.maximum if base.maximum is None else base.maximum,
            status=status,
            resolved=resolved,
        )
    return result


def _finish(parameter: Parameter) -> Parameter:
    if parameter.default is UNKNOWN and parameter.via == "get":
        return replace(parameter, default=None)  # what dict.get gives for an absent key
    return parameter


def _later_defaults(modules: Modules, recipe: Recipe, parameters: Parameters) -> Parameters:
    values: dict[str, Any] = {}
    module = modules.get(recipe.parts[0].module)
    if recipe.defaults and module is not None:
        values |= _returned(module, recipe.defaults)
    if recipe.fallback is not None and module is not None:
        head, _, method = recipe.fallback.name.partition(".")
        found = module.method(module.classes[head], method) if head in module.classes else None
        if found is not None:
            values |= {
                n: jsonable(v) for n, v in construction.defaults(found[1], Scope(module)).items() if v is not UNKNOWN
            }
    changed = {
        name: replace(parameters[name], resolved=value)
        for name, value in values.items()
        if name in parameters and parameters[name].default is None and value is not None
    }
    for name, member, constant in recipe.constants:
        holder = modules.get(member)
        if holder is not None and constant in holder.constants and name in parameters:
            changed[name] = replace(parameters[name], resolved=default_of(holder.constants[constant], Scope(holder)))
    handed = modules.get(recipe.handed[0]) if recipe.handed else None
    if handed is not None and recipe.handed is not None:
        for name, expression in _handed(handed, recipe.handed[1]).items():
            if name in parameters:
                changed[name] = replace(parameters[name], resolved=default_of(expression, Scope(handed)))
    return changed


def _returned(module: Module, name: str) -> dict[str, Any]:
    head, _, method = name.partition(".")
    found = module.method(module.classes[head], method)
    for node in ast.walk(found[1]) if found else ():
        if isinstance(node, ast.Return) and node.value is not None:
            value = evaluate(node.value, Scope(module))
            return jsonable(value) if isinstance(value, dict) else {}
    return {}


def _handed(module: Module, variable: str) -> dict[str, ast.expr]:
    found = {}
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=name), attr="pop"),
                args=[ast.Constant(value=str() as key), fallback],
            ) if name == variable:
                found[key] = fallback
    return found


def function(
    module: Module, node: ast.FunctionDef, owner: ast.ClassDef | None, given: tuple[str, ...], take: str
) -> Read:
    """The parameters of a function: its signature, and the names its body takes from **kwargs."""
    scope = Scope(module, owner)
    parameters = {} if take == BODY else {p.name: p for p in _signature(node, scope)}
    found = bodies.names(node, scope)
    for name, item in found.items():
        if name not in parameters and (take != POPPED or item.via == "pop"):
            default = UNKNOWN if item.default is None else default_of(item.default, scope)
            parameters[name] = Parameter(name, default=default, via=item.via)
    documents = documented_types(ast.get_docstring(node))
    if node.name == "__init__" and owner is not None:
        documents = documented_types(ast.get_docstring(owner)) | documents
    lines = {argument.arg: argument.lineno for argument in _arguments(node)} | {n: f.line for n, f in found.items()}
    functions = [node, *checking_methods(module, owner, node)]
    described = describe(parameters, Evidence(scope, functions, documents, lines, found))
    filled = construction.filled_in(node, scope, set(described), given)
    return Read(resolve(described, filled), bodies.consumes_rest(node))


def constructor(module: Module, owner: ast.ClassDef, take: str = ALL, given: tuple[str, ...] = ()) -> Read:
    """The parameters of a class: its fields, or its constructor's with what goes on to the base class."""
    for base in module.bases(owner):
        node = next((n for n in base.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if node is not None:
            return _inherited(module, owner, base, node, take, given)
        if is_dataclass(base) and base is owner:
            return fields(module, owner, given)
    return Read({}, open=False)


def _inherited(
    module: Module, owner: ast.ClassDef, base: ast.ClassDef, node: ast.FunctionDef, take: str, given: tuple[str, ...]
) -> Read:
    read = function(module, node, owner, given, take)
    variable = bodies.keyword_variable(node)
    for call in (n for n in ast.walk(node) if isinstance(n, ast.Call) and ast.unparse(n.func) == "super().__init__"):
        passes_rest = any(
            k.arg is None and isinstance(k.value, ast.Name) and k.value.id == variable for k in call.keywords
        )
        parents = list(module.bases(base))[1:]
        if passes_rest and parents:
            parent = constructor(module, parents[0])
            passed = {keyword.arg for keyword in call.keywords}
            inherited = {name: p for name, p in parent.parameters.items() if name not in passed}
            return Read(inherited | read.parameters, open=read.open or parent.open)
    return read


def _arguments(node: ast.FunctionDef) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def _signature(node: ast.FunctionDef, scope: Scope) -> Iterator[Parameter]:
    positional = [*node.args.posonlyargs, *node.args.args]
    padding: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults))
    pairs = [*zip(positional, [*padding, *node.args.defaults], strict=True)]
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    bound = pairs[0][0].arg if scope.owner is not None and pairs and not _is_static(node) else ""
    for argument, value in pairs:
        if argument.arg != bound:
            default = UNKNOWN if value is None else default_of(value, scope)
            written = argument.annotation
            annotation = None if written is None else spelled_out(written, scope.module)
            kind = canonical(annotation)
            choices = allowed(annotation, scope.module)
            yield Parameter(argument.arg, kind, default, required=value is None, choices=choices)


def _is_static(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)
