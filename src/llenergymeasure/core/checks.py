"""What can be said against a run before anything is loaded: versions, passthrough, model folder, prompts."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llenergymeasure.config import renames
from llenergymeasure.config.bindings import OWN_PACKAGE, Target, walk
from llenergymeasure.config.lowering import Build, Calls, lower
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import CALLED
from llenergymeasure.core.modes import check_modes
from llenergymeasure.core.session import texts
from llenergymeasure.errors import RequestError
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import DEPRECATED, IGNORED, Parameter, Surface

SECRETS = ("token", "use_auth_token")
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.safetensors.index.json")
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "*.gguf",
    "tekken.json",
)
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
    check_against(config, snapshots.installed(config.backend))
    _check_folder(config.model, "model", _WEIGHTS, "weights")
    _check_folder(
        config.tokenizer or config.model, "tokenizer" if config.tokenizer else "model", _TOKENIZERS, "tokenizer"
    )


def check_against(config: ExperimentConfig, surface: Surface) -> Calls:
    """Every set parameter must exist in this version and take its value; returns what would be sent.

    Raises:
        RequestError: the field, the version, the versions that have it, its new or nearest name.
    """
    calls = lower(
        config, lambda target: surface.find(target.entry_point, target.name) is not None or target.backend == ""
    )
    for target, value, path in sent_parameters(calls):
        _check_parameter(target, value, path, surface)
    _check_passthrough(config, calls)
    check_modes(config, calls, surface)
    return calls


def _check_passthrough(config: ExperimentConfig, calls: Calls) -> None:
    """What is passed through must reach a call, and must not take a field's place."""
    fields = lower(config.model_copy(update={"passthrough": {}})).origins
    bound = {
        target: field.path
        for field in walk(ExperimentConfig, config.backend)
        for target in field.targets(config.backend)
    }
    for target, path in calls.origins.items():
        if not path.startswith("passthrough."):
            continue
        if target in fields:
            raise RequestError(f"{path}: contradicts {fields[target]}, which sets the same parameter", f"remove {path}")
        if target.name in SECRETS:
            raise RequestError(
                f"{path}: a secret would stand in the result", "put it into the environment, as HF_TOKEN"
            )
        if target.entry_point not in CALLED:
            raise RequestError(
                f"{path}: would be ignored: this tool makes no call of its own to {target.entry_point}",
                f"passthrough reaches {', '.join(CALLED)}",
            )
        if target in bound:
            raise RequestError(f"{path}: is the field {bound[target]}", f"set {bound[target]}, which checks its value")


def sent_parameters(calls: Calls) -> list[tuple[Target, Any, str]]:
    """Every parameter that is sent, those inside built objects included, with the field it came from."""
    found = []
    for target, path in calls.origins.items():
        value = calls[target.entry_point][target.name]
        found.append((target, value, path))
        if isinstance(value, Build):
            found.extend(_inside(value, path))
    return [item for item in found if not item[0].entry_point.startswith(OWN_PACKAGE)]


def _inside(build: Build, path: str) -> list[tuple[Target, Any, str]]:
    found = []
    for name, value in build.arguments.items():
        found.append((Target(build.entry_point, name), value, f"{path}.{name}"))
        if isinstance(value, Build):
            found.extend(_inside(value, f"{path}.{name}"))
    return found


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


def _check_folder(model: str, field: str, patterns: tuple[str, ...], what: str) -> None:
    """A local folder must hold what will be looked for; a name on the hub is left to the backend."""
    folder = Path(model)
    if not folder.exists():
        if model.startswith(("/", "./", "../", "~")) or model.count("/") > 1:
            raise RequestError(
                f"{field}: {model}: no such folder", "give a folder that holds a model, or a repository's name"
            )
        return
    if not folder.is_dir():
        raise RequestError(
            f"{field}: {model}: is a file, not a model folder",
            "give its folder; a GGUF file is named by pytorch.gguf_file",
        )
    places = [folder, *(entry for entry in folder.iterdir() if entry.is_dir())]
    if not any(next(place.glob(pattern), None) for place in places for pattern in patterns):
        raise RequestError(f"{field}: {model}: the folder has no {what}", f"looked for {', '.join(patterns)}")
