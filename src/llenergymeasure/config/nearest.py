"""Where a name that stands at the wrong place belongs: by what the declared fields set, then by spelling."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel

from llenergymeasure.config.bindings import BACKENDS, BoundField, Section, Target, discriminator, walk
from llenergymeasure.config.counterparts import counterpart
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.origin import Location, spell
from llenergymeasure.config.renames import renames

_HERE = 0.65  # likeness that a name of the same section must have, and one of another section
_ELSEWHERE = 0.8
_FEW = 20
_SEVERAL = 3


@dataclass(frozen=True)
class Place:
    """One field, or a section that is what another parameter switches on.

    Attributes:
        names: what else a user may call it: the parameters it sets, under every name they had.
        choice: what the section around it must say to be of the kind that has it, such as `method: hqq`.
        switches: whether it is the section whose being there, of this kind, sets the parameters of these names.
    """

    location: tuple[str, ...]
    names: frozenset[str]
    choice: str = ""
    switches: bool = False


def suggestion(location: Location) -> str:  # noqa: PLR0911 - one return per kind of answer
    """What a user may have meant by a field that is not known at `location`, as pydantic spells that."""
    *around, name = location
    models = models_at(tuple(around))
    here = sorted({field for model in models for field in model.model_fields})
    section = tuple(part for part in around if isinstance(part, str) and not _is_choice(part, around))
    backend = Target(str(name), "").backend
    if not section and backend in ExperimentConfig.model_fields:
        return f"did you mean {backend}?"
    longer = [field for field in here if field.startswith(f"{name}_")]
    if section and len(longer) == 1 and name not in ExperimentConfig.model_fields:
        return f"did you mean {spell((*section, *longer))}?"
    meant = _by_meaning(section, str(name))
    if meant and (foreign := _foreign(section, meant)):
        if alike := _counterparts(section, meant):
            return f"did you mean {alike}?"
        return f"only {foreign[0]} has such a field ({spell(foreign)}), {section[0]} has none"
    if said := [place.choice for place in meant if place.switches and place.choice.partition(": ")[2] in around]:
        return f"{said[0]} says so already: remove {name}"
    of_another_kind = all(place.location == (*section, name) for place in meant)
    if of_another_kind and (spelled := _by_spelling(section, str(name), here)):
        other = f"; {name} goes {_choices(meant)}" if meant else ""
        return f"did you mean {spelled}?{other}"
    if meant:
        paths = list(dict.fromkeys(place.location for place in meant))[:_SEVERAL]
        shown = [
            " ".join(filter(None, (spell(path), _choices(place for place in meant if place.location == path))))
            for path in paths
        ]
        top = ", at the top level" if section and all(len(path) == 1 for path in paths) else ""
        return f"did you mean {' or '.join(shown)}{top}?"
    if len(here) <= _FEW:
        return f"known here: {', '.join(here)}"
    more = "; parameters that are no field go under passthrough" if section[:1] and section[0] in BACKENDS else ""
    return f"`llem schema` lists the {len(here)} fields of {spell(section)}{more}"


def _foreign(section: tuple[str, ...], meant: list[Place]) -> tuple[str, ...]:
    """The first of the fields that are meant, where all are another backend's than the one that is chosen."""
    chosen = section[:1] if section and section[0] in BACKENDS else ()
    others = [place.location for place in meant if place.location[0] in BACKENDS and place.location[:1] != chosen]
    return others[0] if chosen and len(others) == len(meant) else ()


def _counterparts(section: tuple[str, ...], meant: list[Place]) -> str:
    """What does the same here, by the fields of this backend."""
    known = {place.location for place in places()}
    found = [
        path
        for place in meant
        for path in ((section[0], *place.location[1:]), counterpart(place.location, section[0]))
        if path in known
    ]
    return " or ".join(dict.fromkeys(map(spell, found)))


def tags(location: Location) -> list[str]:
    """What a section may say to be one of several kinds."""
    sections = [model for model in models_at(location) if issubclass(model, Section)]
    return [choice[1] for section in sections if (choice := discriminator(section))]


def models_at(location: Location) -> list[type[BaseModel]]:
    """The models that may stand at a place; a part that names a kind of section narrows them to it."""
    models: list[type[BaseModel]] = [ExperimentConfig]
    for part in location:
        inside = [
            inner
            for outer in models
            if part in outer.model_fields
            for inner in _models(outer.model_fields[str(part)].annotation)
        ]
        models = inside or [model for model in models if _tag(model) == part]
    return models


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _tag(model: type[BaseModel]) -> str | None:
    choice = discriminator(model) if issubclass(model, Section) else None
    return choice[1] if choice else None


