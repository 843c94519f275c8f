import importlib.metadata
import json
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.version import Version

from llenergymeasure.config import renames as renames_module
from llenergymeasure.config.renames import Rename, new_name, old_name, renames
from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import DEPRECATED, IGNORED, to_json
from llenergymeasure.surface.snapshots import installed, load, versions

LOADING = "transformers.AutoModelForCausalLM.from_pretrained"
PINNED = versions("pytorch")


def test_versions_are_in_order_of_release() -> None:
    assert PINNED == ["4.57.6", "5.0.0", "5.17.0", "5.19.0", "5.23.0"]


def test_versions_are_numbers_not_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pytorch").mkdir()
    for name in ("5.10.0.json", "5.9.0.json", "renames.toml"):
        (tmp_path / "pytorch" / name).touch()
    monkeypatch.setattr(snapshots, "_DATA", tmp_path)
    assert versions("pytorch") == ["5.9.0", "5.10.0"]


@pytest.mark.parametrize("version", PINNED)
def test_a_snapshot_is_written_as_the_extraction_writes_it(version: str) -> None:
    text = (files("llenergymeasure.surface") / "data" / "pytorch" / f"{version}.json").read_text(encoding="utf-8")
    assert to_json(load("pytorch", version, "transformers")) == text
    assert json.loads(text)["provenance"].keys() == {"method", "wheel", "sha256", "date"}


@pytest.mark.parametrize("version", PINNED)
def test_companions_stand_beside_the_backends_own_entry_points(version: str) -> None:
    points = load("pytorch", version).entry_points
    assert {"torch.compile", "torch.autocast", "torchao.quantization.Int4WeightOnlyConfig", LOADING} <= points.keys()


@pytest.mark.parametrize(
    ("version", "entry_point", "name", "expected"),
    [
        ("5.23.0", LOADING, "dtype", "auto"),
        ("5.23.0", LOADING, "revision", "main"),
        ("5.23.0", "transformers.GenerationConfig", "top_k", 50),
        ("4.57.6", "transformers.GenerationConfig", "top_k", 50),
        ("5.23.0", "transformers.GenerationConfig", "num_beams", 1),
        ("5.23.0", "transformers.QuantizedCache", "backend", "quanto"),
        ("5.23.0", "transformers.QuantizedCache", "nbits", 4),
        ("4.57.6", "transformers.QuantizedCache", "nbits", 4),
        ("5.23.0", "transformers.HqqConfig", "axis", 1),
        ("5.23.0", "transformers.AwqConfig", "backend", "auto"),
        ("5.23.0", "transformers.BitsAndBytesConfig", "bnb_4bit_compute_dtype", {"expr": "torch.float32"}),
        ("5.23.0", "transformers.distributed.DistributedConfig", "tp_size", 1),
        ("5.23.0", "torch.compile", "backend", "inductor"),
        ("5.23.0", "torch.compile", "mode", "default"),
    ],
)
def test_real_defaults(version: str, entry_point: str, name: str, expected: object) -> None:
    parameter = load("pytorch", version).find(entry_point, name)
    assert parameter is not None
    assert parameter.effective_default == expected


@pytest.mark.parametrize(
    ("version", "name", "status"),
    [
        ("4.57.6", "torch_dtype", DEPRECATED),
        ("5.23.0", "torch_dtype", DEPRECATED),
        ("5.23.0", "tp_plan", DEPRECATED),
        ("5.0.0", "low_cpu_mem_usage", IGNORED),
        ("5.23.0", "mirror", IGNORED),
        ("5.23.0", "load_in_8bit", None),
        ("4.57.6", "load_in_8bit", DEPRECATED),
        ("5.23.0", "attn_implementation", "active"),
        ("4.57.6", "experts_implementation", None),
        ("5.0.0", "experts_implementation", "active"),
    ],
)
def test_standing_of_a_loading_parameter(version: str, name: str, status: str | None) -> None:
    parameter = load("pytorch", version).find(LOADING, name)
    assert (parameter.status if parameter else None) == status


