"""What the reference says of each field: from its declaration, the pinned versions' surfaces, and recorded proofs."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from llenergymeasure.audit.coverage import absence, fields_of
from llenergymeasure.config.bindings import (
    BACKENDS,
    OWN_PACKAGE,
    BoundField,
    Section,
    Target,
    alternatives,
    discriminator,
    section_types,
)
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.preview import own_default
from llenergymeasure.reference import words
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import Parameter, Surface

SHARED = "Shared by all backends"
# Titles of chapters that their module's name does not tell.
TITLES = {"continuous": "Continuous batching", "distributed": "Parallelism inside one model", "watermark": "Watermarks"}


@dataclass(frozen=True)
class Entry:
    """One field's row.

    Attributes:
        takes: type, choices and bounds.
        default: what happens when the field is left out, per version where it differs.
        notes: expected effect, conditions, parameters and versions, as far as they need saying.
        proven: the highest rung recorded for the newest pinned version, and where it is not run.
    """

    name: str
    takes: str
    default: str
    description: str
    notes: tuple[str, ...]
    proven: str


@dataclass(frozen=True)
class Group:
    """The fields of one section at one place, or at several where all is the same.

    Attributes:
        places: where a user writes the section.
        about: what the section is for.
        entry_point: where its fields go under their own names, unless a row says otherwise.
    """

    title: str
    places: tuple[str, ...]
    about: str
    entry_point: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Chapter:
    """The groups of one module, or of one package of modules."""

    title: str
    about: str
    groups: tuple[Group, ...]

    @property
    def count(self) -> int:
        return sum(len(group.entries) * len(group.places) for group in self.groups)


def chapters(backend: str, proofs: Mapping[str, str]) -> list[Chapter]:
    """All fields of a backend, in the order of its config's parts."""
    surfaces = [snapshots.load(backend, version) for version in snapshots.versions(backend)]
    setters = _setters(backend)
    found: dict[str, dict[tuple[str, str], list[BoundField]]] = {}
    for field in fields_of(backend):
        found.setdefault(_chapter(field), {}).setdefault(_place(field), []).append(field)
    parts = [part.__module__.split(".")[3] for part in _parts(backend)]
    order = ["", *parts]
    names = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
    made = []
    for name in names:
        groups = [_group(place, fields, surfaces, proofs, setters) for place, fields in found[name].items()]
        title = _title(name)
        # What stands directly under the chapter's own title comes first and needs no second one.
        groups = [replace(group, title="") if group.title == title else group for group in _merged(groups)]
        groups.sort(key=lambda group: group.title != "")
        made.append(Chapter(title, _about_chapter(name, found[name]), tuple(groups)))
    return made


def _parts(backend: str) -> tuple[type[Section], ...]:
    """The classes that a backend's section is put together from, one per purpose."""
    (config,) = section_types(ExperimentConfig.model_fields[backend].annotation)
    return config.__bases__


def _setters(backend: str) -> dict[Target, list[str]]:
    setters: dict[Target, list[str]] = {}
    for field in fields_of(backend):
        for target in field.targets(backend):
            setters.setdefault(target, []).append(field.path)
    return setters


def _chapter(field: BoundField) -> str:
    """The module's name below the backend's package, "" for what all backends share."""
    return "" if field.keys[0] not in BACKENDS else field.section.__module__.split(".")[3]


def _title(name: str) -> str:
    return TITLES.get(name, name.replace("_", " ").capitalize()) if name else SHARED


