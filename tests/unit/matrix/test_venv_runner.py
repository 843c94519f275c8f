"""The runner with a stand-in for the program inside the cell: whatever that does, a record comes back."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix import runners
from llenergymeasure.matrix.records import CellRecord, Outcome, read
from llenergymeasure.matrix.runners import base, venv
from llenergymeasure.matrix.runners.venv import VenvRunner
from llenergymeasure.matrix.spec import Cell

PART = {
    "finished": True,
    "audits": {"coverage": {"outcome": "passed", "reason": "", "report": {}}},
    "tests": {"t.py::test_a": {"outcome": "passed", "duration_s": 0.5}},
    "problems": [],
    "packages": {"torch": "2.13.0+cpu"},
    "python": "3.11.2",
    "platform": "Linux x86_64",
    "host": {"cpu": "c", "cores": 2, "memory_bytes": 1, "gpus": [], "driver": None},
}
PRELUDE = """
import json, os, signal, sys, time
from pathlib import Path
out = Path(sys.argv[3])
def part(**changes):
    (out / "part.json").write_text(json.dumps({**PART, **changes}))
def journal(*events):
    (out / "journal.jsonl").write_text("".join(json.dumps(event) + "\\n" for event in events))
"""

RunCell = Callable[..., CellRecord]


@pytest.fixture
def run_cell(cell: Cell, checkout: Path, tmp_path: Path) -> RunCell:
    def run(code: str, deadline_s: float = 60) -> CellRecord:
        program = tmp_path / "program.py"
        program.write_text(f"PART = {PART!r}\n{PRELUDE}\n{code}")
        runner = VenvRunner(python=lambda *_: Path(sys.executable), program=(str(program),), grace_s=0.3)
        record = runner.run(cell, checkout, tmp_path / "out", deadline_s, lambda _: None)
        assert read(tmp_path / "out" / "record.json") == record
        return record

    return run


def test_a_clean_run_is_passed(run_cell: RunCell, cell: Cell) -> None:
    record = run_cell("part()")
    assert (record.status, record.reason, record.runner, record.cell) == (Outcome.PASSED, "", "venv", cell)
    assert record.tests["t.py::test_a"].outcome is Outcome.PASSED
    assert record.packages == {"torch": "2.13.0+cpu"}
    assert record.image_digest is None


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("", Outcome.ERROR, "ended with 0 and left no whole result"),
        ("sys.exit(7)", Outcome.ERROR, "ended with 7 and left no whole result"),
        ("(out / 'part.json').write_text('{\"finished\": tr')", Outcome.ERROR, "left no whole result"),
        ("(out / 'part.json').write_text('[]')", Outcome.ERROR, "part.json is not an object"),
        ("part(finished=False)", Outcome.ERROR, "it is not finished"),
        ("part(tests={})", Outcome.ERROR, ""),
        ("part(problems=['no test ran'])", Outcome.ERROR, "no test ran"),
        ("part(); os.kill(os.getpid(), signal.SIGSEGV)", Outcome.CRASH, "SIGSEGV"),
        ("part(tests={'a': {'outcome': 'failed', 'duration_s': 1}}); sys.exit(1)", Outcome.FAILED, ""),
        ("part(audits={'wiring': {'outcome': 'error', 'reason': 'r', 'report': None}})", Outcome.ERROR, ""),
        ("part(tests={'a': {'outcome': 'skipped', 'duration_s': 0}})", Outcome.PASSED, ""),
    ],
)
def test_however_it_ends_the_record_says_so(run_cell: RunCell, code: str, status: Outcome, reason: str) -> None:
    record = run_cell(code)
    assert record.status is status
    assert reason in record.reason


JOURNAL = """
journal({"collected": ["t.py::a", "t.py::b", "t.py::c"]}, {"start": "t.py::a"},
        {"report": "t.py::a", "outcome": "passed", "duration_s": 1, "proves": [["p.x", "observed"]], "reason": ""},
        {"end": "t.py::a"}, {"start": "t.py::b"})
