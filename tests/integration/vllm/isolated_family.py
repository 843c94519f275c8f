"""Processes that the tests of isolation start, in a module that a new process can import."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llenergymeasure.core.isolation import end_with_parent, stand_alone

SPAWN = multiprocessing.get_context("spawn")
SHELL = "import os, sys, time; open(f'{sys.argv[1]}/pid-{os.getpid()}', 'w').close(); time.sleep(600)"


def say(room: str) -> None:
    Path(room, f"pid-{os.getpid()}").touch()


def sleeper(room: str, *, deaf: bool = False) -> None:
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(room)
    time.sleep(600)


def family(room: str, deaf: bool, gone: bool) -> None:
    """Starts two that live on, one of them by a shell; ends before them where it is to be gone."""
    stand_alone(f"{room}/log")
    kwargs = {"deaf": deaf}
    SPAWN.Process(target=sleeper, args=(room,), kwargs=kwargs).start()
    subprocess.Popen([sys.executable, "-c", SHELL, room])
    while len(list(Path(room).glob("pid-*"))) < 2:
        time.sleep(0.02)
    if gone:
        os._exit(0)
    say(room)
    time.sleep(600)


def alone(room: str) -> None:
    stand_alone(f"{room}/log")
    print("printed by Python")
    os.system("echo printed by a child")  # noqa: S605
    os.write(2, b"printed by C\n")
    Path(room, "group").write_text(f"{os.getpid()} {os.getpgrp()} {os.getsid(0)}", encoding="utf-8")
    Path(room, "temporary").write_text(tempfile.gettempdir(), encoding="utf-8")
    Path(room, "kernels").write_text(os.environ["TORCHINDUCTOR_CACHE_DIR"], encoding="utf-8")
    with socket.socket(socket.AF_UNIX) as listener:  # an engine's, whose name is a UUID
        listener.bind(tempfile.gettempdir() + "/0eab0ff4-8f5d-45e9-b48c-2fdac9445873")


def orphan(room: str) -> None:
    stand_alone(f"{room}/log")
    end_with_parent(room)
    SPAWN.Process(target=sleeper, args=(room,), kwargs={"deaf": True}).start()
    say(room)
    time.sleep(600)
