import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import EntryPoint, Parameter, Surface

Plant = Callable[..., Surface]


@pytest.fixture
def old() -> Surface:
    return snapshots.load("pytorch", "5.23.0")


@pytest.fixture
def plant(old: Surface) -> Plant:
    """The pinned surface as a later version, with parameters of one entry point put in, or taken out (None)."""

    def planted(entry_point: str, parameters: Mapping[str, Parameter | None]) -> Surface:
        known = old.entry_points[entry_point].parameters | dict(parameters)
        kept = {name: replace(item, name=name) for name, item in known.items() if item is not None}
        points = old.entry_points | {entry_point: EntryPoint(entry_point, kept)}
        return replace(old, version="9.0.0", entry_points=points)

    return planted


@pytest.fixture
def make_wheel() -> Callable[..., Path]:
    """A wheel that holds nothing but its metadata."""

    def make(folder: Path, name: str = "transformers-9.0.0-py3-none-any.whl", *lines: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        distribution, version = name.split("-")[:2]
        metadata = "\n".join(["Metadata-Version: 2.4", f"Name: {distribution}", f"Version: {version}", *lines])
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr(f"{distribution}-{version}.dist-info/METADATA", metadata + "\n")
        return folder / name

    return make
