"""How far each field's wiring is proven on one version: declared, sent, and accepted where the backend is installed."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from llenergymeasure.audit.coverage import fields_of
from llenergymeasure.audit.samples import sample_value
from llenergymeasure.audit.sent import check_sent, unbound
from llenergymeasure.config.bindings import OWN_PACKAGE, BoundField, Target, alternatives
from llenergymeasure.surface.model import IGNORED, Parameter, Surface

RUNGS = ("declared", "sent", "accepted", "effective", "observed")
PASSED, FAILED, ABSENT = "passed", "failed", "absent"

Acceptor = Callable[[BoundField, Surface], str]


@dataclass(frozen=True)
class Proof:
    """One field on one version.

    Attributes:
        rung: the highest that was shown; "" where not even the first was, or the version lacks the parameter.
        status: passed, failed (below `sent`), or absent (the version has no such parameter).
        reason: why it stopped there.
    """

    path: str
    rung: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Wiring:
    """Every field's proof on one version, up to the rung that was asked for."""

    backend: str
    version: str
    asked: str
    proofs: tuple[Proof, ...]

    @property
    def failed(self) -> list[Proof]:
        return [proof for proof in self.proofs if proof.status == FAILED]

    def counts(self) -> dict[str, int]:
        """Fields per highest rung, then those that failed and those that the version lacks."""
        found = Counter(proof.rung if proof.status == PASSED else proof.status for proof in self.proofs)
        return {key: found[key] for key in (*RUNGS, FAILED, ABSENT) if found[key]}


def wiring(surface: Surface, asked: str = "sent", accept: Acceptor | None = None) -> Wiring:
    """Prove every field up to a rung; `accept` holds it against the real API and gives the API's message or ""."""
    proofs = tuple(prove(field, surface, asked, accept) for field in fields_of(surface.backend))
    return Wiring(surface.backend, surface.version, asked, proofs)


def prove(field: BoundField, surface: Surface, asked: str, accept: Acceptor | None = None) -> Proof:
    """Climb as far as asked for, and stop where a proof fails."""
    targets = field.targets(surface.backend)
    if (why := absence(field, surface)) is not None:
        return Proof(field.path, "", ABSENT, why)
    if why := check_declared(field, targets, surface):
        return Proof(field.path, "", FAILED, why)
    if asked == "declared":
        return Proof(field.path, "declared", PASSED)
    if why := check_sent(field, surface):
        return Proof(field.path, "declared", FAILED, why)
    if asked == "sent" or accept is None:
        return Proof(field.path, "sent", PASSED)
    why = accept(field, surface)
    return Proof(field.path, "sent" if why else "accepted", PASSED, why)


def absence(field: BoundField, surface: Surface) -> str | None:
    """Why a version cannot have the field at all, None where it can."""
    targets = field.targets(surface.backend)
    if not targets:
        inside = [target for section in field.nested for target in _targets_in(section.entry_point, surface)]
        return None if inside or not field.nested else f"{surface.version} has none of its parameters"
    foreign = [target for target in targets if not target.entry_point.startswith(OWN_PACKAGE)]
    if not foreign:
        return None
    found = [parameter for target in foreign if (parameter := surface.find(target.entry_point, target.name))]
    if not found:
        return f"{surface.version} has no {' or '.join(map(str, foreign))}"
    if all(parameter.status == IGNORED for parameter in found):
        return f"{surface.version} accepts it and ignores it"
    return _absent_parent(field, surface)


def _absent_parent(field: BoundField, surface: Surface) -> str | None:
    """A part of an object cannot be set where the version has no parameter that takes the object."""
    own = getattr(field.section, "entry_point", "")
    if not any(target.entry_point == own for target in field.targets(surface.backend)):
        return None
    for parent in fields_of(surface.backend):
        if parent.nested and parent.keys == field.keys[: len(parent.keys)] and parent.path != field.path:
            targets = parent.targets(surface.backend)
            if targets and not any(surface.find(target.entry_point, target.name) for target in targets):
                return f"{surface.version} has no {' or '.join(map(str, targets))}"
    return None


def _targets_in(entry_point: str, surface: Surface) -> list[Target]:
    point = surface.entry_points.get(entry_point)
    return [Target(entry_point, name) for name in point.parameters] if point else []


def check_declared(field: BoundField, targets: tuple[Target, ...], surface: Surface) -> str:
    """Whether the parameter's type and choices can take what the field allows; "" if they can."""
    if not targets and not field.nested:
        return "it declares no parameter"
    for target in targets:
        parameter = surface.find(target.entry_point, target.name)
        if parameter is None or field.binding.convert or field.nested:
            continue  # an object is made of the value: its class is checked by the fields inside it
        if why := _incompatible(field, parameter):
            return f"{target}: {why}"
    return ""


def _incompatible(field: BoundField, parameter: Parameter) -> str:
    from llenergymeasure.core.checks import type_fits

    value = sample_value(field)
    # A type that stands in prose only is a hint: transformers 4.57 calls tp_size a string there.
    if parameter.via == "signature" and not type_fits(value, parameter):
        return f"takes {parameter.type}, the field gives {value!r}"
    literals = [
        item for kind in alternatives(field.info.annotation) for item in get_args(kind) if isinstance(item, str)
    ]
    if parameter.choices and literals and not set(literals) & set(parameter.choices):
        return f"takes one of {', '.join(map(str, parameter.choices))}, the field one of {', '.join(literals)}"
    return ""


def mutation_survivors(surface: Surface) -> list[str]:
    """Fields whose declaration can be taken away without the audit noticing: the proof of the proof. Must be empty."""
    survivors = []
    for field in fields_of(surface.backend):
        if absence(field, surface) is not None:
            continue
        with unbound(field):
            if not check_sent(field, surface):
                survivors.append(field.path)
    return survivors


def as_document(result: Wiring) -> dict[str, Any]:
    """The JSON form that records carry."""
    return {
        "backend": result.backend,
        "version": result.version,
        "asked": result.asked,
        "counts": result.counts(),
        "fields": {
            proof.path: {"rung": proof.rung, "status": proof.status, "reason": proof.reason} for proof in result.proofs
        },
    }
