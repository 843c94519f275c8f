import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llenergymeasure.matrix.runners.process import Ended, Stop, raise_if_stopped, run_group, stoppable


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[Ended, list[str]]]:
    def start(code: str, deadline_s: float = 60, grace_s: float = 0.3) -> tuple[Ended, list[str]]:
        lines: list[str] = []
        ended = run_group(
            [sys.executable, "-u", "-c", textwrap.dedent(code)],
            cwd=tmp_path,
            env=os.environ,
            log=tmp_path / "log.txt",
            on_line=lines.append,
            deadline_s=deadline_s,
            grace_s=grace_s,
        )
        return ended, lines

    return start


def alive(pid: int) -> bool:
    """A zombie that nobody has reaped yet is not alive."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def gone(pid: int) -> bool:
    for _ in range(100):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


CHILD_THAT_STAYS = """
    import subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid)
"""

Run = Callable[..., tuple[Ended, list[str]]]


def test_output_goes_to_the_caller_and_to_the_log(run: Run, tmp_path: Path) -> None:
    ended, lines = run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (ended.returncode, ended.timed_out, ended.crash) == (3, False, "")
    assert sorted(lines) == ["err", "out"]
    assert sorted((tmp_path / "log.txt").read_text().split()) == ["err", "out"]


def test_bytes_that_are_no_text_stop_nothing(run: Run, tmp_path: Path) -> None:
    _, lines = run(r"import sys; sys.stdout.buffer.write(b'\xff\xfe\nafter\n')")
    assert lines[1] == "after"
    assert (tmp_path / "log.txt").read_bytes() == b"\xff\xfe\nafter\n"


def test_the_deadline_ends_a_program_that_hangs(run: Run) -> None:
    ended, _ = run("import time; time.sleep(600)", deadline_s=0.5)
    assert (ended.timed_out, ended.returncode, ended.crash) == (True, -signal.SIGTERM, "")


def test_a_program_that_ignores_sigterm_is_killed(run: Run) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('set'); time.sleep(600)"
    ended, lines = run(code, deadline_s=1.5)
    assert lines == ["set"]
    assert (ended.timed_out, ended.returncode) == (True, -signal.SIGKILL)


def test_a_program_may_tidy_up_within_its_grace(run: Run, tmp_path: Path) -> None:
    code = """
        import pathlib, signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path("tidy").write_text(""), sys.exit(0)))
        print("set")
        time.sleep(600)
    """
    ended, lines = run(code, deadline_s=1.5, grace_s=20)
    assert lines == ["set"]
    assert (ended.timed_out, ended.returncode) == (True, 0)
    assert (tmp_path / "tidy").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGSEGV, "ended by SIGSEGV"), (signal.SIGABRT, "ended by SIGABRT"), (signal.SIGKILL, "killed")],
)
def test_a_signal_is_a_crash_and_is_named(run: Run, number: signal.Signals, words: str) -> None:
    ended, _ = run(f"import os; os.kill(os.getpid(), {int(number)})")
    assert words in ended.crash


def test_a_shells_spelling_of_a_signal_is_understood() -> None:
    assert Ended(137, timed_out=False, duration_s=1, oom_kills=1).crash == "killed for want of memory (SIGKILL)"
    assert Ended(1, timed_out=False, duration_s=1).crash == ""
    assert Ended(255, timed_out=False, duration_s=1).crash == ""


def test_what_the_program_leaves_running_is_killed(run: Run) -> None:
    ended, lines = run(CHILD_THAT_STAYS)
    assert ended.returncode == 0
    assert gone(int(lines[0]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_whole_group_and_is_raised_on(run: Run, tmp_path: Path, number: signal.Signals) -> None:
    def interrupt() -> None:
        for _ in range(200):
            if (tmp_path / "log.txt").exists() and (tmp_path / "log.txt").read_text().endswith("\n"):
                break
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(CHILD_THAT_STAYS + "    child.wait()")
    thread.join()
    assert gone(int((tmp_path / "log.txt").read_text()))
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_is_told_to_stop_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """In a thread, where no Ctrl-C arrives."""
    lines: list[str] = []
    raised: list[bool] = []
    stop = Stop()
    code = textwrap.dedent(CHILD_THAT_STAYS) + "sys.stdout.flush(); import time; time.sleep(600)"

    def work() -> None:
        with stoppable(stop):
            try:
                run_group(
                    [sys.executable, "-u", "-c", code],
                    cwd=tmp_path,
                    env=os.environ,
                    log=tmp_path / "log.txt",
                    on_line=lines.append,
                    deadline_s=60,
                    grace_s=0.3,
                )
            except KeyboardInterrupt:
                raised.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    while not lines:
        time.sleep(0.02)
    stop.told = True
    thread.join()
    assert raised
    assert gone(int(lines[0]))
    raise_if_stopped()  # outside of it nothing is to stop


@pytest.mark.parametrize(
    ("ended", "crash"),
    [
        (Ended(0, timed_out=False, duration_s=0, crashed="ran out of memory"), "ran out of memory"),
        (Ended(137, timed_out=False, duration_s=0, crashed="wrote too much"), "wrote too much"),
        (Ended(137, timed_out=True, duration_s=0), ""),
    ],
)
def test_what_is_known_better_outweighs_the_return_code(ended: Ended, crash: str) -> None:
    assert ended.crash == crash
