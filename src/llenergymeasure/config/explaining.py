"""Say what is wrong with a configuration in the user's own words: file, line, field, and the way out."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from llenergymeasure.config.bindings import BACKENDS
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.nearest import suggestion, tags
from llenergymeasure.config.origin import Location, Origin, one_line, spell
from llenergymeasure.errors import RequestError

_SCHEMA = "`llem schema` says what every field takes"
_MAPPINGS = ("model_type", "dict_type", "model_attributes_type")
_CHOICES = ("union_tag_not_found", "union_tag_invalid", "literal_error")
_MOST = 20

_OFFERED = [name for name in BACKENDS if name in ExperimentConfig.model_fields]
_ADD_ONE = f"add {' or '.join(f'`{name}: {{}}`' for name in _OFFERED)}"


def explain(error: ValidationError, data: Mapping[str, Any], origin: Origin) -> RequestError:
    """Every problem that pydantic found, each on a line of its own, with the remedies together."""
    problems = [(_written(problem["loc"], data), problem) for problem in error.errors(include_url=False)]
    causes, remedies = [], []
    found = _of_the_right_branch(problems[: 10 * _MOST])  # a long list of wrong values has as many problems
    for location, problem in found[:_MOST]:
        cause, remedy = _words(problem, location)
        causes.append(f"{origin.place(spell(location))}{cause}")
        remedies.append(remedy)
    if not any(name in data for name in BACKENDS) and all(problem["type"] != "backend" for _, problem in problems):
        causes.append(f"{origin.place('')}give a backend section")
        remedies.append(_ADD_ONE)
    if (left := len(found) - _MOST + max(0, len(problems) - 10 * _MOST)) > 0:
        causes.append(f"{origin.place('')}and {left} more")
    return RequestError("\n".join(dict.fromkeys(causes)), "; ".join(dict.fromkeys(filter(None, remedies))))


Problems = Sequence[tuple[Location, Mapping[str, Any]]]


def _of_the_right_branch(problems: Problems) -> Problems:
    """Without what the other branches of a union say: they complain of the kind of a value that one branch takes."""
    kept = []
    for location, problem in problems:
        others = [found for found in problems if found[1] is not problem and found[0][: len(location)] == location]
        if problem["type"].endswith("_type") and any(not found["type"].endswith("_type") for _, found in others):
            continue
        if problem["type"].endswith("_type") and any(len(other) > len(location) for other, _ in others):
            continue
        kept.append((location, problem))
    return kept


def _words(problem: Mapping[str, Any], location: Location) -> tuple[str, str]:
    """Cause and remedy, in the user's terms."""
    field, kind = spell(location) or "configuration", problem["type"]
    if kind == "extra_forbidden":
        return _unknown(field, location, problem["loc"])
    if kind in _CHOICES:
        return _choice(problem, field, location)
    if kind in _MAPPINGS:
        return _no_mapping(field, location, problem["input"])
    cause, remedy = _own_words(field, problem)
    return f"{field}: {cause}", remedy


def _own_words(field: str, problem: Mapping[str, Any]) -> tuple[str, str]:
    kind, given, context = problem["type"], problem["input"], problem.get("ctx", {})
    message = problem["msg"].removeprefix("Value error, ")
    known = {
        "missing": ("must be given", f"add {field}"),
        "kind": (message, _number_in_yaml(str(given)) or _SCHEMA),
        "ignored": (message, f"add that, or remove {field}"),
        "contradiction": (message, f"remove {field}, or the other"),
        "length": (message, _SCHEMA),
        "backend": (message, context.get("remedy", _ADD_ONE)),
        "blank": (message, "write something, or remove it"),
        "invalid_key": (f"a field's name is text (given: {_shown(given)})", "give a field's name"),
    }
    if kind in known:
        return known[kind]
    if kind == "too_short" and not given:
        return "is empty", f"give at least {context['min_length']}"
    if kind == "string_type":
        scalar = isinstance(given, int | float)
        return f"takes text (given: {_shown(given)})", f'put it into quotes: "{_plain(given)}"' if scalar else _SCHEMA
    shown = "" if isinstance(given, Mapping | list | BaseModel) else f" (given: {_shown(given)})"
    return f"{message[0].lower()}{message[1:]}{shown}", _SCHEMA


def _unknown(field: str, location: Location, loc: Location) -> tuple[str, str]:
    if len(location) == 1 and location[0] in BACKENDS:
        return (
            f"{field}: this version of llenergymeasure runs {' and '.join(_OFFERED)} only",
            f"give the section {' or '.join(_OFFERED)}, or take a version that runs {field}",
        )
    return f"{field}: no such field", suggestion((*loc[:-1], str(loc[-1])))


def _no_mapping(field: str, location: Location, given: Any) -> tuple[str, str]:
    if given is None:
        return f"{field}: is empty", f"give it a value, or remove {field}"
    if isinstance(given, str) and given in tags(location):
        return f"{field}: takes a mapping (given: {_shown(given)})", f"write {location[-1]}: {{method: {given}}}"
    remedy = f"write {location[-1]}: {{}} for its defaults" if given is True and not tags(location) else _SCHEMA
    return f"{field}: takes a mapping of fields (given: {_shown(given)})", remedy


def _number_in_yaml(given: str) -> str:
    """YAML reads `1e-5` as a word, and so is a number in quotes."""
    try:
        number = float(given.strip("'\""))
    except ValueError:
        return ""
    plain = f"{number:.1e}" if "e" in given else f"{number:g}"
    return f"write it without quotes{', and with a point' if 'e' in given else ''}: {plain}"


def _choice(problem: Mapping[str, Any], field: str, location: Location) -> tuple[str, str]:
    """One of several: a kind of section that is not told or not known, or a word that is no choice."""
    context = problem["ctx"]
    if problem["type"] == "union_tag_not_found":
        tag = context["discriminator"].strip("'")
        return f"{field}: {tag} must say which kind it is", f"{tag} is one of {', '.join(tags(location))}"
    if problem["type"] == "union_tag_invalid":
        given, choices = context["tag"], tags(location)
        cause = f"{field}: {_shown(given)} is no known kind"
    else:
        given, choices = problem["input"], context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        cause = f"{field}: {_shown(given)} is not one of {', '.join(choices)}"
    near = [choice for choice in choices if choice.lower() == str(given).lower()]
    near = near or difflib.get_close_matches(str(given), choices, n=1)
    if near:
        return cause, f"did you mean {near[0]}?"
    return cause, "take one of them" if problem["type"] == "literal_error" else f"one of {', '.join(choices)}"


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


def _shown(given: Any) -> str:
    return one_line(repr(given), 80)


def _plain(given: Any) -> str:
    return str(given).lower() if isinstance(given, bool) else one_line(given, 80)
