import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llenergymeasure.cli.surface import app
from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.surface.extract import from_wheel
from llenergymeasure.surface.model import from_json

from .package import source, wheel


def run(*arguments: str | Path) -> str:
    """Standard output; errors come out as they are raised, as the command line's own handler sees them."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_extract_prints_a_surface_and_nothing_else(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    assert from_json(run("extract", "pytorch", "--wheel", path)) == from_wheel("pytorch", path)


def test_extract_from_a_folder_into_a_file(tmp_path: Path) -> None:
    output = tmp_path / "surface.json"
    assert run("extract", "pytorch", "--source", source(tmp_path), "-o", output) == ""
    assert from_json(output.read_text(encoding="utf-8")).version == "9.1.0"


@pytest.mark.parametrize("options", [[], ["--installed", "--wheel", "x"], ["--wheel", "x", "--source", "y"]])
def test_extract_wants_one_source(options: list[str]) -> None:
    with pytest.raises(RequestError, match="one source is needed"):
        run("extract", "pytorch", *options)


def test_an_earlier_surface_stays_whole_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "surface.json"
    output.write_text("earlier")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(EnvironmentLacksError, match="No space left on device"):
        run("extract", "pytorch", "--source", source(tmp_path), "-o", output)
    assert output.read_text() == "earlier"
    assert not list(tmp_path.glob(".surface*"))


def test_an_output_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacksError, match="No such file or directory"):
        run("extract", "pytorch", "--source", source(tmp_path), "-o", tmp_path / "no" / "surface.json")


def test_diff_of_two_pinned_versions_names_the_fields_touched() -> None:
    document = json.loads(run("diff", "pytorch", "5.17.0", "5.19.0", "--format", "json"))
    renamed = [change for change in document["changes"] if change["kind"] == "renamed"]
    assert [(change["old"], change["new"]) for change in renamed] == [("block_size", "page_size")]
    assert renamed[0]["field"]


def test_diff_of_a_file_against_a_pinned_version(tmp_path: Path) -> None:
    output = tmp_path / "surface.json"
    run("extract", "pytorch", "--source", source(tmp_path), "-o", output)
    assert run("diff", "pytorch", "5.23.0", output, "--format", "md").startswith("## pytorch: 5.23.0 to 9.1.0\n")
    with pytest.raises(RequestError, match="no such surface file"):
        run("diff", "pytorch", "5.23.0", tmp_path / "none.json")


def test_the_table_is_plain_text_where_there_is_no_terminal() -> None:
    text = run("diff", "pytorch", "5.19.0", "5.23.0")
    assert "pytorch: 5.19.0 to 5.23.0" in text
    assert "\x1b" not in text


def test_reading_a_wheel_imports_no_backend(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    code = (
        "import sys, pathlib; from llenergymeasure.surface.extract import from_wheel;"
        "from_wheel('pytorch', pathlib.Path(sys.argv[1]));"
        "print(*sorted({'torch', 'transformers', 'scipy', 'pydantic'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
