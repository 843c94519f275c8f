"""A process that starts others and prints: it stands alone, so that it can be ended whole and its words be kept."""

import contextlib
import getpass
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Protocol

_GRACE_S = 1.5  # asked to end, then killed: both together stay below what a user waits for after Ctrl-C
_LONGEST_ROOM = 64  # a socket's path holds 107 bytes, of which an engine takes a UUID
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only removed from
_QUIET = "ignore::UserWarning:multiprocessing.resource_tracker"


class Leader(Protocol):
    """The first process of a group, as multiprocessing has it."""

    @property
    def pid(self) -> int | None: ...

    def is_alive(self) -> bool: ...


def quiet_tracker() -> None:
    """Start multiprocessing's tracker, which removes what killed processes left, so that it does not talk of it."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = f"{before},{_QUIET}" if before else _QUIET
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def stand_alone(log: str) -> None:
    """Make this process the leader of a group of its own, and let everything that the group prints go to a file.

    Ctrl-C in the terminal then reaches nobody in the group, and its whole group can be ended by this process's id.
    The group's temporary files, such as an engine's sockets, go beside the log; `sweep` removes all of it.
    """
    os.setsid()
    place = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(place, 1)
    os.dup2(place, 2)
    os.close(place)
    room = str(Path(log).parent)
    if len(room) <= _LONGEST_ROOM:
        with contextlib.suppress(Exception):  # where the user has no name, kernels are compiled anew
            # Kernels that one run compiled are there for the next: they stay where they would have been.
            kernels = f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", kernels)
        os.environ["TMPDIR"] = room
        tempfile.tempdir = None


def end_with_parent(room: str = "") -> None:
    """End, with everything that this process started, when the parent is gone: it cannot tell any more.

    Args:
        room: the folder that the parent would have removed.
    """

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            if room:
                sweep(room)
            if os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def on_killed_child(busy: threading.Event, tell: Callable[[str, int], None], grace_s: float = 5.0) -> None:
    """Tell when a process that this one started was killed and what waits for it goes on waiting.

    Args:
        busy: set while this process is in a call that may wait for others.
        tell: gets the process's name and the signal; it is called once, in a thread of its own.
        grace_s: what the call has to notice by itself.
    """

    def watch() -> None:
        known: dict[int, multiprocessing.process.BaseProcess] = {}
        while True:
            time.sleep(0.2)
            known |= {child.pid: child for child in multiprocessing.active_children() if child.pid is not None}
            for pid, child in list(known.items()):
                if child.exitcode is None:
                    continue
                del known[pid]
                if child.exitcode < 0 and _stays(busy, grace_s):
                    tell(child.name, -child.exitcode)
                    return

    threading.Thread(target=watch, daemon=True).start()


def _stays(event: threading.Event, for_s: float) -> bool:
    until = time.monotonic() + for_s
    while event.is_set():
        if time.monotonic() >= until:
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let a SIGINT break off what runs here, and only here."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_group(leader: Leader) -> None:
    """End whatever is left of the group that a process leads: first asked, then killed."""
    if leader.pid is None:
        return
    for how in (signal.SIGTERM, signal.SIGKILL):
        if not _anyone_left(leader, leader.pid):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, how)
        until = time.monotonic() + _GRACE_S
        while _anyone_left(leader, leader.pid) and time.monotonic() < until:
            time.sleep(0.02)


def _anyone_left(leader: Leader, group: int) -> bool:
    """Whether someone in the group lives; one that has ended and waits for its parent's attention does not."""
    if leader.is_alive():
        return True
    if not os.path.isdir("/proc/self"):  # noqa: PTH112
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, 0)
            return True
        return False
    return any(found == group and state not in "ZX" for found, state in _groups())


def _groups() -> Iterator[tuple[int, str]]:
    """Group and state of every process of this machine."""
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                text = Path("/proc", name, "stat").read_text(encoding="utf-8", errors="replace")
                state, _, group = text.rpartition(")")[2].split()[:3]
                yield int(group), state


def sweep(room: str) -> None:
    """Remove a group's folder, and the shared memory that engines name after a file in it."""
    with contextlib.suppress(OSError):
        names = tuple(name for name in os.listdir(room) if len(name) > 20)  # noqa: PTH208
        for shared in os.listdir(_SHARED_MEMORY):  # noqa: PTH208
            if names and shared.startswith(names):
                Path(_SHARED_MEMORY, shared).unlink(missing_ok=True)
    shutil.rmtree(room, ignore_errors=True)
