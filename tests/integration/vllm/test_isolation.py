"""A process that starts others: real children and grandchildren, ended whole, with nothing left of them."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.core.isolation import end_group, interruptible, on_killed_child, quiet_tracker, sweep

SPAWN = multiprocessing.get_context("spawn")
Start = Callable[..., Any]


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As short a path as a run's own folder: a socket must fit into it."""
    with tempfile.TemporaryDirectory(prefix="llem-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def start(room: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    started = []

    # A child finds what it runs by its module's name, on the path that it inherits.
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import isolated_family

    def run(what: str, *arguments: Any) -> Any:
        process = SPAWN.Process(target=getattr(isolated_family, what), args=(str(room), *arguments))
        process.start()
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()
    sys.modules.pop("isolated_family")


def until(holds: Callable[[], Any], within_s: float = 20.0) -> Any:
    end = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def pids(room: Path, count: int) -> list[int]:
    """The ids of the processes that said so in the folder."""
    found = until(lambda: len(names := list(room.glob("pid-*"))) == count and names)
    return [int(name.name.removeprefix("pid-")) for name in found]


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has looked after does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class TestTheEndOfAGroup:
    @pytest.mark.parametrize("deaf", [False, True], ids=["that listens", "that does not"])
    @pytest.mark.parametrize("gone", [False, True], ids=["with its leader", "without it"])
    def test_leaves_nobody(self, start: Start, room: Path, deaf: bool, gone: bool) -> None:
        leader = start("family", deaf, gone)
        members = pids(room, 2 if gone else 3)
        if gone:
            leader.join()
        assert [pid for pid in members if lives(pid)] == members
        before = time.monotonic()
        end_group(leader)
        took_s = time.monotonic() - before
        assert [pid for pid in members if lives(pid)] == []
        # A terminal's user waits for it: asked, and killed after a grace where that did not help.
        assert took_s < (4.0 if deaf else 1.0)

    def test_that_ended_by_itself_takes_no_time(self, start: Start, room: Path) -> None:
        leader = start("alone")
        leader.join()
        before = time.monotonic()
        end_group(leader)
        assert time.monotonic() - before < 0.5

    def test_that_was_never_started_is_none(self) -> None:
        end_group(SPAWN.Process(target=print))


class TestStandingAlone:
    @pytest.fixture(autouse=True)
    def _ended(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        process = start("alone")
        process.join()
        assert process.exitcode == 0

    def test_everything_that_is_printed_goes_to_the_log(self, room: Path, capfd: pytest.CaptureFixture[str]) -> None:
        lines = (room / "log").read_text(encoding="utf-8").splitlines()
        assert sorted(lines) == ["printed by C", "printed by Python", "printed by a child"]
        assert capfd.readouterr() == ("", "")

    def test_it_leads_a_group_and_a_session_of_its_own(self, room: Path) -> None:
        """Ctrl-C in the terminal then reaches nobody of it."""
        pid, group, session = (room / "group").read_text(encoding="utf-8").split()
        assert pid == group == session
        assert int(session) != os.getsid(0)

    def test_its_temporary_files_stand_beside_the_log_but_for_compiled_kernels(self, room: Path) -> None:
        assert (room / "temporary").read_text(encoding="utf-8") == str(room)
        assert (room / "kernels").read_text(encoding="utf-8").startswith(f"{tempfile.gettempdir()}/torchinductor_")

    def test_nothing_of_it_is_left_after_sweeping(self, room: Path) -> None:
        sweep(str(room))
        assert not room.exists()
        sweep(str(room))


def test_shared_memory_that_is_named_after_a_file_of_the_group_goes_with_it(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM names what its workers on a CPU share after the file where they meet."""
    monkeypatch.setattr("llenergymeasure.core.isolation._SHARED_MEMORY", str(tmp_path))
    meeting = "vllm_dist_10ae47175dd749d2947ba4d90102198a"
    (room / meeting).touch()
    (room / "log").touch()
    for name in (f"{meeting}-tp:0-[0-1]-cpushm_0", f"{meeting}-tp:0-[0-1]-cpushm_1", "logger", "psm_94be2722"):
        (tmp_path / name).touch()
    sweep(str(room))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logger", "psm_94be2722"]


PARENT = """
import multiprocessing, sys, time
sys.path.insert(0, {folder!r})
import isolated_family
if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=isolated_family.orphan, args=({room!r},)).start()
    time.sleep(600)
"""


def test_a_parent_that_was_killed_leaves_neither_processes_nor_files(room: Path, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(folder=str(Path(__file__).parent), room=str(room)), encoding="utf-8")
    parent = subprocess.Popen([sys.executable, str(script)])
    members = pids(room, 2)
    parent.kill()
    parent.wait()
    until(lambda: not any(map(lives, members)))
    assert not room.exists()


class TestAChildThatWasKilled:
    """An engine's own process may wait for ever for another one of the engine that is gone."""

    @pytest.fixture
    def busy(self) -> threading.Event:
        return threading.Event()

    @pytest.fixture
    def told(self, busy: threading.Event) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        on_killed_child(busy, lambda name, number: found.append((name, number)), grace_s=0.3)
        return found

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV], ids=["by the system", "by a crash"])
    def test_is_told_where_the_call_goes_on_waiting(
        self, start: Start, room: Path, busy: threading.Event, told: list[tuple[str, int]], how: signal.Signals
    ) -> None:
        busy.set()
        child = start("sleeper")
        (pid,) = pids(room, 1)
        time.sleep(0.5)  # it is noticed while it lives
        os.kill(pid, how)
        until(lambda: told, 5.0)
        assert told == [(child.name, how)]

    def test_is_not_told_where_the_call_noticed_it_itself(
        self, start: Start, room: Path, busy: threading.Event, told: list[tuple[str, int]]
    ) -> None:
        busy.set()
        start("sleeper")
        (pid,) = pids(room, 1)
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        busy.clear()
        time.sleep(1.0)
        assert told == []

    def test_is_not_told_of_one_that_ended_by_itself(
        self, start: Start, room: Path, busy: threading.Event, told: list[tuple[str, int]]
    ) -> None:
        busy.set()
        start("say").join()
        time.sleep(1.0)
        assert told == []


def test_an_interrupt_breaks_off_what_is_interruptible_and_nothing_else() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), interruptible():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


TRACKED = """
import os
from multiprocessing import shared_memory
from llenergymeasure.core.isolation import quiet_tracker
if {quiet}:
    quiet_tracker()
made = shared_memory.SharedMemory(create=True, size=8, name={name!r})
os._exit(0)
"""


@pytest.mark.parametrize("quiet", [True, False])
def test_what_a_killed_process_left_is_removed_without_a_word(quiet: bool) -> None:
    name = f"llem_test_{os.getpid()}_{quiet}"
    script = TRACKED.format(quiet=quiet, name=name)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    until(lambda: not Path("/dev/shm", name).exists())  # noqa: S108
    assert ("leaked shared_memory" in done.stderr) is not quiet


@pytest.mark.parametrize("before", [None, "ignore::ImportWarning"])
def test_other_processes_go_on_warning(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    if before is None:
        monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    else:
        monkeypatch.setenv("PYTHONWARNINGS", before)
    quiet_tracker()
    assert os.environ.get("PYTHONWARNINGS") == before
