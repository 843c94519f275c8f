"""The runner with a stand-in for the program inside the cell: whatever that does, a record comes back."""

import dataclasses
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
from llenergymeasure.matrix.spec import RUNNERS_OWN, Cell

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
def cell(cell: Cell) -> Cell:
    return dataclasses.replace(cell, environment={"VLLM_NO_USAGE_STATS": "1"})


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


@pytest.mark.parametrize("tests", [(), ("t.py::test_a[x y]", "t.py::test_b")])
def test_chosen_tests_reach_the_program_as_its_own_arguments(
    cell: Cell, checkout: Path, tmp_path: Path, tests: tuple[str, ...]
) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"PART = {PART!r}\n{PRELUDE}\npart(python=json.dumps(sys.argv[4:]))")
    runner = VenvRunner(python=lambda *_: Path(sys.executable), program=(str(program),))
    record = runner.run(cell, checkout, tmp_path / "out", 60, lambda _: None, tests=tests)
    assert json.loads(record.python) == (["--test", *tests] if tests else [])


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("", Outcome.ERROR, "ended with 0 and left no whole result"),
        ("sys.exit(7)", Outcome.ERROR, "ended with 7 and left no whole result"),
        ("(out / 'part.json').write_text('{\"finished\": tr')", Outcome.ERROR, "left no whole result"),
        ("(out / 'part.json').write_text('[]')", Outcome.ERROR, "part.json is not an object"),
        ("(out / 'part.json').write_text('[' * 200000)", Outcome.ERROR, "left no whole result"),
        ("part(finished=False)", Outcome.ERROR, "it is not finished"),
        ("part(tests={'a': 5})", Outcome.ERROR, "part.json is not what the cell's program writes"),
        ("part(tests={'a': {'outcome': 'green', 'duration_s': 1}})", Outcome.ERROR, "not what the cell's program"),
        ("part(tests={'a': {'outcome': 'passed', 'duration_s': 'x'}})", Outcome.ERROR, "not what the cell's program"),
        ("part(audits=[]); os.abort()", Outcome.CRASH, "ended by SIGABRT; part.json is not what"),
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


def test_the_gpus_that_a_cell_was_given_are_all_that_it_sees(cell: Cell, checkout: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])")
    runner = VenvRunner(python=lambda *_: Path(sys.executable), program=(str(program),))
    runner.run(cell, checkout, tmp_path / "out", 60, lambda _: None, ("1", "3"))
    assert (tmp_path / "out" / "log.txt").read_text() == "1,3\n"


def test_two_runs_of_one_cell_do_not_mix(cell: Cell, checkout: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    with base.alone(out_dir), pytest.raises(RequestError, match="another run of this cell is under way"):
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
        "VLLM_USE_V1": "0",
        "VLLM_CPU_KVCACHE_SPACE": "40",
    }
    inner = venv.cell_environment(outer, tmp_path / "bin" / "python", {"VLLM_CPU_KVCACHE_SPACE": "1", "ONLY_HERE": ""})
    assert not {"PYTHONPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "VLLM_USE_V1"} & set(inner)
    assert inner["HF_HUB_OFFLINE"] == inner["TRANSFORMERS_OFFLINE"] == "1"
    assert inner["PATH"].split(os.pathsep) == [str(tmp_path / "bin"), "/b"]
    assert (inner["HOME"], inner["VLLM_CPU_KVCACHE_SPACE"], inner["ONLY_HERE"]) == ("/h", "1", "")


def test_what_a_runner_sets_or_drops_is_what_a_cell_may_not_pin(tmp_path: Path) -> None:
    inner = venv.cell_environment(dict.fromkeys(RUNNERS_OWN, "theirs"), tmp_path / "python", {})
    assert "theirs" not in inner.values()
    assert set(venv.cell_environment({}, tmp_path / "python", {})) <= set(RUNNERS_OWN)


def test_the_cells_variables_reach_its_program_and_its_record(
    run_cell: RunCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    record = run_cell("part(python=json.dumps({k: v for k, v in os.environ.items() if k.startswith('VLLM_')}))")
    assert json.loads(record.python) == dict(record.cell.environment) == {"VLLM_NO_USAGE_STATS": "1"}


def test_the_runner_is_picked_with_a_reason() -> None:
    runner, why = runners.pick(None)
    assert (runner.name, why) == ("venv", "a virtual environment needs no container daemon")
    assert runners.pick("venv")[1] == "asked for"
    with pytest.raises(RequestError, match="did you mean 'venv'"):
        runners.pick("vnv")
