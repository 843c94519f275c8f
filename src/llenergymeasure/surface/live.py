"""The surface of an installed backend, from the live objects: what is accepted here, not what some file says."""

import ast
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.surface import bodies
from llenergymeasure.surface.deciders import ENVIRONMENT, PLATFORM
from llenergymeasure.surface.live_fields import declared, nested
from llenergymeasure.surface.model import UNKNOWN, EntryPoint, Parameter, Surface
from llenergymeasure.surface.objects import jsonable, look_up, made_default, scope_of, tree_of
from llenergymeasure.surface.packages import install_hint, packages
from llenergymeasure.surface.recipes import BODY, POPPED, Family, Package, Part, Recipe
from llenergymeasure.surface.snapshots import installed_as, installed_version
from llenergymeasure.surface.spelling import live_spelling
from llenergymeasure.surface.static import merge

Parameters = dict[str, Parameter]


def from_installed(backend: str) -> Surface:
    """The backend's own package and those of its companions that are installed.

    Raises EnvironmentLacksError where the backend's own package is missing or does not import.
    """
    own, *companions = packages(backend).values()
    version = installed_version(backend)
    here = installed_as(own.name)
    points: dict[str, EntryPoint] = {}
    missing: list[str] = []
    build = own.build(here.distribution) if here is not None else {}
    provenance = {"method": "live", **build, "date": datetime.now(UTC).date().isoformat()}
    for package in (own, *companions):
        try:
            points |= _entry_points(package)
        except ImportError as error:
            if package is own:
                raise EnvironmentLacksError(
                    f"{package.name} {version} does not import: {error}", install_hint(backend)
                ) from error
            missing.append(package.name)
            continue
        if package is not own:
            provenance[package.name] = importlib.metadata.version(package.name)
    if missing:
        provenance["missing"] = " ".join(missing)
    return Surface(backend, own.name, version, points, provenance)


def compare(static: Surface, live: Surface) -> list[str]:
    """Every disagreement on entry points, names and defaults; a value that one side cannot know is none.

    Nor is one that an environment variable or the platform decides. Companion packages that the live surface names as
    missing are passed over.
    """
    found = []
    missing = live.provenance.get("missing", "").split()
    for point in sorted(static.entry_points.keys() | live.entry_points.keys()):
        if point.partition(".")[0] in missing:
            continue
        first, second = static.entry_points.get(point), live.entry_points.get(point)
        if first is None or second is None:
            found.append(f"{point}: only {'live' if first is None else 'static'}")
            continue
        for name in sorted(first.parameters.keys() | second.parameters.keys()):
            one, two = first.parameters.get(name), second.parameters.get(name)
            if one is None or two is None:
                found.append(f"{point} {name}: only {'live' if one is None else 'static'}")
                continue
            found += [f"{point} {name}: {text}" for text in _disagreements(one, two)]
    return found


def _disagreements(one: Parameter, two: Parameter) -> Iterator[str]:
    decided_here = {ENVIRONMENT, PLATFORM}.intersection(one.decided_by)
    for key in ("default", "resolved") if not decided_here else ():
        first, second = getattr(one, key), getattr(two, key)
        if not _undecided(first) and not _undecided(second) and first != second:
            yield f"{key} static {first!r}, live {second!r}"
    if one.required != two.required:
        yield f"required static {one.required}, live {two.required}"


def _undecided(value: Any) -> bool:
    return value is UNKNOWN or (isinstance(value, dict) and value.keys() == {"expr"})


def _entry_points(package: Package) -> dict[str, EntryPoint]:
    importlib.import_module(package.name)
    found: dict[str, EntryPoint] = {}
    queue = [*package.recipes, *(r for family in package.families for r in _members(package, family))]
    while queue:
        recipe = queue.pop(0)
        point = _entry_point(package, recipe) if recipe.name not in found else None
        if point is not None:
            found[point.name] = point
            queue += nested(package.name, recipe, point.parameters)
    return found


def _members(package: Package, family: Family) -> list[Recipe]:
    module = importlib.import_module(_dotted(package, family.module))
    public = importlib.import_module(family.prefix)
    base = getattr(module, family.base)
    recipes = []
    for name, value in vars(module).items():
        if not inspect.isclass(value) or not issubclass(value, base) or value is base or name.startswith("_"):
            continue
        if (value.__module__, value.__name__) == (module.__name__, name):  # neither imported here nor an alias
            prefix = family.prefix if hasattr(public, name) else module.__name__
            recipes.append(Recipe(f"{prefix}.{name}", (Part(family.module, name),)))
    return recipes


def _dotted(package: Package, member: str) -> str:
    return f"{package.name}.{member.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")


def _locate(name: str) -> Any:
    """The object that a user gets under a dotted name, None where this version has none."""
    head, *rest = name.split(".")
    value: Any = importlib.import_module(head)
    path = head
    for part in rest:
        path = f"{path}.{part}"
        if not hasattr(value, part):
            try:
                # Not read from the parent: a lazily loading package does not learn of its submodules.
                value = importlib.import_module(path)
            except ImportError:
                return None
            continue
        value = getattr(value, part)
    return value