def _is_choice(part: str, around: list[str | int]) -> bool:
    """Whether a part of pydantic's location is no key that was written, but the kind of the section before it."""
    before = tuple(around[: around.index(part)])
    return part in tags(before) and part not in {name for model in models_at(before) for name in model.model_fields}


def _by_meaning(section: tuple[str, ...], name: str) -> list[Place]:
    """Fields of this very name, else those that set the parameter of this name; the nearest of them.

    Inside a backend's section another backend's fields are meant only where it has none itself.
    """
    found: list[Place] = []
    for among in (_of_the_backend(section), places()):
        own = [place for place in among if place.location[-1] == name and not place.switches]
        if section[:1] and section[0] in BACKENDS:  # of several, the one that sets the backend's parameter of this name
            own = [place for place in own if name in place.names] or own
        found = found or own or [place for place in among if name in place.names]

    def distance(place: Place) -> tuple[int, int]:
        """Around the section before inside it before elsewhere; then those with the fewest levels."""
        around = place.location[:-1] == section[: len(place.location) - 1]
        inside = place.location[: len(section)] == section
        return 0 if around else 1 if inside else 2, len(place.location)

    nearest = min(map(distance, found), default=None)
    return [place for place in found if distance(place) == nearest]


def _of_the_backend(section: tuple[str, ...]) -> tuple[Place, ...]:
    """The places that an experiment with this section can have."""
    others = {name for name in BACKENDS if section[:1] and section[0] in BACKENDS and name != section[0]}
    return tuple(place for place in places() if place.location[0] not in others)


def _choices(places: Iterable[Place]) -> str:
    choices = dict.fromkeys(place.choice for place in places if place.choice)
    return f"with {' or '.join(choices)}" if choices else ""


def _by_spelling(section: tuple[str, ...], name: str, here: list[str]) -> str:
    likeness = {spell((*section, other)): _likeness(name, other) for other in here}
    likeness = {path: ratio + 0.1 for path, ratio in likeness.items() if ratio >= _HERE}
    for place in _of_the_backend(section):
        of_another_kind = place.location[:-1] == section and place.location[-1] not in here
        if place.location[-1] == name or of_another_kind:
            continue
        if (ratio := _likeness(name, place.location[-1])) >= _ELSEWHERE:
            likeness.setdefault(spell(place.location), ratio)
    return max(likeness, key=lambda path: likeness[path], default="")


def _likeness(one: str, other: str) -> float:
    """From 0 to 1; a word of a longer name counts as like it."""
    if len(one) <= _SEVERAL:  # two letters that come in another word's order mean nothing
        return float(one == other)
    ratio = difflib.SequenceMatcher(None, one, other).ratio()
    return max(ratio, _HERE) if len(one) > _SEVERAL and one in other else ratio


@lru_cache(maxsize=1)
def places() -> tuple[Place, ...]:
    """Every field of every backend at its place, with all the names it may go by."""
    found = [Place(location, frozenset()) for location in _undeclared(ExperimentConfig, ())]
    for backend in (name for name in BACKENDS if name in ExperimentConfig.model_fields):
        for field in walk(ExperimentConfig, backend):
            found.append(Place(field.keys, _names(field, backend), _choice(field)))
            for section in field.nested:
                kind = discriminator(section)
                switches = frozenset(section.always) - {kind[0] if kind else ""}
                found.append(Place(field.keys, switches, f"{kind[0]}: {kind[1]}" if kind else "", switches=True))
    return tuple(dict.fromkeys(found))


def _undeclared(model: type[BaseModel], around: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The tool's own fields, which bind nothing."""
    for name, info in model.model_fields.items():
        if not around and name in BACKENDS:
            continue
        yield (*around, name)
        for inner in _models(info.annotation):
            yield from _undeclared(inner, (*around, name))


def _names(field: BoundField, backend: str) -> frozenset[str]:
    targets = field.targets(backend)
    names = {target.name for target in targets}
    names |= {
        old
        for row in renames(backend)
        for target in targets
        if row.entry_point == target.entry_point and target.name in (row.old, row.new)
        for old in (row.old, row.new)
    }
    return frozenset(names)


def _choice(field: BoundField) -> str:
    return ", ".join(f"{keys[-1]}: {value}" for keys, value in field.variant.items())
