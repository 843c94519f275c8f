"""A process that starts others and prints: it stands alone, so that it can be ended whole and its words be kept."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

_GRACE_S = 3.0


def stand_alone(log: str) -> None:
    """Make this process the leader of a group of its own, and let everything that the group prints go to a file.

    Ctrl-C in the terminal then reaches nobody in the group, and its whole group can be ended by this process's id.
    """
    os.setsid()
    place = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(place, 1)
    os.dup2(place, 2)
    os.close(place)


def end_with_parent() -> None:
    """End, with everything that this process started, when the parent is gone: it cannot tell any more."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            if os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let a SIGINT break off what runs here, and only here."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_group(leader: int) -> None:
    """End whatever is left of the group that a process leads: first asked, then killed."""
    for how, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        until = time.monotonic() + wait_s
        try:
            os.killpg(leader, how)
            while time.monotonic() < until:
                os.killpg(leader, 0)
                time.sleep(0.05)
        except (ProcessLookupError, PermissionError):
            return
