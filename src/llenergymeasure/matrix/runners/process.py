"""Running one program in a process group of its own, with a deadline, and leaving nothing of it behind."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

TERM_GRACE_S = 10.0
_POLL_S = 0.05


@dataclass
class Stop:
    """Whether work in other threads is to end; a plain attribute, since a signal's handler may take no lock."""

    told: bool = False


_stop: ContextVar[Stop | None] = ContextVar("stop", default=None)


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        returncode: negative is the number of the signal that ended it.
        oom_kills: how often the kernel killed something for want of memory meanwhile, on the whole machine.
        crashed: why it died, where more is known of it than its return code.
        lost: why nobody knows how it ended, "" where that is known.
    """

    returncode: int
    timed_out: bool
    duration_s: float
    oom_kills: int = 0
    crashed: str = ""
    lost: str = ""

    @property
    def crash(self) -> str:
        """Why it died of a signal or of a limit, "" where it did not."""
        if self.timed_out or self.crashed:
            return self.crashed
        # A shell reports a child's signal as 128 plus its number.
        number = -self.returncode if self.returncode < 0 else self.returncode - 128
        try:
            name = signal.Signals(number).name
        except ValueError:
            return ""
        if name == "SIGKILL":
            return "killed for want of memory (SIGKILL)" if self.oom_kills else "killed from outside (SIGKILL)"
        return f"ended by {name}"


def run_group(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    on_line: Callable[[str], None],
    deadline_s: float,
    grace_s: float = TERM_GRACE_S,
) -> Ended:
    """Run a program to its end or its deadline; its output goes line by line to `on_line` and in full to `log`.

    On expiry the whole group gets SIGTERM and, after `grace_s`, SIGKILL. What the program leaves running in its group
    is killed, whichever way it ended, also on KeyboardInterrupt (and SIGTERM to this process, which becomes one).
    In a thread that is `stoppable` it raises KeyboardInterrupt once it is told to stop.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    oom_before = oom_kills_so_far()
    with log.open("ab") as sink, _terminate_as_interrupt():
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - for the type checker: stdout=PIPE
        pump = threading.Thread(target=_pump, args=(process.stdout, sink, on_line), daemon=True)
        pump.start()
        timed_out = False
        try:
            if not _ends_within(process, deadline_s, check=raise_if_stopped):
                timed_out = True
                _signal_group(process, signal.SIGTERM)
                _ends_within(process, grace_s)
        except KeyboardInterrupt:
            _signal_group(process, signal.SIGTERM)
            _ends_within(process, grace_s)
            raise
        finally:
            # The leader is not reaped yet, so the group's number cannot have passed to another.
            _signal_group(process, signal.SIGKILL)
            returncode = process.wait()
            # A descendant that left the group may hold the pipe open for ever.
            pump.join(timeout=5)
    return Ended(returncode, timed_out, time.monotonic() - started, max(0, oom_kills_so_far() - oom_before))


def _pump(pipe: IO[bytes], sink: IO[bytes], on_line: Callable[[str], None]) -> None:
    with pipe:
        for line in iter(pipe.readline, b""):
            # The log may be closed already where a descendant outside the group still writes.
            with contextlib.suppress(ValueError):
                sink.write(line)
                sink.flush()
            on_line(line.decode("utf-8", "replace").rstrip("\n"))


def _ends_within(process: subprocess.Popen[bytes], seconds: float, check: Callable[[], None] = lambda: None) -> bool:
    """Whether it ended in time; it stays unreaped, so that its group can still be addressed safely."""
    limit = time.monotonic() + seconds
    while True:
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        if time.monotonic() >= limit:
            return False
        check()
        time.sleep(_POLL_S)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextlib.contextmanager
def stoppable(stop: Stop) -> Iterator[None]:
    """What runs inside ends with KeyboardInterrupt once it is told to stop.

    Python delivers the real one to the main thread alone, wherever that is; this one comes where all can be undone.
    """
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


def raise_if_stopped() -> None:
    stop = _stop.get()
    if stop is not None and stop.told:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """A scheduler stops a job with SIGTERM, a closed terminal with SIGHUP: both must end the child, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def oom_kills_so_far() -> int:
    if sys.platform != "linux":
        return 0
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
