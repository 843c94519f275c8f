"""What a section that changes the way of generating leaves without effect: refused, since it would be ignored."""

from collections.abc import Iterator

from llenergymeasure.config.bindings import BoundField, Section, Target, walk
from llenergymeasure.config.lowering import Calls
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.continuous import unpaged
from llenergymeasure.config.pytorch.entry_points import AUTOCAST, FROM_PRETRAINED, GENERATE_BATCH
from llenergymeasure.errors import RequestError
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import Surface

AUTOCAST_DTYPE = Target(AUTOCAST, "dtype")


def check_modes(config: ExperimentConfig, calls: Calls, surface: Surface) -> None:
    """Whatever is sent must act in the mode that the configuration chooses; passthrough alone chooses none.

    Raises:
        RequestError: the field as the user wrote it, and the mode in which it has no effect.
    """
    _check_paged(calls)
    modes = list(_modes(config.backend))
    for field, section in modes:
        if section.enables not in calls:
            continue
        if _value(config, field) is None:
            _refuse_switch(section, field.path, calls)
        for other, replaced in modes:
            if replaced.enables in section.replaces and _value(config, other) is not None:
                raise _without_effect(other.path, field.path, "")
        for target, path in calls.origins.items():
            if target.entry_point in section.replaces:
                why = f": there, nothing calls {target.entry_point}" if target.backend else ""
                raise _without_effect(path, field.path, why)
            if not _acts(target, section, surface):
                why = f": {_short(section)} of {surface.package} {surface.version} does not act on {target.name}"
                raise _without_effect(path, field.path, why, _elsewhere(target, section, surface))
    if AUTOCAST in calls and AUTOCAST_DTYPE not in calls.origins:
        path = next(path for target, path in calls.origins.items() if target.entry_point == AUTOCAST)
        raise RequestError(f"{path}: would switch on pytorch.autocast, which is not set", "set pytorch.autocast")


def _check_paged(calls: Calls) -> None:
    """Kernels that read the cache in pages need the manager that writes it so; alone, some versions give garbage."""
    sent = calls[FROM_PRETRAINED].get("attn_implementation")
    if isinstance(sent, str) and sent != unpaged(sent) and GENERATE_BATCH not in calls:
        path = calls.origins[Target(FROM_PRETRAINED, "attn_implementation")]
        raise RequestError(
            f"{path}: {sent} reads a paged cache, which only pytorch.continuous_batching writes",
            f"set pytorch.continuous_batching, or {path} to {unpaged(sent)}",
        )


def _without_effect(path: str, mode: str, why: str, more: str = "") -> RequestError:
    return RequestError(f"{path}: would be ignored with {mode}{why}", f"remove {path}, or {mode}{more}")


def _short(section: type[Section]) -> str:
    return section.enables.rpartition(".")[2]


def _modes(backend: str) -> Iterator[tuple[BoundField, type[Section]]]:
    """Fields whose section calls an entry point by being there."""
    for field in walk(ExperimentConfig, backend):
        yield from ((field, section) for section in field.nested if section.enables)


def _value(config: ExperimentConfig, field: BoundField) -> object:
    value: object = config
    for key in field.keys:
        value = getattr(value, key, None)
    return value


def _refuse_switch(section: type[Section], mode: str, calls: Calls) -> None:
    path = next(path for target, path in calls.origins.items() if target.entry_point == section.enables)
    raise RequestError(
        f"{path}: would switch on {mode}, which is not set", f"set {mode}, as {{}} where nothing of it is to change"
    )


def _acts(target: Target, section: type[Section], surface: Surface) -> bool:
    point = surface.entry_points.get(section.enables)
    names = point.acts_on.get(target.entry_point) if point is not None else None
    return names is None or target.name in names


def _elsewhere(target: Target, section: type[Section], surface: Surface) -> str:
    having = [
        version
        for version in snapshots.versions(surface.backend)
        if _acts(target, section, known := snapshots.load(surface.backend, version))
        and section.enables in known.entry_points
        and version != surface.version
    ]
    return f"; versions in which it has an effect: {', '.join(having)}" if having else ""
