"""Read a configuration from YAML, TOML or JSON, and say what is wrong with it in the user's own words."""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from llenergymeasure.config.bindings import Section, discriminator
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.errors import RequestError

SUFFIXES = (".yaml", ".yml", ".toml", ".json")
Location = tuple[str | int, ...]


def load_config(path: Path | str) -> ExperimentConfig:
    """Read and validate a configuration.

    A prompts file and local model folders are found relative to the configuration's folder.

    Raises:
        RequestError: the file cannot be read or is not valid; the cause names file, line and field.
    """
    path = Path(path)
    text = _read(path)
    data, lines = _parse(path, text)
    if not isinstance(data, dict):
        raise RequestError(f"{path}: a configuration is a mapping of fields, this is {_kind(data)}", _START)
    config = validate(data, str(path), lines)
    return _relative_to(config, path.parent)


def validate(data: Mapping[str, Any], origin: str, lines: Mapping[Location, int] | None = None) -> ExperimentConfig:
    """Validate parsed data; `lines` gives the line of each key where the file format tells it."""
    try:
        return ExperimentConfig.model_validate(data)
    except ValidationError as error:
        raise _explain(error, data, origin, lines or {}) from None


_DEEPEST = 40
_START = "start from the README's first experiment, or write `llem schema` to a file for your editor"


def _read(path: Path) -> str:
    if path.suffix not in SUFFIXES:
        raise RequestError(f"{path}: not a configuration by its name", f"name it {', '.join(SUFFIXES)}")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _neighbours(path), n=1)
        raise RequestError(
            f"{path}: no such file", f"did you mean {path.parent / near[0]}?" if near else _START
        ) from None
    except IsADirectoryError:
        raise RequestError(f"{path}: is a folder", "name the configuration file inside it") from None
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: not UTF-8 at byte {error.start}", "save it as UTF-8") from None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})", "check the path and its permissions") from None


def _neighbours(path: Path) -> list[str]:
    return [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []


def _parse(path: Path, text: str) -> tuple[Any, dict[Location, int]]:
    try:
        if path.suffix == ".toml":
            return tomllib.loads(text), {}
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=lambda pairs: _each_once(pairs, path)), {}
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Location, int] = {}
        if node is not None:
            _key_lines(node, (), lines, path)
        return yaml.safe_load(text), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise RequestError(f"{path}{where}: not valid YAML: {error.problem}", "mend the file at that place") from None
    except yaml.YAMLError as error:
        raise RequestError(f"{path}: not valid YAML: {error}", "mend the file") from None
    except json.JSONDecodeError as error:
        raise RequestError(
            f"{path}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}", "mend the file at that place"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{path}: not valid TOML: {error}", "mend the file at that place") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # a date that is none, a number of thousands of digits, endless nesting
        raise RequestError(f"{path}: cannot be read as a configuration: {error}", "mend the file") from None


def _each_once(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    """A JSON object; a key that stands twice is an error, since the last would be kept in silence."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise RequestError(f"{path}: {key} stands twice in one object", "keep one of them")
        made[key] = value
    return made


def _key_lines(node: yaml.Node, path: Location, lines: dict[Location, int], file: Path) -> None:
    """Where each key stands; a key that stands twice is an error, since YAML would keep the last in silence."""
    if len(path) > _DEEPEST:
        raise RequestError(
            f"{file}:{node.start_mark.line + 1}: {spell(path[:3])}…: deeper than {_DEEPEST} levels",
            "a configuration has a few; does an alias contain itself?",
        )
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise RequestError(f"{file}:{line}: a key is a name, this is a list or mapping", "give a field's name")
            here = (*path, key.value)
            if here in lines:
                raise RequestError(
                    f"{file}:{line}: {spell(here)} stands twice, first on line {lines[here]}", "keep one of them"
                )
            lines[here] = line
            _key_lines(value, here, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _key_lines(value, (*path, index), lines, file)


def spell(location: Sequence[str | int]) -> str:
    """A location as the user would write it: `pytorch.max_memory`, `prompts.inline[2]`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _explain(
    error: ValidationError, data: Mapping[str, Any], origin: str, lines: Mapping[Location, int]
) -> RequestError:
    causes, remedies = [], []
    for problem in error.errors(include_url=False):
        location = _written(problem["loc"], data)
        context = problem.get("ctx", {})
        if problem["type"] in ("ignored", "contradiction", "kind"):
            location = (*location, context["field"])
        line = next((lines[location[:end]] for end in range(len(location), 0, -1) if location[:end] in lines), None)
        cause, remedy = _words(problem, location, context)
        place = f"{origin}:{line}" if line else origin
        causes.append(f"{place}: {cause}")
        if remedy and remedy not in remedies:
            remedies.append(remedy)
    return RequestError("\n".join(dict.fromkeys(causes)), "; ".join(remedies))


def _words(problem: Mapping[str, Any], location: Location, context: Mapping[str, Any]) -> tuple[str, str]:
    """Cause and remedy, in the user's terms."""
    field = spell(location) or "configuration"
    kind = problem["type"]
    if kind == "extra_forbidden":
        return f"{field}: no such field", _known_beside(location)
    if kind == "missing":
        return f"{field}: must be given", f"add {field}"
    if kind == "kind":
        return f"{field}: {problem['msg']}", "`llem schema` says what every field takes"
    if kind == "ignored":
        return f"{field}: {problem['msg']}", f"add that, or remove {field}"
    if kind in _CHOICES:
        return _choice(problem, field, location, context)
    message = problem["msg"].removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], Mapping | list | BaseModel) else f" (given: {problem['input']!r})"
    return f"{field}: {message[0].lower()}{message[1:]}{given}", "`llem schema` says what every field takes"


