"""The package itself: light to import, typed, and no name that is promised and missing."""

import subprocess
import sys
from importlib.resources import files

import pytest

import llenergymeasure

HEAVY = (
    "torch",
    "transformers",
    "scipy",
    "pydantic",
    "numpy",
    "vllm",
    "tensorrt_llm",
    "yaml",
    "lxml",
    "jinja2",
    "rich",
)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import llenergymeasure", id="import"),
        pytest.param(
            "import sys; sys.argv = ['llem', '--help']; from llenergymeasure.cli import main; main()", id="help"
        ),
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    report = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    loaded = set(ended.stderr.split())
    assert "llenergymeasure" in loaded
    assert loaded & set(HEAVY) == set()


@pytest.mark.parametrize("name", llenergymeasure.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(llenergymeasure, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        llenergymeasure.nothing  # noqa: B018


def test_type_checkers_see_the_types() -> None:
    assert (files("llenergymeasure") / "py.typed").is_file()
