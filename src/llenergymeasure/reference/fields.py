"""What the reference says of each field: from its declaration, the pinned versions' surfaces, and recorded proofs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from llenergymeasure.audit.coverage import fields_of
from llenergymeasure.audit.wiring import absence
from llenergymeasure.config.bindings import OWN_PACKAGE, BoundField, alternatives, discriminator
from llenergymeasure.core.preview import own_default
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import UNKNOWN, Surface


@dataclass(frozen=True)
class Entry:
    """One field's row.

    Attributes:
        values: type, choices and bounds.
        default: what the backend does when the field is left out, per version where it differs.
        parameter: where it goes.
        versions: the pinned versions that have it.
        proven: the highest rung recorded for the newest pinned version, and where it is not run.
    """

    path: str
    values: str
    default: str
    description: str
    effect: str
    needs: str
    parameter: str
    versions: str
    proven: str


def entries(backend: str, proofs: Mapping[str, str]) -> dict[str, list[Entry]]:
    """Rows by group; a group is the section or the module that declares the field."""
    surfaces = [snapshots.load(backend, version) for version in snapshots.versions(backend)]
    groups: dict[str, list[Entry]] = {}
    for field in fields_of(backend):
        groups.setdefault(_group(field), []).append(_entry(field, surfaces, proofs))
    return groups


def _group(field: BoundField) -> str:
    """The module's purpose, in its own words."""
    if field.keys[0] not in ("pytorch", "vllm", "tensorrt"):
        return "Shared by all backends"
    module = field.section.__module__.rpartition(".")[2].replace("_", " ")
    return module.capitalize()


def _entry(field: BoundField, surfaces: Sequence[Surface], proofs: Mapping[str, str]) -> Entry:
    backend = surfaces[-1].backend
    having = [surface for surface in surfaces if absence(field, surface) is None]
    targets = [target for target in field.targets(backend) if not target.entry_point.startswith(OWN_PACKAGE)]
    return Entry(
        path=field.path,
        values=values(field),
        default=_defaults(field, having),
        description=field.description,
        effect=field.binding.effect or "unknown",
        needs=" or ".join(map(str, field.binding.needs)),
        parameter=", ".join(map(str, targets)) or "the tool itself",
        versions="all" if len(having) == len(surfaces) else ", ".join(surface.version for surface in having) or "none",
        proven=proofs.get(field.path, "not run"),
    )


def values(field: BoundField) -> str:
    """Type with choices and bounds, as a user may write it."""
    if field.nested:
        choices = [choice[1] for section in field.nested if (choice := discriminator(section))]
        return "one of " + ", ".join(choices) if choices else "section"
    text = " or ".join(_kind(kind) for kind in alternatives(field.info.annotation))
    bounds = []
    for item in field.info.metadata:
        for kind, name, sign in ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<")):
            if isinstance(item, kind):
                bounds.append(f"{sign} {getattr(item, name)}")
    return f"{text}, {' and '.join(bounds)}" if bounds else text


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(_shown, get_args(kind)))
    if get_origin(kind) in (list, tuple):
        return "list of " + " and ".join(_kind(item) for item in get_args(kind))
    if get_origin(kind) is dict:
        return "mapping"
    if get_origin(kind) is not None:
        return " or ".join(_kind(item) for item in get_args(kind))
    return {int: "integer", float: "number", str: "text", bool: "true or false"}.get(
        kind, getattr(kind, "__name__", str(kind))
    )


def _defaults(field: BoundField, surfaces: Sequence[Surface]) -> str:
    if not field.info.is_required() and field.info.default is not None:
        return _shown(field.info.default)  # the tool's own default, which is always sent
    found: dict[str, list[str]] = {}
    for surface in surfaces:
        parameters = [surface.find(target.entry_point, target.name) for target in field.targets(surface.backend)]
        known = next((parameter for parameter in parameters if parameter), None)
        if known is None:
            text = _own(field)
        elif known.required:
            text = "required" if field.info.is_required() else "that of another field"
        else:
            text = _shown(known.effective_default)
        found.setdefault(text, []).append(surface.version)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{text} ({', '.join(versions)})" for text, versions in found.items())


def _shown(value: Any) -> str:
    if value is UNKNOWN:
        return "unknown"
    if isinstance(value, Mapping) and set(value) == {"expr"}:
        return str(value["expr"])
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value or '""'


def _own(field: BoundField) -> str:
    default = own_default(field)
    return "off" if default is None else _shown(default)
