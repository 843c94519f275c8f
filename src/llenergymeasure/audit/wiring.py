"""How far each field's wiring is proven on one version: declared, sent, and accepted where the backend is installed."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from llenergymeasure.audit.bare import unowned, unsent
from llenergymeasure.audit.coverage import absence, fields_of
from llenergymeasure.audit.samples import sample_value
from llenergymeasure.audit.sent import check_sent, unbound
from llenergymeasure.config.bindings import BoundField, Target, alternatives
from llenergymeasure.surface.model import Parameter, Surface

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
    """Every field's proof on one version, up to the rung that was asked for.

    Attributes:
        unowned: what the tool sends with nothing set, and should not.
        sent: every parameter that got anything in some observed run.
    """

    backend: str
    version: str
    asked: str
    proofs: tuple[Proof, ...]
    unowned: tuple[str, ...] = ()
    sent: frozenset[Target] = frozenset()

    @property
    def failed(self) -> list[Proof]:
        return [proof for proof in self.proofs if proof.status == FAILED]

    def counts(self) -> dict[str, int]:
        """Fields per highest rung, then those that failed and those that the version lacks."""
        found = Counter(proof.rung if proof.status == PASSED else proof.status for proof in self.proofs)
        return {key: found[key] for key in (*RUNGS, FAILED, ABSENT) if found[key]}


def wiring(surface: Surface, asked: str = "sent", accept: Acceptor | None = None) -> Wiring:
    """Prove every field up to a rung; `accept` holds it against the real API and gives the API's message or ""."""
    seen: set[Target] = set()
    proofs = tuple(prove(field, surface, asked, accept, seen) for field in fields_of(surface.backend))
    alone = () if asked == "declared" else tuple(unowned(surface, seen))
    return Wiring(surface.backend, surface.version, asked, proofs, alone, frozenset(seen))


def never_sent(results: Sequence[Wiring]) -> list[str]:
    """What the ledger says the tool sets and no run of any of the versions sent; meaningful for all pinned versions."""
    sent = {target for item in results for target in item.sent}
    return unsent(results[0].backend, sent) if sent else []


def prove(
    field: BoundField, surface: Surface, asked: str, accept: Acceptor | None = None, seen: set[Target] | None = None
) -> Proof:
    """Climb as far as asked for, and stop where a proof fails; what runs on the way sent is added to `seen`."""
    targets = field.targets(surface.backend)
    if (why := absence(field, surface)) is not None:
        return Proof(field.path, "", ABSENT, why)
    if why := check_declared(field, targets, surface):
        return Proof(field.path, "", FAILED, why)
    if asked == "declared":
        return Proof(field.path, "declared", PASSED)
    if why := check_sent(field, surface, seen):
        return Proof(field.path, "declared", FAILED, why)
    if asked == "sent" or accept is None:
        return Proof(field.path, "sent", PASSED)
    why = accept(field, surface)
    return Proof(field.path, "sent" if why else "accepted", PASSED, why)


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
        "unowned": list(result.unowned),
        "fields": {
            proof.path: {"rung": proof.rung, "status": proof.status, "reason": proof.reason} for proof in result.proofs
        },
    }
