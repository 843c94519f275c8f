"""Rung `sent`: with a field set the real backend module passes exactly its value, and with the field unset nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llenergymeasure.audit.coverage import fields_of
from llenergymeasure.audit.recorder import Built, Reference
from llenergymeasure.audit.recorders import recorder_of
from llenergymeasure.audit.samples import sample_config, value_at
from llenergymeasure.config.bindings import BoundField, Section, Target
from llenergymeasure.config.lowering import CONVERSIONS
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.experiment import plan
from llenergymeasure.core.session import Session
from llenergymeasure.surface import ledger
from llenergymeasure.surface.model import Surface

if TYPE_CHECKING:
    from llenergymeasure.core.api import Api

Seen = dict[Target, list[Any]]
_PLAN = {"ranks", "devices", "cores"}  # what the plan of processes derives from other fields


def check_sent(field: BoundField, surface: Surface, seen: set[Target] | None = None) -> str:
    """Why the field's value did not arrive, or what arrived besides; "" when it arrived as it should.

    Args:
        seen: every parameter that got anything is added to it.
    """
    data, without = sample_config(field, surface)
    try:
        before = observe(without, surface)
        after = observe(data, surface)
    except Exception as error:  # noqa: BLE001 - whatever fails here is the finding
        return f"the backend module failed: {type(error).__name__}: {error}"
    if seen is not None:
        seen.update(before, after)
    value = value_at(data, field)
    targets = set(field.targets(surface.backend))
    present = {target for target in targets if surface.find(target.entry_point, target.name) or target.backend == ""}
    present = _of_this_mode(present, after)
    for target in sorted(present, key=str):
        if why := _not_arrived(target, value, before, after):
            return why
    enabled = {section.enables for section in field.nested if section.enables and not targets}
    for entry_point in enabled - {target.entry_point for target in after}:
        return f"{entry_point} was not called"
    allowed = targets | _related(field, surface.backend) | _inside_built(after, present)
    return _changed_besides(allowed, before, after, surface.backend)


def _of_this_mode(targets: set[Target], after: Seen) -> set[Target]:
    """Without the calls that another mode would make instead, where the field binds those of several."""
    called = {target.entry_point for target in after}
    return {target for target in targets if target.entry_point in called} or targets


def _not_arrived(target: Target, value: Any, before: Seen, after: Seen) -> str:
    if target not in after:
        return f"{target} got nothing"
    if not all(arrived(value, item) for item in after[target]):
        return f"{target} got {after[target][0]!r}, not {value!r}"
    if target in before and before[target] == after[target]:
        return f"{target} gets {before[target][0]!r} without the field, too"
    return ""


def _changed_besides(allowed: set[Target], before: Seen, after: Seen, backend: str) -> str:
    """The first parameter that changed although nothing asked for it; what the tool itself sets may follow the work."""
    book = ledger.load(backend)
    for target in sorted(after.keys() | before.keys(), key=str):
        entry = book.find(target.entry_point, target.name)
        if target in allowed or (entry is not None and entry.kind == "owned") or target.name in _PLAN:
            continue
        if set(map(repr, before.get(target, ()))) != set(map(repr, after.get(target, ()))):
            return f"{target} changed, too: {before.get(target)} became {after.get(target)}"
    return ""


def observe(data: Mapping[str, Any], surface: Surface) -> Seen:
    """Run a configuration through the real backend module on a recorder; what arrived, per parameter."""
    recorder = recorder_of(surface)
    api: Api = recorder
    config = ExperimentConfig.model_validate(data)
    share = plan(config, api)[0]
    session = Session(config, share, api)
    session.open()
    session.run(lambda: False, lambda _: None)
    seen: Seen = {}
    for entry_point, calls in recorder.calls.items():
        for arguments in calls:
            for name, value in arguments.items():
                seen.setdefault(Target(entry_point, name), []).append(value)
    return seen


def arrived(value: Any, recorded: Any) -> bool:
    """Whether what the API got is the configured value, or the object that stands for it."""
    if isinstance(recorded, Reference):
        return recorded.path.rpartition(".")[2].casefold() == str(value).casefold()
    if isinstance(recorded, Built):
        inside = dict(recorded.arguments)
        return isinstance(value, Mapping) and (
            any(arrived(value, item) for item in inside.values())
            or all(name not in inside or arrived(item, inside[name]) for name, item in value.items())
        )
    if isinstance(value, bool) and isinstance(recorded, str):  # the one switch that the API takes as a word
        return bool(CONVERSIONS["tf32"](value) == recorded)
    if hasattr(recorded, "source"):
        return bool(recorded.source == value)
    if isinstance(value, list | tuple) and isinstance(recorded, list | tuple):
        return len(value) == len(recorded) and all(map(arrived, value, recorded))
    return type(value) is type(recorded) and bool(value == recorded)


def _related(field: BoundField, backend: str) -> set[Target]:
    """Parameters that change with the field by nature: those of the sections it is in, and of the fields inside it."""
    related: set[Target] = set()
    for other in fields_of(backend):
        # A required field cannot be left out alone: the section goes, and with it what else the section requires.
        together = field.info.is_required() and other.info.is_required()
        beside = other.keys[:-1] == field.keys[:-1] and (other.name in field.binding.context or together)
        inside = field.keys[: len(other.keys)] == other.keys or other.keys[: len(field.keys)] == field.keys
        if (inside or beside) and other.path != field.path:
            related |= set(other.targets(backend))
        if field.keys[: len(other.keys)] == other.keys:
            related |= {Target(section.entry_point, name) for section in other.nested for name in section.always}
    for target in field.targets(backend):
        related |= {Target(target.entry_point, name) for name in field.binding.clears}
    return related | _of_the_other_mode(field, backend)


def _of_the_other_mode(field: BoundField, backend: str) -> set[Target]:
    """What shared fields set at the calls that a section makes and replaces: they set the one or the other."""
    chosen = [
        section
        for other in fields_of(backend)
        if other.keys == field.keys[: len(other.keys)]
        for section in other.nested
        if section.enables
    ]
    calls = {name for section in chosen for name in (section.enables, *section.replaces)}
    shared = [other for other in fields_of(backend) if not issubclass(other.section, Section)]
    return {target for other in shared for target in other.targets(backend) if target.entry_point in calls}


def _inside_built(seen: Seen, targets: set[Target]) -> set[Target]:
    """The arguments of objects that the field's own value became."""
    built = [item for target in targets for item in seen.get(target, ()) if isinstance(item, Built)]
    return {Target(item.entry_point, name) for item in built for name, _ in item.arguments}


@contextmanager
def unbound(field: BoundField) -> Iterator[None]:
    """The field without its declaration: what the audit must notice."""
    declared = field.info.json_schema_extra
    field.info.json_schema_extra = None
    try:
        yield
    finally:
        field.info.json_schema_extra = declared
