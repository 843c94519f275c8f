import os
import subprocess
import sys
from unittest.mock import create_autospec

import docker
import pytest
from docker.errors import APIError, NotFound
from requests import Response

from llenergymeasure.matrix.runners import owners


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_this_process_lives_and_one_that_has_ended_does_not() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    label = owners.owner(process.pid)
    assert owners.dead(label) is False
    process.communicate(b"\n")
    assert owners.dead(label) is True
    assert owners.dead(owners.owner(os.getpid())) is False


def test_one_that_nobody_has_reaped_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    label = owners.owner(process.pid)
    assert process.stdin is not None
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owners.dead(label) is True
    process.wait()


def test_a_later_process_of_the_same_number_is_another() -> None:
    machine, pid, started = owners.owner(os.getpid()).split(" ")
    assert owners.dead(f"{machine} {pid} {int(started) + 1}") is True


@pytest.mark.parametrize("label", ["", "elsewhere 1 2", "elsewhere", "a b c d"])
def test_of_another_machine_nothing_is_known(label: str) -> None:
    assert owners.dead(label) is None


def api(*rows: dict[str, object]) -> "docker.APIClient":
    one = create_autospec(docker.APIClient, instance=True)
    one.containers.return_value = list(rows)
    return one


def row(name: str, owner: str) -> dict[str, object]:
    return {"Id": name, "Names": [f"/{name}"], "Labels": {owners.OWNER: owner}}


def test_only_what_ended_runs_left_is_removed() -> None:
    machine = owners.owner(os.getpid()).split(" ")[0]
    daemon = api(
        row("dead", f"{machine} {ended_process()} 1"),
        row("alive", owners.owner(os.getpid())),
        row("foreign", "elsewhere 1 2"),
    )
    done = owners.clean(daemon, everything=False)
    assert (done.removed, done.running, done.unknown, done.failed) == (("dead",), ("alive",), ("foreign",), ())
    daemon.containers.assert_called_once_with(all=True, filters={"label": owners.RUN})
    daemon.remove_container.assert_called_once_with("dead", force=True, v=True)


def test_everything_is_removed_where_that_is_asked_for() -> None:
    daemon = api(row("alive", owners.owner(os.getpid())), row("foreign", ""))
    assert owners.clean(daemon, everything=True).removed == ("alive", "foreign")


def test_one_that_cannot_be_removed_is_said_and_the_others_are_removed() -> None:
    daemon = api(row("stuck", ""), row("gone", ""), row("next", ""))
    answer = Response()
    answer.status_code = 500
    stuck = APIError("stuck", response=answer, explanation="device or resource busy")
    daemon.remove_container.side_effect = [stuck, NotFound("gone"), None]
    done = owners.clean(daemon, everything=True)
    assert done.failed == (("stuck", "device or resource busy"),)
    assert done.removed == ("gone", "next")