def _entry_point(package: Package, recipe: Recipe) -> EntryPoint | None:
    target = _locate(recipe.name)
    if target is None:
        return None
    merged: Parameters = {}
    more = False
    for part in recipe.parts:
        try:
            owner: Any = importlib.import_module(_dotted(package, part.module))
        except ImportError:
            continue
        value = owner
        for name in part.name.split("."):
            owner, value = value, getattr(value, name, None)
        if value is None:
            continue
        merged = merge(merged, _parameters(value, owner, part.take))
        more |= _keeps_rest(value)
    if inspect.isclass(target):
        merged = _with_instance(target, merged, recipe)
    kept = {name: _finish(p) for name, p in merged.items() if not name.startswith("_")}
    return EntryPoint(recipe.name, kept, open=more if recipe.open is None else recipe.open)


def _finish(parameter: Parameter) -> Parameter:
    return replace(parameter, default=None) if parameter.default is UNKNOWN and parameter.via == "get" else parameter


def _parameters(value: Any, owner: Any, take: str) -> Parameters:
    if inspect.isclass(value):
        return _constructor(value, take)
    if inspect.isclass(owner) and value is owner.__dict__.get("__init__"):
        return _constructor(owner, take)
    return _callable(value, owner if inspect.isclass(owner) else None, take)


def _constructor(cls: type, take: str) -> Parameters:
    """What the class accepts, including what its constructor hands to the next class that has one."""
    fields = declared(cls)
    if fields is not None:
        return fields
    if issubclass(cls, tuple):  # a NamedTuple takes its fields in __new__
        return {name: p for name, p in _callable(cls.__new__, cls, take).items() if name in cls._fields}  # type: ignore[attr-defined]
    found: Parameters = {}
    passed: set[str | None] = set()
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        own = _callable(init, cls, take)
        found = {name: p for name, p in own.items() if name not in passed} | found
        handed = _handed_on(init)  # None for a generated constructor, too: it has no source
        if handed is None:
            break
        passed |= handed
    return found


def _handed_on(init: Callable[..., Any]) -> set[str | None] | None:
    """The keywords of `super().__init__(..., **kwargs)`, None where the rest is not handed on."""
    node = tree_of(init)
    for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)) if node else ():
        if ast.unparse(call.func) == "super().__init__" and any(k.arg is None for k in call.keywords):
            return {keyword.arg for keyword in call.keywords}
    return None


def _callable(value: Any, owner: type | None, take: str) -> Parameters:
    function = inspect.unwrap(getattr(value, "__func__", value))
    found: Parameters = {}
    signature = inspect.signature(function)
    arguments = list(signature.parameters.values())
    bound = owner is not None and not isinstance(inspect.getattr_static(owner, function.__name__, None), staticmethod)
    for argument in arguments[1 if bound else 0 :] if take != BODY else []:
        if argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            required = argument.default is argument.empty
            default = UNKNOWN if required else jsonable(made_default(owner, argument.name, argument.default))
            found[argument.name] = Parameter(
                argument.name, live_spelling(argument.annotation), default, required=required
            )
    node = tree_of(function)
    if node is None:
        return found
    for name, item in bodies.names(node, scope_of(function, owner)).items():
        if name not in found and (take != POPPED or item.via == "pop"):
            default = UNKNOWN if item.default is None else jsonable(look_up(item.default, function, owner))
            found[name] = Parameter(name, "", default, via=item.via)
    return found


def _with_instance(cls: type, parameters: Parameters, recipe: Recipe) -> Parameters:
    """What an object made without arguments holds, where the signature leaves it open."""
    result = dict(parameters)
    later = _later(cls, recipe)
    attributes = _made(cls)
    if later and attributes:
        # Every attribute of such an object is a parameter, whichever way the body takes it.
        result |= {
            name: Parameter(name, default=jsonable(v), via="attribute")
            for name, v in attributes.items()
            if name not in result
        }
    for name, parameter in result.items():
        held = later.get(name, attributes.get(name)) if parameter.default is None else None
        if held is not None:
            result[name] = replace(parameter, resolved=jsonable(held))
    return result


def _made(cls: type) -> dict[str, Any]:
    """The public attributes of an object made without arguments, none where it cannot be made so."""
    try:
        made, again = cls(), cls()
    except Exception:  # noqa: BLE001 - a class that needs arguments, or another package, shows nothing here
        return {}
    held = {name: value for name, value in getattr(made, "__dict__", {}).items() if not name.startswith("_")}
    # What each object has anew, such as a random name, is no value of the class.
    return {name: value for name, value in held.items() if jsonable(value) == jsonable(getattr(again, name, UNKNOWN))}


def _later(cls: type, recipe: Recipe) -> dict[str, Any]:
    method = getattr(cls, recipe.defaults.rpartition(".")[2], None) if recipe.defaults else None
    return dict(method()) if callable(method) else {}


def _keeps_rest(value: Any) -> bool:
    node = tree_of(
        value.__dict__.get("__init__") if inspect.isclass(value) else inspect.unwrap(getattr(value, "__func__", value))
    )
    return node is not None and bodies.consumes_rest(node)