part(finished=False, tests={})
"""


@pytest.mark.parametrize("stubborn", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_past_its_deadline_the_test_that_hung_is_named(run_cell: RunCell, stubborn: str) -> None:
    record = run_cell(f"{stubborn}\n{JOURNAL}\ntime.sleep(600)", deadline_s=1.5)
    outcomes = {name: case.outcome for name, case in record.tests.items()}
    assert outcomes == {"t.py::a": Outcome.PASSED, "t.py::b": Outcome.TIMEOUT, "t.py::c": Outcome.SKIPPED}
    assert record.tests["t.py::a"].proves == (("p.x", "observed"),)
    assert record.status is Outcome.TIMEOUT
    assert "1.5 s" in record.reason
    assert record.audits  # what was found before it hung stays


def test_a_crash_names_the_test_it_died_in(run_cell: RunCell) -> None:
    record = run_cell(f"{JOURNAL}\nos.kill(os.getpid(), signal.SIGKILL)")
    assert record.tests["t.py::b"].outcome is Outcome.CRASH
    assert record.status is Outcome.CRASH


def test_what_an_earlier_run_left_is_not_read(run_cell: RunCell) -> None:
    assert run_cell("part()").status is Outcome.PASSED
    assert run_cell("").status is Outcome.ERROR


def test_an_interrupted_run_leaves_its_record(run_cell: RunCell, tmp_path: Path) -> None:
    def interrupt() -> None:
        while not (tmp_path / "out" / "part.json").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_cell("part(finished=False); time.sleep(600)")
    thread.join()
    record = read(tmp_path / "out" / "record.json")
    assert (record.status, record.reason) == (Outcome.ERROR, "interrupted")
    assert record.audits


def test_the_log_is_kept_in_full(run_cell: RunCell, tmp_path: Path) -> None:
    run_cell("print('first'); print('last', file=sys.stderr); part()")
    assert set((tmp_path / "out" / "log.txt").read_text().split()) == {"first", "last"}


def test_an_environment_that_cannot_be_made_is_a_record(cell: Cell, checkout: Path, tmp_path: Path) -> None:
    def fail(*_: object) -> Path:
        raise EnvironmentLacksError("no python3.99", "install it")

    record = VenvRunner(python=fail).run(cell, checkout, tmp_path / "out", 60, lambda _: None)
    assert (record.status, record.reason) == (Outcome.ERROR, "no python3.99; install it")
    assert record.host.cores


def test_two_runs_of_one_cell_do_not_mix(cell: Cell, checkout: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    with venv._alone(out_dir), pytest.raises(RequestError, match="another run of this cell is under way"):
        VenvRunner().run(cell, checkout, out_dir, 60, lambda _: None)


def test_the_commit_is_recorded_and_what_a_run_writes_is_no_change(cell: Cell, checkout: Path, tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        options = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *options, *arguments], cwd=checkout, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "first")
    begun = base.start(cell, "venv", "", checkout)
    assert (begun.commit, begun.dirty) == (git("rev-parse", "HEAD"), False)
    (checkout / "docs" / "records").mkdir(parents=True)
    (checkout / "docs" / "records" / "a.json").write_text("{}")
    assert base.start(cell, "venv", "", checkout).dirty is False
    (checkout / "new.py").write_text("")
    assert base.start(cell, "venv", "", checkout).dirty is True


def test_without_git_there_is_no_commit(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    begun = base.start(cell, "venv", "", tmp_path)
    assert (begun.commit, begun.dirty) == (None, None)


def test_the_callers_environment_does_not_leak_into_a_cell(tmp_path: Path) -> None:
    outer = {
        "PYTHONPATH": "/x",
        "VIRTUAL_ENV": "/y",
        "PYTEST_ADDOPTS": "-x",
        "HOME": "/h",
        "HF_HUB_OFFLINE": "0",
        "PATH": "/b",
    }
    inner = venv.cell_environment(outer, tmp_path / "bin" / "python")
    assert not {"PYTHONPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS"} & set(inner)
    assert inner["HF_HUB_OFFLINE"] == inner["TRANSFORMERS_OFFLINE"] == "1"
    assert inner["PATH"].split(os.pathsep) == [str(tmp_path / "bin"), "/b"]


def test_the_running_python_serves_where_its_version_fits() -> None:
    assert venv.find_python(f"{sys.version_info.major}.{sys.version_info.minor}") == (sys.executable,)


def test_a_python_that_is_not_there_is_named() -> None:
    with pytest.raises(EnvironmentLacksError) as caught:
        venv.find_python("3.99")
    assert "Python 3.99" in caught.value.cause
    assert "install python3.99" in caught.value.remedy


def test_a_shim_that_refuses_to_run_is_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EnvironmentLacksError):
        venv.find_python("3.99")


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
            raise venv._InstallError("pip install failed", "see setup.log", self._words)


WITH_INDEX = Cell("pytorch", "5.23.0", "transformers", "cpu", "3.11", "2.13.0", torch_index="https://index.invalid/cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="CPU builds of torch have a name of their own on Linux only")
def test_the_cpu_build_is_taken_from_where_pip_looks_anyway() -> None:
    setup, said = FakeSetup(lambda _: True), []
    venv._install_torch(WITH_INDEX, setup, said.append)
    assert setup.calls == [["torch==2.13.0+cpu"]]
    assert "pip's own configuration" in said[0]


def test_the_index_is_asked_only_where_nothing_was_found() -> None:
    setup, said = FakeSetup(lambda arguments: "--index-url" in arguments), []
    venv._install_torch(WITH_INDEX, setup, said.append)
    assert setup.calls[-1][1:] == ["--index-url", "https://index.invalid/cpu"]
    assert "https://index.invalid/cpu" in said[-1]


def test_another_failure_does_not_ask_the_index() -> None:
    setup = FakeSetup(lambda _: False, "ERROR: No space left on device")
    with pytest.raises(venv._InstallError):
        venv._install_torch(WITH_INDEX, setup, lambda _: None)
    assert len(setup.calls) == 1


@pytest.mark.parametrize(("cuda", "hip"), [("13.0", None), (None, "7.1")])
def test_a_gpu_build_on_a_cpu_cell_is_refused(cell: Cell, cuda: str | None, hip: str | None) -> None:
    class Installed:
        def ask(self, _code: str) -> str:
            return json.dumps(["2.13.0", cuda, hip])

    with pytest.raises(EnvironmentLacksError) as caught:
        venv._check_platform(cell, Installed())
    assert "build for GPUs" in caught.value.cause
    assert "LLEM_WHEELHOUSE" in caught.value.remedy


def test_a_wheelhouse_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLEM_WHEELHOUSE", str(tmp_path))
    assert venv._wheelhouse() == ["--find-links", str(tmp_path)]
    monkeypatch.setenv("LLEM_WHEELHOUSE", str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match="LLEM_WHEELHOUSE"):
        venv._wheelhouse()


def test_an_environment_is_made_anew_when_what_it_is_made_of_changes(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text('[project]\ndependencies = ["rich"]\n[tool.ruff]\nline-length = 120\n')
    python = [sys.executable]
    key = venv._key(WITH_INDEX, checkout, python)
    (checkout / "pyproject.toml").write_text('[project]\ndependencies = ["rich"]\n[tool.ruff]\nline-length = 99\n')
    assert venv._key(WITH_INDEX, checkout, python) == key
    (checkout / "pyproject.toml").write_text('[project]\ndependencies = ["rich", "typer"]\n')
    assert venv._key(WITH_INDEX, checkout, python) != key


def test_the_runner_is_picked_with_a_reason() -> None:
    runner, why = runners.pick(None)
    assert (runner.name, why) == ("venv", "a virtual environment needs no container daemon")
    assert runners.pick("venv")[1] == "asked for"
    with pytest.raises(RequestError, match="did you mean 'venv'"):
        runners.pick("vnv")
