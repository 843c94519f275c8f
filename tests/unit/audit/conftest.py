from collections.abc import Callable
from dataclasses import replace

import pytest

from llenergymeasure.audit.wiring import Wiring, wiring
from llenergymeasure.config.bindings import BoundField, walk
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import EntryPoint, Parameter, Surface

NEWEST = "5.23.0"


@pytest.fixture
def newest() -> Surface:
    return snapshots.load("pytorch", NEWEST)


@pytest.fixture(scope="session")
def sent_by_version() -> dict[str, Wiring]:
    """The wiring audit of every pinned version, to rung `sent`."""
    return {version: wiring(snapshots.load("pytorch", version)) for version in snapshots.versions("pytorch")}


@pytest.fixture
def named() -> Callable[[str], BoundField]:
    """A field by its path."""
    fields = {field.path: field for field in walk(ExperimentConfig, "pytorch")}
    return fields.__getitem__


@pytest.fixture
def changed() -> Callable[..., Surface]:
    """A surface with one parameter put in or taken out; the original stays as it is."""

    def change(surface: Surface, entry_point: str, *, put: Parameter | None = None, drop: str = "") -> Surface:
        point = surface.entry_points[entry_point]
        parameters = {name: item for name, item in point.parameters.items() if name != drop}
        if put is not None:
            parameters[put.name] = put
        made = EntryPoint(point.name, parameters, open=point.open)
        return replace(surface, entry_points={**surface.entry_points, entry_point: made})

    return change
