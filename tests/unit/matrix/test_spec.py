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


def test_the_projects_own_cells_load() -> None:
    spec = load(Path(__file__).parents[3] / "matrix.toml")
    assert {"pytorch-4.57.6-cpu", "pytorch-5.23.0-cpu"} <= {cell.name for cell in spec.cells}


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
        (WHOLE.replace('"cpu"', '"gpu"'), "unknown platform 'gpu'", "'cpu'"),
        (WHOLE.replace('"3.12"', '"py312"'), "matrix.toml:16: 'py312' is no Python version", "3.11"),
        (WHOLE.replace("600", "0"), "deadline_s is not a number of seconds above 0", "1200"),
        (WHOLE.replace("600", "true"), "deadline_s is not a number of seconds above 0", "1200"),
        (WHOLE.replace("accelerate==1.15.0", "accelerate=1"), "'accelerate=1' is no requirement", "as pip takes it"),
        (WHOLE.replace('platform = "cpu"\n', ""), "matrix.toml:8: no platform", "[defaults.pytorch]"),
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
