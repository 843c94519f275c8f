"""What can be said against a run before anything is loaded: versions, passthrough, model folder, prompts."""

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llenergymeasure.config import renames
from llenergymeasure.config.bindings import OWN_PACKAGE, Target
from llenergymeasure.config.lowering import Build, Calls
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.vllm.entry_points import RANKS
from llenergymeasure.core.model_folder import check_folders
from llenergymeasure.core.modes import check_modes
from llenergymeasure.core.passthrough import check_passthrough
from llenergymeasure.core.session import calls_on, prompt_count, texts
from llenergymeasure.errors import RequestError
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import DEPRECATED, IGNORED, Parameter, Surface

_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,), "int": (int,), "float": (int, float), "str": (str,), "list": (list, tuple), "dict": (dict,),
    "None": (type(None),),
}  # fmt: skip


def check_before_loading(config: ExperimentConfig) -> None:
    """Refuse what can be known to fail, before the minutes that loading can take.

    Raises:
        RequestError: names the field as the user wrote it.
        EnvironmentLacksError: the backend is not installed.
    """
    if config.prompts.synthetic is None:
        texts(config)
    calls = check_against(config, snapshots.installed(config.backend))
    check_ranks(config, calls)
    with located(config):
        check_folders(config)


def check_against(config: ExperimentConfig, surface: Surface) -> Calls:
    """Every set parameter must exist in this version and take its value; returns what would be sent.

    Raises:
        RequestError: the field, the version, the versions that have it, its new or nearest name.
    """
    calls = calls_on(config, surface)
    with located(config):
        for target, value, path in sent_parameters(calls):
            _check_parameter(target, value, path, surface)
        check_passthrough(config, calls, surface)
        check_modes(config, calls, surface)
    return calls


def check_ranks(config: ExperimentConfig, calls: Calls) -> None:
    """A list with an entry for each prompt has as many as there are prompts.

    Raises:
        RequestError: names the field and both numbers.
    """
    for target in RANKS:
        ranks = calls[target.entry_point].get(target.name)
        if isinstance(ranks, list) and len(ranks) != (count := prompt_count(config)):
            path = calls.origins[target]
            with located(config):
                raise RequestError(
                    f"{path}: has {len(ranks)} entries, and there are {count} prompts",
                    f"give {path} one entry for each prompt",
                )


@contextmanager
def located(config: ExperimentConfig) -> Iterator[None]:
    """Put file and line before a cause that begins with a field's path."""
    try:
        yield
    except RequestError as error:
        place = config.place(error.cause.partition(": ")[0])
        raise RequestError(f"{place}{error.cause}", error.remedy) from None


def sent_parameters(calls: Calls) -> list[tuple[Target, Any, str]]:
    """Every parameter that is sent, those inside objects and sections included, with the field it came from."""
    found = []
    for target, path in calls.origins.items():
        value = calls[target.entry_point][target.name]
        found.append((target, value, path))
        found.extend(_inside(value, path, calls))
    return [item for item in found if not item[0].entry_point.startswith(OWN_PACKAGE)]


def _inside(value: Any, path: str, calls: Calls) -> Iterator[tuple[Target, Any, str]]:
    """What an object, or a mapping that an entry point takes apart, consists of."""
    if isinstance(value, Build):
        entry_point, arguments = value.entry_point, value.arguments
    elif path in calls.mappings:
        entry_point, arguments = calls.mappings[path], value
    else:
        return
    for name, item in arguments.items():
        yield Target(entry_point, name), item, f"{path}.{name}"
        yield from _inside(item, f"{path}.{name}", calls)


def _check_parameter(target: Target, value: Any, path: str, surface: Surface) -> None:
    point = surface.entry_points.get(target.entry_point)
    parameter = point.parameters.get(target.name) if point else None
    passed = path.startswith("passthrough.")
    if parameter is None:
        if point is not None and point.open and passed:
            return  # config overrides and the like: the backend itself refuses what it does not know
        raise RequestError(_absent(target, path, surface), _where_else(target, surface))
    if parameter.status == IGNORED:
        raise RequestError(
            f"{path}: {surface.package} {surface.version} accepts {target.name} and ignores it",
            f"remove {path}: it would change nothing",
        )
    if (
        parameter.choices
        and isinstance(value, str | int)
        and not isinstance(value, bool)
        and value not in parameter.choices
    ):
        near = difflib.get_close_matches(str(value), list(map(str, parameter.choices)), n=1)
        choices = ", ".join(map(str, parameter.choices))
        raise RequestError(
            f"{path}: {value!r} is not one of {choices} in {surface.package} {surface.version}",
            f"did you mean {near[0]}?" if near else "take one of them",
        )
    if passed and parameter.status == DEPRECATED:
        known = renames.new_name(surface.backend, target.entry_point, target.name)
        raise RequestError(
            f"{path}: is deprecated in {surface.package} {surface.version}",
            f"it is now {known}" if known else "remove it",
        )
    if passed and not type_fits(value, parameter):
        raise RequestError(f"{path}: {value!r} is no {parameter.type}", f"{target} takes {parameter.type}")


def type_fits(value: Any, parameter: Parameter) -> bool:
    """Whether a plain value can be of the parameter's type; types that JSON does not know fit everything."""
    names = [re.split(r"[\[.]", part.strip())[0] for part in re.split(r"\|(?![^\[]*\])", parameter.type)]
    if not parameter.type or "dict[tuple" in parameter.type or any(name not in _JSON_TYPES for name in names):
        return True
    if isinstance(value, bool):
        return "bool" in names
    return any(isinstance(value, _JSON_TYPES[name]) for name in names)


def _absent(target: Target, path: str, surface: Surface) -> str:
    if target.entry_point not in surface.entry_points:
        return f"{path}: {surface.package} {surface.version} has no {target.entry_point}"
    return f"{path}: {surface.package} {surface.version} has no parameter {target.name} of {target.entry_point}"


def _where_else(target: Target, surface: Surface) -> str:
    known = snapshots.versions(surface.backend)
    having = [
        version for version in known if snapshots.load(surface.backend, version).find(target.entry_point, target.name)
    ]
    point = surface.entry_points.get(target.entry_point)
    names = list(point.parameters) if point else []
    for other in (
        renames.new_name(surface.backend, target.entry_point, target.name),
        renames.old_name(surface.backend, target.entry_point, target.name),
    ):
        if other in names:
            called = f"in this version it is called {other}"
            return f"{called}; versions that have {target.name}: {', '.join(having)}" if having else called
    parts = []
    if having:
        parts.append(f"versions that have it: {', '.join(having)}")
    near = difflib.get_close_matches(target.name, names, n=1)
    if near and not having:
        parts.append(f"did you mean {near[0]}?")
    if not point:
        near = difflib.get_close_matches(target.entry_point, list(surface.entry_points), n=1)
        parts.extend([f"did you mean {near[0]}?"] if near and not having else [])
    return "; ".join(parts) or f"`llem audit coverage {surface.backend}` lists what there is"