def _about_chapter(name: str, places: Mapping[tuple[str, str], Sequence[BoundField]]) -> str:
    if not name:
        return "Fields that mean the same on every backend, and the parameters that they set on this one."
    section = next(iter(places.values()))[0].section
    module = sys.modules[".".join(section.__module__.split(".")[:4])]
    return (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


def _place(field: BoundField) -> tuple[str, str]:
    """Where the section stands; parts of the backend's own section are told apart by their class."""
    place = field.path.rpartition(".")[0]
    if place not in BACKENDS:
        return place, ""
    part = next(part for part in _parts(place) if issubclass(part, field.section))
    return place, part.__name__


def _group(
    place: tuple[str, str],
    fields: Sequence[BoundField],
    surfaces: Sequence[Surface],
    proofs: Mapping[str, str],
    setters: Mapping[Target, Sequence[str]],
) -> Group:
    path, part = place
    first = fields[0]
    used = Counter(
        target.entry_point
        for field in fields
        for target in _theirs(field, surfaces[-1].backend)
        if target.name == field.name
    )
    common, times = used.most_common(1)[0] if used else ("", 0)
    common = common if 2 * times > len(fields) else ""
    return Group(
        title=part or _section_title(first.keys[:-1], first.variant, path),
        places=(_where(first, path),),
        about="" if part or not path else (first.section.__doc__ or "").strip().split("\n\n")[0].replace("\n", " "),
        entry_point=common,
        entries=tuple(_entry(field, common, surfaces, proofs, setters) for field in fields),
    )


def _section_title(keys: tuple[str, ...], variant: Mapping[tuple[str, ...], str], path: str) -> str:
    """A section's path; or the choices that lead to a variant, and the section inside it."""
    if not variant:
        return f"`{path}`" if path else ""
    choices = list(variant.values())
    inside = keys[-1:] if keys != list(variant)[-1][:-1] else ()
    return " ".join([*choices, *inside])


def _where(field: BoundField, path: str) -> str:
    """The section's place as it is written, and the choices that lead to it."""
    if not path:
        return ""
    plain = ".".join(field.keys[:-1])
    choices = ", ".join(f"`{keys[-1]}: {value}`" for keys, value in field.variant.items())
    return f"`{plain}`{f' with {choices}' if choices else ''}"


def _merged(groups: Sequence[Group]) -> list[Group]:
    """Variants that say the same below another choice become one."""
    made: list[Group] = []
    for group in groups:
        for number, known in enumerate(made):
            first, last = group.title.partition(" ")[0], group.title.rpartition(" ")[2]
            alike = (known.about, known.entry_point, known.entries) == (group.about, group.entry_point, group.entries)
            if alike and not group.title.startswith("`"):
                made[number] = replace(known, places=(*known.places, *group.places), title=f"{first} {last}")
                break
        else:
            made.append(group)
    return made


def _theirs(field: BoundField, backend: str) -> list[Target]:
    return [target for target in field.targets(backend) if not target.entry_point.startswith(OWN_PACKAGE)]


def _entry(
    field: BoundField,
    common: str,
    surfaces: Sequence[Surface],
    proofs: Mapping[str, str],
    setters: Mapping[Target, Sequence[str]],
) -> Entry:
    having = [surface for surface in surfaces if absence(field, surface) is None]
    return Entry(
        name=field.name,
        takes=_takes(field),
        default=_defaults(field, having, setters),
        description=field.description,
        notes=tuple(_notes(field, common, surfaces, having)),
        proven=proofs.get(field.path, "not run"),
    )


def _takes(field: BoundField) -> str:
    if not field.nested:
        return words.takes(field.info)
    choices = [choice for section in field.nested if (choice := discriminator(section))]
    if not choices:
        return f"[section](#{words.anchor(_section_title(field.keys, field.variant, field.path))})"
    return f"section, its `{choices[0][0]}` one of {', '.join(words.code(value) for _, value in choices)}"


def _notes(field: BoundField, common: str, surfaces: Sequence[Surface], having: Sequence[Surface]) -> list[str]:
    notes = []
    if field.binding.effect:
        notes.append(f"*Expected effect:* {field.binding.effect}")
    elif not field.nested:  # the effect of a section is that of its fields
        notes.append("*Expected effect:* not known.")
    if field.binding.needs:
        notes.append(f"*Acts only with* {' or '.join(f'`{need}`' for need in field.binding.needs)}.")
    targets = _theirs(field, surfaces[-1].backend)
    if not targets and not field.nested:
        notes.append("*Read by* the tool itself.")
    elif targets and targets != [Target(common, field.name)]:
        notes.append(f"*Sets* {' and '.join(map(_short, targets))}.")
    if len(having) < len(surfaces):
        notes.append(f"*Only in* {', '.join(surface.version for surface in having) or 'none of the versions'}.")
    return notes


def _short(target: Target) -> str:
    """Without the package where the rest still says which class it is: a table must fit a page."""
    parts = target.entry_point.split(".")
    return f"`{'.'.join(parts[1:] if len(parts) > 2 or parts[0] == 'transformers' else parts)}: {target.name}`"


def _defaults(field: BoundField, surfaces: Sequence[Surface], setters: Mapping[Target, Sequence[str]]) -> str:
    if not field.info.is_required() and field.info.default is not None:
        return words.shown(field.info.default)  # the tool's own default, which is always sent
    found: dict[str, list[str]] = {}
    for surface in surfaces:
        targets = field.targets(surface.backend)
        known = next((one for target in targets if (one := surface.find(target.entry_point, target.name))), None)
        if known is None:
            default = own_default(field)
            text = "off" if default is None else words.shown(default)
        elif known.required:
            others = sorted({path for target in targets for path in setters[target]} - {field.path})
            instead = f"that of `{others[0]}`" if others else "chosen by the backend"
            text = "required" if field.info.is_required() else instead
        else:
            text = words.shown(_as_written(known.effective_default, field)) + _decided(known)
        found.setdefault(text, []).append(surface.version)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{text} ({', '.join(versions)})" for text, versions in found.items())


def _decided(parameter: Parameter) -> str:
    """What runs is not known before the start where the default says nothing itself."""
    is_open = bool(parameter.decided_by) and parameter.effective_default in (None, "auto")
    return ", decided at the start" if is_open else ""


def _as_written(default: Any, field: BoundField) -> Any:
    """An object of the backend that has a spelling in the configuration, such as torch.float32, in that spelling."""
    if isinstance(default, Mapping) and set(default) == {"expr"}:
        spelled = str(default["expr"]).rpartition(".")[2].lower()
        choices = [choice for kind in alternatives(field.info.annotation) for choice in get_args(kind)]
        return spelled if spelled in choices else default
    return default
