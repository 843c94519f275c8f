"""What a run would do, told before anything is loaded: its workload, the tool's settings, and what is sent where."""

import inspect
from dataclasses import dataclass
from typing import Any

from llenergymeasure.config.bindings import OWN_PACKAGE, BoundField, walk
from llenergymeasure.config.lowering import Calls, plain
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.api import RealApi
from llenergymeasure.core.checks import check_against, check_ranks
from llenergymeasure.core.session import texts
from llenergymeasure.surface.model import Surface


@dataclass(frozen=True)
class Setting:
    """A field that the tool itself acts on.

    Attributes:
        given: whether the configuration sets it; else `value` is its default.
    """

    field: str
    value: Any
    given: bool


@dataclass(frozen=True)
class Sent:
    """One parameter of one entry point."""

    entry_point: str
    name: str
    value: Any
    field: str


@dataclass(frozen=True)
class Preview:
    """One experiment on one version.

    Attributes:
        prompts: how many there are.
        entry_points: those that get parameters or are called because a section is there, in order.
    """

    config: ExperimentConfig
    package: str
    version: str
    prompts: int
    settings: tuple[Setting, ...]
    entry_points: tuple[str, ...]
    sent: tuple[Sent, ...]


def preview(config: ExperimentConfig, surface: Surface) -> Preview:
    """Checks what can be checked without loading, as a run would.

    Raises:
        RequestError: the prompts' file cannot be used, or this version cannot be called so.
    """
    source = config.prompts.synthetic
    prompts = source.count if source is not None else len(texts(config))
    calls = check_against(config, surface)
    check_ranks(config, calls)
    theirs = [entry_point for entry_point in calls.arguments if not entry_point.startswith(OWN_PACKAGE)]
    origins = {(target.entry_point, target.name): path for target, path in calls.origins.items()}
    return Preview(
        config=config,
        package=surface.package,
        version=surface.version,
        prompts=prompts,
        settings=tuple(_settings(config, calls)),
        entry_points=tuple(theirs),
        sent=tuple(
            Sent(entry_point, name, value, origins[entry_point, name])
            for entry_point in theirs
            for name, value in calls[entry_point].items()
        ),
    )


def own_default(field: BoundField) -> Any:
    """What this package's own callable does where the field is left out; None where the field has none there."""
    for target in field.targets(""):
        if target.entry_point.startswith(OWN_PACKAGE):
            return inspect.signature(RealApi().resolve(target.entry_point)).parameters[target.name].default
    return None


def _settings(config: ExperimentConfig, calls: Calls) -> list[Setting]:
    """The tool's own fields; one whose entry point is not called in this way of generating does not act."""
    fields = list(walk(ExperimentConfig, config.backend))
    modes = [section for field in fields for section in field.nested if section.enables in calls]
    replaced = {entry_point for section in modes for entry_point in section.replaces}
    settings = []
    for field in fields:
        for target in field.targets(config.backend):
            if not target.entry_point.startswith(OWN_PACKAGE) or target.entry_point in replaced:
                continue
            given = target.name in calls[target.entry_point]
            value = calls[target.entry_point][target.name] if given else own_default(field)
            settings.append(Setting(field.path, plain(value), given))
    return settings
