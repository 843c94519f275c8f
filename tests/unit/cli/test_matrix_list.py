"""`llem matrix list`: what a scheduler fans out from."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from llenergymeasure.cli.matrix import app
from llenergymeasure.errors import RequestError

SPEC = """
[defaults.vllm]
package = "vllm"
python = "3.12"
deadline_s = 2400

[[cell]]
backend = "vllm"
version = "0.32.0"
platform = "cpu"

[[cell]]
backend = "vllm"
version = "0.33.0"
platform = "cuda"
expected = false
"""

Llem = Callable[..., Result]


@pytest.fixture
def llem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Llem:
    (tmp_path / "matrix.toml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["list", *arguments])


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["vllm-0.32.0-cpu", "vllm-0.33.0-cuda"]),
        (["--platform", "cuda"], ["vllm-0.33.0-cuda"]),
        (["--platform", "cpu"], ["vllm-0.32.0-cpu"]),
        (["--backend", "vllm", "--platform", "cpu"], ["vllm-0.32.0-cpu"]),
        (["--backend", "tensorrt"], []),
    ],
)
def test_lists_the_cells_asked_for_and_none_is_a_list(llem: Llem, arguments: list[str], names: list[str]) -> None:
    printed = llem(*arguments, "--format", "json")
    assert printed.exit_code == 0
    assert [cell["name"] for cell in json.loads(printed.stdout)] == names
    assert [line.split()[0] for line in llem(*arguments).stdout.splitlines()] == names


def test_json_is_one_line_with_all_that_a_job_needs(llem: Llem) -> None:
    printed = llem("--platform", "cuda", "--format", "json").stdout
    assert printed.count("\n") == 1
    [cell] = json.loads(printed)
    expected = {"name": "vllm-0.33.0-cuda", "backend": "vllm", "version": "0.33.0", "platform": "cuda"}
    assert cell == {**expected, "python": "3.12", "deadline_s": 2400, "expected": False}


def test_text_says_how_long_a_cell_may_run_and_which_are_on_request(llem: Llem) -> None:
    cpu, cuda = llem().stdout.splitlines()
    assert cpu.endswith("vllm 0.32.0, Python 3.12, at most 40 min")
    assert cuda.endswith("at most 40 min, on request")


def test_a_proposed_version_is_what_the_other_file_lacks(llem: Llem) -> None:
    Path("proposed.toml").write_text(SPEC.replace("0.33.0", "0.34.0"))
    printed = llem("--spec", "proposed.toml", "--not-in", "matrix.toml", "--format", "json")
    assert [cell["name"] for cell in json.loads(printed.stdout)] == ["vllm-0.34.0-cuda"]
    assert json.loads(llem("--not-in", "matrix.toml", "--format", "json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "cause", "remedy"),
    [
        (["--platform", "cudo"], "--platform cudo: there is no such platform", "did you mean cuda?"),
        (["--backend", "x"], "--backend x: there is no such backend", "choose pytorch, vllm or tensorrt"),
        (["--format", "yaml"], "--format yaml: there is no such format", "choose text or json"),
        (["--spec", "nowhere.toml"], "nowhere.toml: No such file or directory", "run it in the folder"),
        (["--not-in", "nowhere.toml"], "nowhere.toml: No such file or directory", "run it in the folder"),
    ],
)
def test_refuses_what_is_not_there(llem: Llem, arguments: list[str], cause: str, remedy: str) -> None:
    error = llem(*arguments).exception
    assert isinstance(error, RequestError)
    assert error.cause == cause
    assert error.remedy.startswith(remedy)
