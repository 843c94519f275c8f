"""What a backend accepts: the surface of one version, as data, and its JSON form."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llenergymeasure.errors import RequestError

SCHEMA = 1

ACTIVE = "active"
DEPRECATED = "deprecated"
IGNORED = "ignored"  # accepted by name, then dropped


class _Unknown:
    """Where no default could be read; a parameter without any default is `required` instead."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


@dataclass(frozen=True)
class Parameter:
    """One argument of an entry point.

    Attributes:
        type: the annotation in one canonical spelling (`int | None`), "" where none is written anywhere.
        default: the JSON form of the default in the signature, or UNKNOWN. Symbols are their value where it can be
            read, else the source text in `{"expr": "..."}`.
        resolved: the value that applies when the default (often None) is left alone, where it is filled elsewhere.
        via: where the name was found: signature, pop, get, contains, loop, attribute.
        decided_by: whose code sets it once more after the arguments are taken, so that another value may run: the
            names of platforms, or `platform` for whichever is there, `engine` (start-up code, which looks at the model,
            the device and the other settings), `environment` (a variable).
    """

    name: str
    type: str = ""
    default: Any = UNKNOWN
    resolved: Any = UNKNOWN
    required: bool = False
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    status: str = ACTIVE
    via: str = "signature"
    decided_by: tuple[str, ...] = ()

    @property
    def effective_default(self) -> Any:
        """What runs when nobody sets the parameter, UNKNOWN where it cannot be read."""
        return self.default if isinstance(self.resolved, _Unknown) else self.resolved


@dataclass(frozen=True)
class EntryPoint:
    """A callable or class that takes parameters, by the dotted name that users import.

    Attributes:
        open: takes further names than those listed, such as model config overrides.
        acts_on: of an object that it gets, by the object's entry point, the parameters that have an effect here.
            Objects that are not named have their whole effect.
    """

    name: str
    parameters: dict[str, Parameter]
    open: bool = False
    acts_on: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Surface:
    """Every parameter of a backend's entry points at one version."""

    backend: str
    package: str
    version: str
    entry_points: dict[str, EntryPoint]
    provenance: dict[str, str] = field(default_factory=dict)

    def find(self, entry_point: str, name: str) -> Parameter | None:
        point = self.entry_points.get(entry_point)
        return point.parameters.get(name) if point else None

    def has(self, entry_point: str, name: str) -> bool:
        """Whether the version has the parameter; what no surface describes (other packages) counts as there."""
        return entry_point not in self.entry_points or name in self.entry_points[entry_point].parameters

    def parameters(self) -> list[tuple[str, Parameter]]:
        """Every (entry point, parameter) pair."""
        return [
            (point.name, parameter) for point in self.entry_points.values() for parameter in point.parameters.values()
        ]


def to_json(surface: Surface) -> str:
    """Sorted and stable: two extractions of one source give the same text."""
    points: dict[str, Any] = {}
    for name, point in sorted(surface.entry_points.items()):
        rows = {key: _parameter_row(parameter) for key, parameter in sorted(point.parameters.items())}
        points[name] = {
            **({"open": True} if point.open else {}),
            **({"acts_on": {key: sorted(names) for key, names in point.acts_on.items()}} if point.acts_on else {}),
            "parameters": rows,
        }
    document = {
        "schema": SCHEMA,
        "backend": surface.backend,
        "package": surface.package,
        "version": surface.version,
        "provenance": surface.provenance,
        "entry_points": points,
    }
    return _one_row_a_line(document) + "\n"


def _one_row_a_line(document: dict[str, Any]) -> str:
    """JSON in which each parameter takes one line: small, and a diff of two files reads as a diff of parameters."""
    head = {key: value for key, value in document.items() if key != "entry_points"}
    blocks = []
    for name, point in document["entry_points"].items():
        rows = ",\n".join(f"   {_compact(key)}: {_compact(row)}" for key, row in point["parameters"].items())
        opening = "".join(f'"{key}": {_compact(value)}, ' for key, value in point.items() if key != "parameters")
        blocks.append(f'  {_compact(name)}: {{{opening}"parameters": {{\n{rows}\n  }}}}')
    lines = [f" {_compact(key)}: {_compact(value)}" for key, value in head.items()]
    return "{\n" + ",\n".join([*lines, ' "entry_points": {\n' + ",\n".join(blocks) + "\n }"]) + "\n}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def from_json(text: str, origin: str = "surface") -> Surface:
    """Raises RequestError for another schema or a file that is not a surface."""
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise RequestError(
                f"{origin}: surface schema {document['schema']}, this version of llem reads {SCHEMA}",
                "extract it again with `llem surface extract`",
            )
        points = {
            name: EntryPoint(
                name,
                {key: _parameter(key, row) for key, row in point["parameters"].items()},
                open=point.get("open", False),
                acts_on={key: tuple(names) for key, names in point.get("acts_on", {}).items()},
            )
            for name, point in document["entry_points"].items()
        }
        return Surface(document["backend"], document["package"], document["version"], points, document["provenance"])
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"{origin}: not a surface ({error!r})", "extract it with `llem surface extract`") from error


def read(path: Path) -> Surface:
    return from_json(path.read_text(encoding="utf-8"), str(path))


def _parameter_row(parameter: Parameter) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key in (
        "type",
        "default",
        "resolved",
        "required",
        "choices",
        "minimum",
        "maximum",
        "status",
        "via",
        "decided_by",
    ):
        value = getattr(parameter, key)
        if value is UNKNOWN or (value == Parameter.__dataclass_fields__[key].default and key != "default"):
            continue
        row[key] = list(value) if isinstance(value, tuple) else value
    return row


def _parameter(name: str, row: dict[str, Any]) -> Parameter:
    values: dict[str, Any] = {
        key: tuple(value) if key in ("choices", "decided_by") else value for key, value in row.items()
    }
    return Parameter(name, **values)
