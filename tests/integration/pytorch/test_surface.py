"""What a snapshot says and what the installed transformers accepts are one."""

import importlib.util
import inspect
from dataclasses import replace
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from llenergymeasure.surface import snapshots  # noqa: E402
from llenergymeasure.surface.extract import from_source  # noqa: E402
from llenergymeasure.surface.live import compare, from_installed  # noqa: E402
from llenergymeasure.surface.model import EntryPoint, Parameter, Surface  # noqa: E402


@pytest.fixture(scope="module")
def live() -> Surface:
    return from_installed("pytorch")


def test_static_and_live_agree_on_names_and_defaults(live: Surface) -> None:
    assert compare(snapshots.installed("pytorch"), live) == []


def test_the_installed_source_gives_the_snapshot(live: Surface) -> None:
    if live.version not in snapshots.versions("pytorch"):
        pytest.skip(f"transformers {live.version} has no snapshot")
    read = from_source("pytorch", Path(transformers.__file__).parent)
    pinned = snapshots.load("pytorch", live.version, "transformers")
    assert read.entry_points == pinned.entry_points


def test_every_name_that_a_generation_config_holds_is_known(live: Surface) -> None:
    held = {name for name in vars(transformers.GenerationConfig()) if not name.startswith("_")}
    source = inspect.getsource(transformers.GenerationConfig.__init__)
    fixed = {name for name in held if f'"{name}"' not in source}
    assert fixed <= {"is_assistant"}  # set by generate() itself before it became a parameter
    assert len(held) > 50
    assert held - fixed <= live.entry_points["transformers.GenerationConfig"].parameters.keys()


def test_a_name_or_default_that_one_side_lacks_is_found(live: Surface) -> None:
    """The comparison can fail: each of the two ways is shown on the real surface."""
    point = live.entry_points["transformers.CompileConfig"]
    mode = point.parameters["mode"]
    without = {name: parameter for name, parameter in point.parameters.items() if name != "mode"}
    other = point.parameters | {"mode": replace(mode, default="eager")}
    assert compare(live, _changed(live, point.name, without)) == [f"{point.name} mode: only static"]
    assert compare(live, _changed(live, point.name, other)) == [
        f"{point.name} mode: default static {mode.default!r}, live 'eager'"
    ]


def _changed(surface: Surface, name: str, parameters: dict[str, Parameter]) -> Surface:
    return replace(surface, entry_points=surface.entry_points | {name: EntryPoint(name, parameters)})


def test_companions_that_are_installed_are_read(live: Surface) -> None:
    assert "torch.compile" in live.entry_points
    has_torchao = importlib.util.find_spec("torchao") is not None
    assert ("torchao.quantization.Int4WeightOnlyConfig" in live.entry_points) is has_torchao
