import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from llenergymeasure.cli.matrix import app
from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix import host, run, runners
from llenergymeasure.matrix.records import Case, CellRecord, Outcome, read, write
from llenergymeasure.matrix.runners import base
from llenergymeasure.matrix.spec import Cell

MakeRecord = Callable[..., CellRecord]

SPEC = """
[defaults.pytorch]
package = "transformers"
platform = "cpu"
python = "3.11"

[[cell]]
backend = "pytorch"
version = "5.0.0"

[[cell]]
backend = "pytorch"
version = "5.23.0"

[[cell]]
backend = "vllm"
version = "0.33.0"
package = "vllm"
platform = "cuda"
python = "3.11"
expected = false
"""
NO_GPU = "an NVIDIA GPU, and NVML shows none"


@pytest.fixture
def llem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (tmp_path / "matrix.toml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "lacks", lambda platform: NO_GPU if platform == "cuda" else "")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord) -> list[Cell]:
    """The cells that a stand-in for the runner was asked to run; 5.0.0 is red in it."""
    cells: list[Cell] = []

    class Runner:
        name = "venv"

        def available(self) -> base.Availability:
            return base.Availability(ok=True, why="here")

        def reaches(self, _platform: str, _devices: tuple[str, ...] = ()) -> base.Availability:
            return base.Availability(ok=True, why="here")

        def run(
            self,
            cell: Cell,
            checkout: Path,
            out_dir: Path,
            _deadline_s: float,
            on_line: Callable[[str], None],
            _devices: tuple[str, ...] = (),
        ) -> CellRecord:
            assert out_dir == run.work_folder(checkout, cell) / "out"
            on_line("many words")
            cells.append(cell)
            status = Outcome.FAILED if cell.version == "5.0.0" else Outcome.PASSED
            return make_record(cell.version, backend=cell.backend, platform=cell.platform, status=status)

    monkeypatch.setattr(runners, "pick", lambda *_: (Runner(), "asked for"))
    return cells


@pytest.mark.parametrize(
    ("arguments", "versions", "code"),
    [
        ([], ["5.0.0", "5.23.0", "0.33.0"], 1),
        (["--backend", "pytorch"], ["5.0.0", "5.23.0"], 1),
        (["--backend", "vllm"], ["0.33.0"], 0),
        (["--platform", "cpu"], ["5.0.0", "5.23.0"], 1),
        (["--platform", "cuda"], ["0.33.0"], 0),
        (["--platform", "cuda", "--backend", "vllm"], ["0.33.0"], 0),
        (["pytorch-5.23.0-cpu"], ["5.23.0"], 0),
        (["pytorch-5.23.0-cpu", "pytorch-5.23.0-cpu"], ["5.23.0"], 0),
    ],
)
def test_run_runs_what_was_asked_for_and_a_red_cell_shows_in_the_exit_code(
    llem: Callable[..., Result],
    asked: list[Cell],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    versions: list[str],
    code: int,
) -> None:
    monkeypatch.setattr(host, "lacks", lambda _platform: "")
    result = llem("run", *arguments, "-o", "records")
    assert result.exit_code == code, result.output
    assert [cell.version for cell in asked] == versions
    for cell in asked:
        assert read(Path("records") / f"{cell.name}.json").runner_why == "asked for"


@pytest.mark.parametrize("arguments", [[], ["--backend", "pytorch", "--platform", "cpu"]])
@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_the_other_cells_run_and_earlier_records_stay(
    llem: Callable[..., Result], asked: list[Cell], arguments: list[str]
) -> None:
    Path("records").mkdir()
    Path("records/vllm-0.33.0-cuda.json").write_text("an earlier record")
    result = llem("run", *arguments, "-o", "records")
    assert [cell.version for cell in asked] == ["5.0.0", "5.23.0"]
    lines = [line for line in result.output.splitlines() if line.startswith("vllm-0.33.0-cuda")]
    assert [line.split(maxsplit=1)[1] for line in lines] == ([] if arguments else [f"not run  needs {NO_GPU}"])
    assert Path("records/vllm-0.33.0-cuda.json").read_text() == "an earlier record"


@pytest.mark.parametrize(
    "arguments",
    [["--backend", "vllm"], ["--platform", "cuda"], ["vllm-0.33.0-cuda"], ["pytorch-5.23.0-cpu", "vllm-0.33.0-cuda"]],
)
@pytest.mark.usefixtures("no_gpu")
def test_what_this_machine_cannot_run_is_refused_before_anything_is_installed(
    llem: Callable[..., Result], asked: list[Cell], arguments: list[str]
) -> None:
    result = llem("run", *arguments, "-o", "records")
    assert isinstance(result.exception, EnvironmentLacksError)
    assert result.exception.cause == f"not run: vllm-0.33.0-cuda: needs {NO_GPU}"
    assert not asked
    assert not Path("records").exists()
    assert not Path("build").exists()


@pytest.mark.usefixtures("asked", "no_gpu")
def test_run_prints_a_line_a_cell_and_details_only_when_asked(llem: Callable[..., Result]) -> None:
    first, *lines = llem("run", "--platform", "cpu", "-o", "records").output.splitlines()
    assert first.startswith("2 cells on runner venv (asked for)")
    assert [line.split()[:2] for line in lines] == [["pytorch-5.0.0-cpu", "failed"], ["pytorch-5.23.0-cpu", "passed"]]
    assert all(f"log: build/cells/{line.split()[0]}/out/log.txt" in line for line in lines)
    assert llem("run", "-o", "records", "-v").output.count("  many words\n") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pytorch-5.24.0-cpu"], "no cell 'pytorch-5.24.0-cpu'"),
        (["--backend", "tensorrt"], "--backend tensorrt: matrix.toml has no such cell"),
        (["--backend", "vllm", "--platform", "cpu"], "--backend vllm --platform cpu: matrix.toml has no such cell"),
        (["--platform", "gpu"], "--platform gpu: matrix.toml has no such cell"),
        (["pytorch-5.0.0-cpu", "--backend", "pytorch"], "both cells and --backend"),
        (["pytorch-5.0.0-cpu", "--platform", "cpu"], "both cells and --platform"),
        (["--spec", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_run_refuses_what_is_not_there(llem: Callable[..., Result], arguments: list[str], words: str) -> None:
    result = llem("run", *arguments)
    assert isinstance(result.exception, RequestError)
    assert words in result.exception.cause


def test_merge_writes_the_page_and_is_red_where_a_cell_is_missing(
    llem: Callable[..., Result], make_record: MakeRecord
) -> None:
    write(make_record("5.23.0"), Path("docs/records/new.json"))
    result = llem("merge")
    assert result.exit_code == 1
    assert "red: pytorch-5.0.0-cpu: missing: no record in docs/records" in result.output
    assert "missing" in Path("docs/compatibility.md").read_text()
    write(make_record("5.0.0"), Path("docs/records/old.json"))
    merged = llem("merge")
    assert merged.exit_code == 0
    assert "  not run: vllm-0.33.0-cuda: no record in docs/records" in merged.output
    assert merged.output.splitlines()[0].split() == ["fields", "of", "pytorch", "5.0.0-cpu", "5.23.0-cpu"]
    assert "missing" not in Path("docs/compatibility.md").read_text()


def test_merge_of_no_records_is_red(llem: Callable[..., Result]) -> None:
    assert llem("merge", "--records", "nowhere").exit_code == 1


def test_merge_writes_a_page_in_html_beside_it(llem: Callable[..., Result], make_record: MakeRecord) -> None:
    for version in ("5.0.0", "5.23.0"):
        write(make_record(version), Path(f"docs/records/pytorch-{version}-cpu.json"))
    merged = llem("merge", "-o", "out/page.md")
    assert merged.exit_code == 0
    assert "out/page.md, out/page.html: 2 of 3 cells passed, 0 red, 1 not run" in merged.output
    assert 'href="../docs/records/pytorch-5.0.0-cpu.json"' in Path("out/page.html").read_text()


def test_merge_takes_the_history_into_the_page(
    llem: Callable[..., Result], asked: list[Cell], make_record: MakeRecord
) -> None:
    write(make_record("5.23.0", started="2026-10-01T09:00:00+00:00"), Path("records/pytorch-5.23.0-cpu.json"))
    llem("run", "pytorch-5.23.0-cpu", "-o", "records")
    llem("merge", "--records", "records")
    assert "2 runs, 2026-11-02 to 2026-11-02" in Path("docs/compatibility.html").read_text()
    assert len(list(Path("records/history/pytorch-5.23.0-cpu").iterdir())) == len(asked) == 1


def test_run_says_where_an_earlier_record_could_not_be_kept(llem: Callable[..., Result], asked: list[Cell]) -> None:
    Path("records").mkdir()
    Path("records/pytorch-5.23.0-cpu.json").write_text('{"kind": "llenergymeasure cell record", "schema": 0}')
    output = llem("run", "pytorch-5.23.0-cpu", "-o", "records").output
    assert "the earlier record is not kept: records/pytorch-5.23.0-cpu.json: record schema 0" in output
    assert asked


@pytest.mark.parametrize("text", ['{"kind": "llenergymeasure cell record", "schema": 0}', "{", "[]"])
@pytest.mark.parametrize("place", ["docs/records/b.json", "docs/records/history/pytorch-5.0.0-cpu/b.json"])
def test_a_record_that_cannot_be_read_leaves_the_pages_as_they_were(
    llem: Callable[..., Result], make_record: MakeRecord, place: str, text: str
) -> None:
    write(make_record("5.0.0"), Path("docs/records/a.json"))
    llem("merge")
    pages = {path: path.read_bytes() for path in Path("docs").glob("compatibility.*")}
    assert len(pages) == 2
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    Path(place).write_text(text)
    result = llem("merge")
    assert isinstance(result.exception, RequestError)
    assert result.exception.cause.startswith(f"{place}: ")
    assert result.exception.remedy
    assert {path: path.read_bytes() for path in Path("docs").glob("compatibility.*")} == pages


def test_ctrl_c_leaves_the_pages_as_they_were(
    llem: Callable[..., Result], make_record: MakeRecord, tmp_path: Path
) -> None:
    write(make_record("5.0.0"), Path("docs/records/a.json"))
    llem("merge")
    pages = {path: path.read_bytes() for path in Path("docs").iterdir() if path.is_file()}
    # Reading waits for who would write into it: so the interrupt comes in the middle, on any machine.
    os.mkfifo("docs/records/b.json")
    argv = [sys.executable, "-m", "llenergymeasure.cli", "matrix", "merge"]
    process = subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    with open("docs/records/b.json", "w"):  # noqa: PTH123 - returns once the other side reads
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "interrupted; no page is half written\n"
    assert {path: path.read_bytes() for path in Path("docs").iterdir() if path.is_file()} == pages


def test_the_page_in_html_is_no_name_for_the_other(llem: Callable[..., Result]) -> None:
    assert isinstance(llem("merge", "-o", "page.html").exception, RequestError)


def test_diff_lists_changes_and_fails_on_a_regression(llem: Callable[..., Result], make_record: MakeRecord) -> None:
    write(make_record(tests={"a": Case(Outcome.PASSED), "old": Case(Outcome.PASSED)}), Path("old.json"))
    write(make_record(tests={"a": Case(Outcome.FAILED, reason="why"), "new": Case(Outcome.PASSED)}), Path("new.json"))
    result = llem("diff", "old.json", "new.json")
    assert result.exit_code == 1
    assert "regressed    a: passed -> failed  why" in result.output
    assert "1 regressed, 1 disappeared, 0 improved, 1 appeared, 0 unchanged" in result.output
    Path("renames.json").write_text('{"old": "new"}')
    result = llem("diff", "old.json", "new.json", "--renames", "renames.json", "--format", "json")
    assert [row["kind"] for row in json.loads(result.stdout)] == ["regressed", "unchanged"]
    assert llem("diff", "new.json", "new.json").exit_code == 0


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}'])
def test_diff_refuses_renames_that_are_none(llem: Callable[..., Result], make_record: MakeRecord, text: str) -> None:
    write(make_record(), Path("a.json"))
    Path("renames.json").write_text(text)
    assert isinstance(llem("diff", "a.json", "a.json", "--renames", "renames.json").exception, RequestError)


@pytest.mark.parametrize(
    ("devices", "words"),
    [("2", "no GPU 2 here"), ("0,7", "no GPU 7 here"), ("GPU-1", ""), ("1", "")],
)
@pytest.mark.usefixtures("asked")
def test_gpus_that_are_not_there_are_refused_with_those_that_are(
    llem: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, devices: str, words: str
) -> None:
    monkeypatch.setattr(host, "lacks", lambda _platform: "")
    monkeypatch.setattr(host, "devices", lambda: ("0", "1"))
    result = llem("run", "vllm-0.33.0-cuda", "-o", "records", "--devices", devices)
    if words:
        assert isinstance(result.exception, EnvironmentLacksError)
        assert words in result.exception.cause
        assert "the GPUs are 0, 1" in result.exception.remedy
    else:
        assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("asked")
def test_options_that_would_be_ignored_are_refused(llem: Callable[..., Result]) -> None:
    for arguments, words in (
        (["--image", "x", "pytorch-5.0.0-cpu"], "--image: runner venv has no containers"),
        (["--keep", "pytorch-5.0.0-cpu"], "--keep: runner venv has no containers"),
        (["--image", "x", "--platform", "cpu"], "--image x: one image for 2 cells"),
        (["--devices", "0", "--platform", "cpu"], "--devices 0: none of these cells is on cuda"),
        (["--devices", "one", "vllm-0.33.0-cuda"], "'one' is no GPU"),
    ):
        exception = llem("run", *arguments).exception
        assert isinstance(exception, RequestError)
        assert words in exception.cause
