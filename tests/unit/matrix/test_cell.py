"""The program inside a cell, with real pytest on a small suite and a stand-in for `llem`."""

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from llenergymeasure.matrix import cell as program
from llenergymeasure.matrix.cell import scrub

GOOD = "import json; print(json.dumps({'fields': {}}))"


@pytest.fixture
def suite(checkout: Path) -> Path:
    folder = checkout / "tests" / "integration" / "pytorch"
    folder.mkdir(parents=True)
    # Not a test of this project: nothing above it may configure it.
    (checkout / "pytest.ini").write_text("[pytest]\n")
    return folder


def run(checkout: Path, out_dir: Path, llem: str = GOOD) -> program.Part:
    out_dir.mkdir()
    part = program.run("pytorch", checkout, out_dir, [sys.executable, "-c", llem])
    # Read back through the file: that is what the runner sees.
    assert json.loads((out_dir / "part.json").read_text())["finished"] is True
    return part


def test_both_audits_and_the_tests_are_in_the_part(suite: Path, checkout: Path, tmp_path: Path) -> None:
    (suite / "test_a.py").write_text("def test_a(): pass\nclass TestK:\n    def test_b(self): assert 1 == 2\n")
    part = run(checkout, tmp_path / "out")
    assert {name: row["outcome"] for name, row in part["audits"].items()} == {"coverage": "passed", "wiring": "passed"}
    outcomes = {name: row["outcome"] for name, row in part["tests"].items()}
    path = "tests/integration/pytorch/test_a.py"
    assert outcomes == {f"{path}::test_a": "passed", f"{path}::TestK::test_b": "failed"}
    assert part["problems"] == []
    assert part["packages"]["pytest"]


def test_the_audits_are_asked_about_what_is_installed(suite: Path, checkout: Path, tmp_path: Path) -> None:
    part = run(checkout, tmp_path / "out", "import json, sys; print(json.dumps({'asked': sys.argv[1:]}))")
    asked = {name: row["report"]["asked"] for name, row in part["audits"].items()}
    assert asked["coverage"] == ["audit", "coverage", "pytorch", "--installed", "--format", "json"]
    assert asked["wiring"][:8] == [
        "audit",
        "wiring",
        "pytorch",
        "--rung",
        "accepted",
        "--installed",
        "--format",
        "json",
    ]


def test_chosen_tests_run_by_themselves_and_without_audits(suite: Path, checkout: Path, tmp_path: Path) -> None:
    path = "tests/integration/pytorch/test_a.py"
    (suite / "test_a.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('value', ['a b', 'c-d/e', 'x::y'])\n"
        "def test_a(value): pass\n"
        "class TestK:\n    def test_b(self): assert 1 == 2\n    def test_c(self): pass\n"
    )
    (suite / "test_other.py").write_text("raise SystemExit('not asked for')\n")
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    chosen = [f"{path}::test_a[a b]", f"{path}::test_a[x::y]", f"{path}::TestK::test_b"]
    part = program.run("pytorch", checkout, out_dir, [str(tmp_path / "no-llem")], chosen)
    assert {name: row["outcome"] for name, row in part["tests"].items()} == dict(
        zip(chosen, ["passed", "passed", "failed"], strict=True)
    )
    assert (part["audits"], part["problems"]) == ({}, [])


@pytest.mark.parametrize(
    ("llem", "outcome", "reason"),
    [
        ("", "error", "gave no JSON"),
        ("print('[]')", "error", "no object"),
        ("print('{}'); raise SystemExit(2)", "error", "exit code 2"),
        ("raise SystemExit('first\\nlast words')", "error", "last words"),
        ("print('{}'); raise SystemExit(3)", "error", "exit code 3"),
        ("import os; os.kill(os.getpid(), 6)", "crash", "SIGABRT"),
        (
            "print('{\"a\": 1}'); raise SystemExit('error: num_beams is lost')",
            "failed",
            "1 findings: error: num_beams is lost",
        ),
    ],
)
def test_an_audit_is_green_only_with_its_report(
    suite: Path, tmp_path: Path, llem: str, outcome: str, reason: str
) -> None:
    row = run(tmp_path / "checkout", tmp_path / "out", llem)["audits"]["wiring"]
    assert row["outcome"] == outcome
    assert reason in row["reason"]
    assert (row["report"] is not None) == (outcome == "failed")


