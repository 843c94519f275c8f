"""The console entry point: errors without tracebacks, one exit code for each kind."""

import subprocess
import sys
from typing import Any

import pytest

from llenergymeasure import cli
from llenergymeasure.errors import EnvironmentLacksError, FindingError, RequestError
from llenergymeasure.surface import snapshots


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FindingError("the cause", "the remedy"), 1),
        (RequestError("the cause", "the remedy"), 2),
        (EnvironmentLacksError("the cause", "the remedy"), 3),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "error: the cause\n  → the remedy\n"


def test_an_error_without_remedy_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    cli.print_error(RequestError("first\nsecond"))
    assert capsys.readouterr().err == "error: first\nerror: second\n"


def test_ctrl_c_in_any_command_is_130(llem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(snapshots, "versions", interrupt)
    ended = llem("audit", "coverage")
    assert (ended.code, ended.out) == (130, "")
    assert "Traceback" not in ended.err


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", bug)
    with pytest.raises(ZeroDivisionError):
        cli.main()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("rnu",), "rnu"), (("run",), "config"), (("run", "x.yaml", "--format", "xml"), "xml"), (("audit", "cov"), "cov")],
)
def test_a_wrong_command_line_is_exit_code_2(llem: Any, arguments: tuple[str, ...], says: str) -> None:
    ended = llem(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err.lower()


def test_help_names_every_command(llem: Any) -> None:
    ended = llem("--help")
    assert ended.code == 0
    for command in ("run", "show", "schema", "doctor", "surface", "audit", "matrix", "docs"):
        assert f"  {command} " in ended.out


def test_as_a_module_it_is_the_same_command() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "llenergymeasure.cli", "show", "missing.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: missing.yaml: no such file\n")


def test_a_closed_pipe_is_no_traceback() -> None:
    """`llem schema | head -1`."""
    program = subprocess.Popen(
        [sys.executable, "-m", "llenergymeasure.cli", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    assert program.stderr is not None
    with program:
        program.stdout.read(10)
        program.stdout.close()
        assert b"Traceback" not in program.stderr.read()