def test_private_names_are_left_out() -> None:
    names = {parameter.name for version in PINNED for _, parameter in load("pytorch", version).parameters()}
    assert not [name for name in names if name.startswith("_")]
    assert "self" not in names
    assert "kwargs" not in names


def test_an_unknown_version_names_those_that_are_there() -> None:
    with pytest.raises(RequestError) as caught:
        load("pytorch", "5.18.0")
    assert "the nearest older one is 5.17.0" in caught.value.cause
    assert "5.23.0" in caught.value.remedy
    with pytest.raises(RequestError, match=r"the oldest is 4\.57\.6"):
        load("pytorch", "4.0.0")
    with pytest.raises(RequestError, match="did you mean torchao"):
        load("pytorch", "5.23.0", "torcho")


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(snapshots.importlib.metadata, "version", missing)
    with pytest.raises(EnvironmentLacksError) as caught:
        installed("pytorch")
    assert caught.value.remedy == 'pip install "llenergymeasure[pytorch]"'


def test_a_local_version_suffix_does_not_hide_the_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"transformers": "5.23.0+cpu", "torch": "2.13.0+cpu"}
    monkeypatch.setattr(snapshots.importlib.metadata, "version", lambda name: _known(here, name))
    assert installed("pytorch").entry_points == load("pytorch", "5.23.0").entry_points


def test_a_companion_of_another_version_is_read_from_its_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "torch"
    (package / "amp").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "def compile(model, *, older_option=3): ...\ndef set_float32_matmul_precision(precision): ...\n"
    )
    (package / "amp" / "autocast_mode.py").write_text(
        "class autocast:\n    def __init__(self, device_type, dtype=None): ...\n"
    )
    (package / "version.py").write_text('__version__ = "2.9.0"\n')
    here = {"transformers": "5.23.0", "torch": "2.9.0"}
    monkeypatch.setattr(snapshots.importlib.metadata, "version", lambda name: _known(here, name))
    spec = SimpleNamespace(origin=str(package / "__init__.py"))
    monkeypatch.setattr(snapshots.importlib.util, "find_spec", lambda name: spec)
    found = installed("pytorch")
    assert list(found.entry_points["torch.compile"].parameters) == ["model", "older_option"]
    assert found.provenance["torch"] == "2.9.0"
    assert found.find("transformers.GenerationConfig", "num_beams")


def _known(here: dict[str, str], name: str) -> str:
    if name not in here:
        raise importlib.metadata.PackageNotFoundError(name)
    return here[name]


@pytest.mark.parametrize("row", renames("pytorch"), ids=lambda row: f"{row.entry_point}-{row.old}")
def test_a_rename_is_seen_in_the_snapshots(row: Rename) -> None:
    surfaces = {version: load("pytorch", version) for version in PINNED}
    after = [surface for version, surface in surfaces.items() if Version(version) >= Version(row.since)]
    with_old = [version for version, surface in surfaces.items() if surface.find(row.entry_point, row.old)]
    assert after
    assert all(surface.find(row.entry_point, row.new) for surface in after)
    assert with_old
    before = [version for version in PINNED if Version(version) < Version(row.since)]
    # What no pinned version has under the old name alone must at least be marked as the lesser one.
    assert any(version in with_old for version in before) or all(
        parameter.status == DEPRECATED for s in after if (parameter := s.find(row.entry_point, row.old))
    )


def test_names_are_followed_both_ways() -> None:
    batching = "transformers.ContinuousBatchingConfig"
    assert new_name("pytorch", batching, "block_size") == "page_size"
    assert old_name("pytorch", batching, "page_size") == "block_size"
    assert new_name("pytorch", batching, "page_size") is None
    assert new_name("pytorch", LOADING, "torch_dtype") == "dtype"
    assert new_name("pytorch", "transformers.CompileConfig", "block_size") is None


def test_a_name_changed_twice_is_followed_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (Rename("lib.f", "a", "b", "1.0"), Rename("lib.f", "b", "c", "2.0"))
    monkeypatch.setattr(renames_module, "renames", lambda backend: rows)
    assert new_name("pytorch", "lib.f", "a") == "c"
    assert old_name("pytorch", "lib.f", "c") == "b"