def test_an_audit_that_cannot_start_is_an_error(suite: Path, checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    part = program.run("pytorch", checkout, tmp_path / "out", [str(tmp_path / "no-llem")])
    assert part["audits"]["coverage"]["outcome"] == "error"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "exit code 5"),
        ("import nothing_like_this", "exit code 2"),
        ("import os\ndef test_a(): os._exit(0)", "junit.xml"),
    ],
)
def test_a_suite_that_did_not_run_is_a_problem(
    suite: Path, checkout: Path, tmp_path: Path, text: str, problem: str
) -> None:
    (suite / "test_a.py").write_text(text)
    assert problem in " ".join(run(checkout, tmp_path / "out")["problems"])


def test_a_missing_suite_is_a_problem(checkout: Path, tmp_path: Path) -> None:
    assert run(checkout, tmp_path / "out")["problems"] == ["tests/integration/pytorch: no such folder"]


def test_a_crash_names_the_test_and_keeps_what_ran_before(suite: Path, checkout: Path, tmp_path: Path) -> None:
    (suite / "test_a.py").write_text(
        "import os, pytest\n"
        "def test_a(): pass\n"
        "def test_b(): assert 1 == 2, 'words'\n"
        "def test_c(): pytest.skip('no GPU')\n"
        "@pytest.mark.xfail(reason='later')\n"
        "def test_d(): assert False\n"
        "def test_e(): os.kill(os.getpid(), 11)\n"
        "def test_f(): pass\n"
    )
    part = run(checkout, tmp_path / "out")
    rows = {name.partition("::")[2]: (row["outcome"], row.get("reason", "")) for name, row in part["tests"].items()}
    assert rows["test_a"] == ("passed", "")
    assert rows["test_b"][0] == "failed"
    assert "words" in rows["test_b"][1]
    assert rows["test_c"] == ("skipped", "no GPU")
    assert rows["test_d"] == ("xfail_ours", "later")
    assert rows["test_e"] == ("crash", "ended by SIGSEGV")
    assert rows["test_f"][0] == "skipped"
    assert part["problems"] == ["pytest was ended by SIGSEGV"]


def test_no_folder_of_this_machine_is_in_the_part(suite: Path, checkout: Path, tmp_path: Path) -> None:
    (suite / "test_a.py").write_text(
        "def test_a(tmp_path): raise ValueError(tmp_path)\ndef test_b(request): raise ValueError(request.path)\n"
    )
    run(checkout, tmp_path / "out")
    assert str(tmp_path) not in (tmp_path / "out" / "part.json").read_text()


def test_scrub_takes_the_deepest_folder_and_whole_names_only() -> None:
    places = {"/home/someone": "~", "/home/someone/work/out": "OUT", "/scratch/tmp": "TMP", "/usr": "PYTHON"}
    text = "/home/someone/work/out/a /home/someone/b /home/someone-else/c /scratch/tmp/d /usr/lib OUT/tmp"
    assert scrub(text, places) == "OUT/a ~/b /home/someone-else/c TMP/d /usr/lib OUT/tmp"


def test_an_image_leaves_the_list_of_its_packages_and_what_it_compiled_where_they_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, out, scratch = (tmp_path / name for name in ("image", "out", "scratch"))
    for folder in (image / "kernels", out, scratch):
        folder.mkdir(parents=True)
    (image / "sbom.cdx.json").write_text("{}")
    (image / "kernels" / "a.so").write_text("compiled")
    os.utime(image / "kernels" / "a.so", (1_000_000_000, 1_000_000_000))
    scratch.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    program._take_from_image({program.SBOM: str(image / "sbom.cdx.json"), program.KERNELS: str(image / "kernels")}, out)
    assert (out / "sbom.cdx.json").read_text() == "{}"
    assert (scratch / "a.so").stat().st_mtime == 1_000_000_000
    # In a container that folder is root's, and the program is not root.
    assert scratch.stat().st_mode & 0o7777 == 0o1777


def test_outside_an_image_nothing_is_taken(tmp_path: Path) -> None:
    program._take_from_image({}, tmp_path)
    assert not list(tmp_path.iterdir())