_CHOICES = ("union_tag_not_found", "union_tag_invalid", "literal_error")


def _choice(problem: Mapping[str, Any], field: str, location: Location, context: Mapping[str, Any]) -> tuple[str, str]:
    """One of several: a kind of section that is not told or not known, or a word that is no choice."""
    if problem["type"] == "union_tag_not_found":
        tag = context["discriminator"].strip("'")
        return f"{field}: {tag} must say which kind it is", f"{tag} is one of {', '.join(_tags(location))}"
    if problem["type"] == "union_tag_invalid":
        given, choices = context["tag"], _tags(location)
        cause = f"{field}: {given!r} is no known kind"
    else:
        given, choices = problem["input"], context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        cause = f"{field}: {given!r} is not one of {', '.join(choices)}"
    near = difflib.get_close_matches(str(given), choices, n=1)
    if near:
        return cause, f"did you mean {near[0]}?"
    return cause, "take one of them" if problem["type"] == "literal_error" else f"one of {', '.join(choices)}"


def _known_beside(location: Location) -> str:
    names = field_names(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.5)
    return f"did you mean {spell((*location[:-1], near[0]))}?" if near else f"known here: {', '.join(names)}"


def _written(location: Location, data: Any) -> Location:
    """A validation location without the parts that pydantic adds for unions and variants."""
    kept: list[str | int] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if _holds(data, part):
            kept.append(part)
            data = data[part]
        elif (
            last
            and isinstance(data, Mapping)
            and isinstance(part, str)
            and part.isidentifier()
            and "missing" not in part
        ):
            kept.append(part)
    return tuple(kept)


def _holds(data: Any, part: str | int) -> bool:
    if isinstance(data, Mapping):
        return part in data
    return isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)


def field_names(location: Location) -> list[str]:
    """The fields that may stand at a place, of every variant where several are possible."""
    return sorted({name for found in _models_at(location) for name in found.model_fields})


def _models_at(location: Location) -> list[type[BaseModel]]:
    models: list[type[BaseModel]] = [ExperimentConfig]
    for part in location:
        models = [
            inner
            for outer in models
            if part in outer.model_fields
            for inner in _models(outer.model_fields[str(part)].annotation)
        ]
    return models


def _tags(location: Location) -> list[str]:
    """What a section may say to be one of several kinds."""
    sections = [model for model in _models_at(location) if issubclass(model, Section)]
    return [choice[1] for section in sections if (choice := discriminator(section))]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _relative_to(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """Paths in a configuration are relative to it, so that it can be run from anywhere."""
    prompts = config.prompts
    if prompts.file is not None and not prompts.file.is_absolute():
        config = config.model_copy(update={"prompts": prompts.model_copy(update={"file": folder / prompts.file})})
    if config.model.startswith(("./", "../")):
        config = config.model_copy(update={"model": _beside(folder, config.model)})
    if config.tokenizer and config.tokenizer.startswith(("./", "../")):
        config = config.model_copy(update={"tokenizer": _beside(folder, config.tokenizer)})
    return config


def _beside(folder: Path, name: str) -> str:
    """A path from where the command runs, still to be told from a name on the hub."""
    path = os.path.normpath(folder / name)
    return path if path.startswith(("/", "..")) else f"./{path}"


def _kind(data: Any) -> str:
    return "empty" if data is None else f"a {type(data).__name__}"
