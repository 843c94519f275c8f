"""What the tool sends with nothing set: only what the ledger says that it owns, and what no run is without.

Anything else that is always sent would pass the proof field by field, which compares a run with a field to one without.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llenergymeasure.audit.coverage import fields_of
from llenergymeasure.audit.samples import BASE, required
from llenergymeasure.audit.sent import Seen, arrived, observe
from llenergymeasure.config.bindings import OWN_PACKAGE, Section, Target
from llenergymeasure.config.pytorch.entry_points import TOKENIZE
from llenergymeasure.surface import ledger
from llenergymeasure.surface.model import Surface


def unowned(surface: Surface, seen: set[Target]) -> list[str]:
    """Parameters that get something with nothing set, and are neither owned nor required.

    Args:
        seen: every parameter that got anything is added to it.
    """
    problems: dict[str, None] = {}
    for data, follows in bare_configurations(surface):
        try:
            found = observe(data, surface)
        except Exception as error:  # noqa: BLE001 - whatever fails here is the finding
            return [f"the backend module failed with nothing set: {type(error).__name__}: {error}"]
        seen.update(found)
        alone = {target: values for target, values in found.items() if target not in follows}
        problems |= dict.fromkeys(_unowned(alone, surface.backend))
    return list(problems)


def bare_configurations(surface: Surface) -> Iterator[tuple[Mapping[str, Any], frozenset[Target]]]:
    """Nothing set; and each section that is a call of its own, there and empty; and prompts as a chat's turns.

    Each comes with the parameters that follow from what it does set.
    """
    backend = surface.backend
    yield {**BASE, backend: {}}, frozenset()
    for field in fields_of(backend):
        for section in field.nested:
            if section.enables in surface.entry_points:
                yield {**BASE, backend: {field.name: (least := required(section, backend))}}, _set_by(section, least)
    chat = {"inline": BASE["prompts"], "chat_template": True}
    # The template writes the special tokens.
    yield {**BASE, backend: {}, "prompts": chat}, frozenset({Target(TOKENIZE, "add_special_tokens")})


def _set_by(section: type[Section], least: Mapping[str, Any]) -> frozenset[Target]:
    return frozenset(Target(section.entry_point, name) for name in least)


def unsent(backend: str, seen: Iterable[Target]) -> list[str]:
    """Parameters that the ledger says the tool sets, and that no observed run sent: nobody sets them."""
    sent = set(seen)
    return [
        f"the ledger says that the tool sets {target}, and it was sent in no observed run"
        for entry in ledger.load(backend).entries
        if entry.kind == "owned"
        for name in entry.names
        if (target := Target(entry.entry_point, name)) not in sent
    ]


def _unowned(found: Seen, backend: str) -> Iterator[str]:
    book, required = ledger.load(backend), _required(backend)
    for target, values in sorted(found.items(), key=str):
        entry = book.find(target.entry_point, target.name)
        if (entry is not None and entry.kind == "owned") or target.entry_point.startswith(OWN_PACKAGE):
            continue
        if target not in required:
            yield f"{target} gets {values[0]!r} with nothing set: it is neither required nor owned in the ledger"
        elif not all(arrived(required[target], value) for value in values):
            yield f"{target} gets {values[0]!r} with nothing set, not {required[target]!r}"


def _required(backend: str) -> dict[Target, Any]:
    """What every run says: fields of the experiment, not of a backend's section, that are required or have a value."""
    return {
        target: BASE[field.name] if field.info.is_required() else field.info.default
        for field in fields_of(backend)
        if not issubclass(field.section, Section) and (field.info.is_required() or field.info.default is not None)
        for target in field.targets(backend)
    }
