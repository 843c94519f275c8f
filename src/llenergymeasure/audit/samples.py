"""A configuration that sets one field to a value that is no backend's default, and whatever that value needs."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError

from llenergymeasure.config.bindings import BACKENDS, BoundField, Section, alternatives, binding_of, discriminator, walk
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.surface.model import Surface

BASE: Mapping[str, Any] = {"model": "model", "prompts": ["first prompt", "second", "third one", "fourth", "fifth"]}


def sample_value(field: BoundField, surface: Surface | None = None) -> Any:
    """The declared sample, else the first value of the field's type that is not the surface's default."""
    if field.binding.sample is not None:
        return field.binding.sample
    if field.nested:
        return sample_section(field.nested[0], surface, _backend(field, surface))
    defaults = []
    if surface is not None:
        for target in field.targets(surface.backend):
            parameter = surface.find(target.entry_point, target.name)
            defaults += [parameter.effective_default] if parameter else []
    candidates = list(_values(field))
    return next(
        (value for value in candidates if not any(_equal(value, default) for default in defaults)), candidates[0]
    )


def sample_section(section: type[Section], surface: Surface | None = None, backend: str = "pytorch") -> dict[str, Any]:
    """The least that a section can be: which variant it is, and its first field that the version has."""
    made: dict[str, Any] = dict([choice] if (choice := discriminator(section)) else [])
    own = [field for field in walk(section, backend) if len(field.keys) == 1]
    first = next((field for field in own if surface is None or _exists(field, surface)), None)
    if first is not None:
        made |= {**_context(first, surface), first.name: sample_value(first, surface)}
    for name, value in required(section, backend).items():
        made.setdefault(name, value)
    return made


def _backend(field: BoundField, surface: Surface | None) -> str:
    """Whose field it is; one that all backends share is that of the surface."""
    if surface is not None:
        return surface.backend
    return next((key for key in field.keys if key in BACKENDS), BACKENDS[0])


def _exists(field: BoundField, surface: Surface) -> bool:
    return any(
        target.backend == "" or surface.find(target.entry_point, target.name)
        for target in field.targets(surface.backend)
    )


def sample_config(field: BoundField, surface: Surface | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two configurations as a user would write them: with the field at its sample, and the same without it."""
    data = copy.deepcopy(dict(BASE))
    backend = _backend(field, surface)
    data[backend] = {}
    place = data
    for depth, key in enumerate(field.keys[:-1]):
        place = place.setdefault(key, {})
        _choose(place, field, field.keys[: depth + 1])
        if depth == 0 and key == "output":
            place["max_tokens"] = 8
    _complete(data, field, backend)
    bare = copy.deepcopy(data)
    place |= _context(field, surface)
    without = copy.deepcopy(data)
    if not _is_valid(without):  # what the field needs beside it may in turn need the field
        without = bare
    if field.info.is_required() and len(field.keys) > 1:
        _remove(without, _optional_ancestor(field))
    place[field.name] = sample_value(field, surface)
    return data, without


def _context(field: BoundField, surface: Surface | None) -> dict[str, Any]:
    """What a sample needs beside it, as far as a version that has the field has it, too."""
    if surface is None or not _exists(field, surface):
        return dict(field.binding.context)
    beside = {other.name: other for other in walk(field.section, surface.backend) if len(other.keys) == 1}
    return {
        name: value
        for name, value in field.binding.context.items()
        if name not in beside or _exists(beside[name], surface)
    }


def _is_valid(data: Mapping[str, Any]) -> bool:
    try:
        ExperimentConfig.model_validate(data)
    except ValidationError:
        return False
    return True


def value_at(data: Mapping[str, Any], field: BoundField) -> Any:
    """What a configuration, as a user writes it, says for the field."""
    value: Any = data
    for key in field.keys:
        value = value[key]
    return value


def _optional_ancestor(field: BoundField) -> tuple[str, ...]:
    """The nearest section on the way that may be left out; a required field goes with it."""
    model: Any = ExperimentConfig
    keys: tuple[str, ...] = ()
    for depth, key in enumerate(field.keys[:-1]):
        info = model.model_fields[key]
        if not info.is_required():
            keys = field.keys[: depth + 1]
        chosen = dict(field.variant).get((*field.keys[: depth + 1], *_tag(field, depth)))
        options = list(_models(info.annotation))
        model = next((option for option in options if chosen in (discriminator(option) or ())), options[0])
    return keys


def _tag(field: BoundField, depth: int) -> tuple[str, ...]:
    return next((path[-1:] for path in field.variant if path[:-1] == field.keys[: depth + 1]), ())


def _remove(data: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys[:-1]:
        data = data[key]
    del data[keys[-1]]


def _choose(place: dict[str, Any], field: BoundField, keys: tuple[str, ...]) -> None:
    for path, choice in field.variant.items():
        if path[:-1] == keys:
            place[path[-1]] = choice


def _complete(data: dict[str, Any], field: BoundField, backend: str) -> None:
    """What the sections on the way require or need beside them to be valid."""
    model: Any = ExperimentConfig
    place = data
    for depth, key in enumerate(field.keys[:-1]):
        info = model.model_fields[key]
        binding = binding_of(info)
        if binding is not None:
            for name, value in binding.context.items():
                place.setdefault(name, value)
        place = place[key]
        options = list(_models(info.annotation))
        model = next((option for option in options if _is_chosen(option, place)), options[0])
        for name, value in required(model, backend).items():
            if name != field.name or depth < len(field.keys) - 2:
                place.setdefault(name, value)


def _is_chosen(option: Any, place: Mapping[str, Any]) -> bool:
    choice = discriminator(option) if isinstance(option, type) and issubclass(option, Section) else None
    return choice is not None and place.get(choice[0]) == choice[1]


def _models(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def required(model: Any, backend: str) -> dict[str, Any]:
    """Fields without which a section is not valid, or its object cannot be built: those it declares as required."""
    found = {}
    for field in walk(model, backend):
        if field.section in model.__mro__ and field.info.is_required():
            found[field.name] = sample_value(field)
    return found


def _values(field: BoundField) -> Iterator[Any]:
    bounds = field.info.metadata
    low: Any = next((item.ge if isinstance(item, Ge) else item.gt for item in bounds if isinstance(item, Ge | Gt)), 0)
    high: Any = next(
        (item.le if isinstance(item, Le) else item.lt for item in bounds if isinstance(item, Le | Lt)), None
    )
    for kind in alternatives(field.info.annotation):
        if kind is bool:
            yield from (True, False)
        elif get_origin(kind) is Literal:
            yield from get_args(kind)
        elif kind is int:
            yield from (low + 3, low + 5)
        elif kind is float:
            yield from ((low + 0.25, low + 0.5) if high is None else (low + (high - low) / 4, low + (high - low) / 2))
        elif kind is str:
            yield "sample"
        elif get_origin(kind) is list:
            yield [next(_plain(get_args(kind)[0]))]
        elif get_origin(kind) is dict:
            yield {"sample": next(_plain(get_args(kind)[1]))}


def _plain(kind: Any) -> Iterator[Any]:
    for option in alternatives(kind):
        yield {int: 3, float: 0.25, str: "sample", bool: True}.get(option, "sample")


def _equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)
