"""docker-py against sockets of our own, on which each kind of daemon answers as it would."""

import gc
import http.server
import json
import os
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from docker.constants import DEFAULT_DOCKER_API_VERSION

from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.matrix import runners
from llenergymeasure.matrix.runners import daemon
from llenergymeasure.matrix.runners.daemon import DaemonError, connect, sockets

# What Docker 20.10.24 and podman 4.3.1 answered, as far as it is read.
DOCKER: dict[str, Any] = {
    "Version": "20.10.24+dfsg1",
    "ApiVersion": "1.41",
    "Components": [{"Name": "Engine", "Version": "20.10.24+dfsg1"}, {"Name": "containerd"}],
}
PODMAN: dict[str, Any] = {
    "Version": "4.3.1",
    "ApiVersion": "1.41",
    "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}, {"Name": "Conmon"}],
}
INFO = {"MemTotal": 25276514304, "SecurityOptions": ["name=seccomp,profile=default"]}

Serve = Callable[..., str]


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    answers: ClassVar[dict[str, Any]] = {}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answers = self.server.answers  # type: ignore[attr-defined]
        answer = next((body for end, body in answers.items() if self.path.endswith(end)), None)
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "a socket"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A socket's path must be short."""
    made = Path(tempfile.mkdtemp(prefix="llem-s-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    servers: list[_Server] = []

    def start(version: object = None, info: object = None) -> str:
        server = _Server(str(folder / "sock"), _Handler)
        server.answers = {"/version": version, "/info": INFO if info is None else info}  # type: ignore[misc]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"unix://{folder}/sock"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_daemon_that_answers_says_what_it_is_and_where(serve: Serve, folder: Path) -> None:
    with connect("docker", {"DOCKER_HOST": serve(DOCKER)}) as found:
        assert found.words == f"Docker Engine 20.10.24+dfsg1 at {folder}/sock"
        assert (found.podman, found.memory_bytes) == (False, 25276514304)
        assert found.secured_by("seccomp")
        assert not found.secured_by("rootless")


@pytest.mark.parametrize(("kind", "variable"), [("podman", "CONTAINER_HOST"), ("docker", "DOCKER_HOST")])
def test_podman_is_known_under_whatever_name_it_is_asked_for(serve: Serve, kind: str, variable: str) -> None:
    with connect(kind, {variable: serve(PODMAN)}) as found:
        assert found.podman
        assert found.words.startswith("Podman Engine 4.3.1 at ")


@pytest.mark.parametrize(
    ("theirs", "spoken"), [("1.41", "1.41"), ("1.40", "1.40"), ("1.999", DEFAULT_DOCKER_API_VERSION)]
)
def test_the_newest_version_that_both_know_is_spoken(serve: Serve, theirs: str, spoken: str) -> None:
    with connect("docker", {"DOCKER_HOST": serve({**DOCKER, "ApiVersion": theirs})}) as found:
        assert found.api.api_version == spoken


@pytest.mark.parametrize("theirs", ["1.24", "1.39"])
def test_one_too_old_is_refused_with_its_version_and_the_least(serve: Serve, theirs: str) -> None:
    with pytest.raises(DaemonError) as caught:
        connect("docker", {"DOCKER_HOST": serve({**DOCKER, "ApiVersion": theirs, "Version": "18.09.1"})})
    assert "Docker Engine 18.09.1 at " in caught.value.cause
    assert f"speaks version {theirs} of Docker's API, and the least is 1.40" in caught.value.cause
    assert "Docker Engine from 19.03 on" in caught.value.remedy


@pytest.mark.parametrize("version", [b"<html>", [], {}, {"ApiVersion": "new"}, None])
def test_what_is_no_container_daemon_is_refused(serve: Serve, folder: Path, version: object) -> None:
    with pytest.raises(DaemonError, match=f"what listens at {folder}/sock is no docker daemon that answers"):
        connect("docker", {"DOCKER_HOST": serve(version)})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_does_not_answer_is_not_waited_for(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(folder / "sock"))
        deaf.listen()
        with pytest.raises(DaemonError, match=r"no docker daemon that answers: .*timed out"):
            connect("docker", {"DOCKER_HOST": f"unix://{folder}/sock"}, timeout_s=0.2)
    gc.collect()  # of the socket that docker-py leaves open, within this test


def test_without_a_socket_the_places_are_named_with_what_to_do(folder: Path) -> None:
    with pytest.raises(DaemonError) as caught:
        connect("docker", {"DOCKER_HOST": f"unix://{folder}/none"})
    assert caught.value.cause == f"no docker daemon: there is no socket at {folder}/none"
    assert "systemctl start docker" in caught.value.remedy
    assert caught.value.exit_code == 3


def test_a_socket_that_its_daemon_left_is_told_apart(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(folder / "sock"))
    with pytest.raises(DaemonError, match=r"does not answer at .*: nobody listens there"):
        connect("podman", {"CONTAINER_HOST": f"unix://{folder}/sock"})


def test_without_permission_the_group_is_named(serve: Serve, folder: Path) -> None:
    address = serve(DOCKER)
    (folder / "sock").chmod(0o600)
    folder.chmod(0o755)
    root = os.geteuid() == 0
    try:
        if root:  # who may everything: nobody in root's place
            os.seteuid(65534)
        else:
            (folder / "sock").chmod(0)
        with pytest.raises(DaemonError) as caught:
            connect("docker", {"DOCKER_HOST": address})
    finally:
        if root:
            os.seteuid(0)
    assert caught.value.cause == f"no permission on {folder}/sock, the socket of the docker daemon"
    assert "usermod -aG docker" in caught.value.remedy
    assert "sudo" in caught.value.remedy


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:2375", "ssh://host"])
def test_one_of_another_machine_could_not_write_results_here(address: str) -> None:
    with pytest.raises(DaemonError) as caught:
        connect("docker", {"DOCKER_HOST": address})
    assert f"DOCKER_HOST={address} is no socket of this machine" in caught.value.cause
    assert "unset DOCKER_HOST" in caught.value.remedy


def test_a_users_own_socket_is_looked_for_too() -> None:
    environ = {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1"}
    assert sockets("podman", environ) == ("/run/user/1/podman/podman.sock", "/run/podman/podman.sock")
    docker = ("/var/run/docker.sock", "/run/user/1/docker.sock", "/home/u/.docker/run/docker.sock")
    assert sockets("docker", environ) == docker
    assert sockets("docker", {"HOME": "/home/u"}) == (docker[0], docker[2])


def test_of_several_sockets_the_first_that_answers_is_taken(
    serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(DOCKER)
    (folder / "stale").touch()
    monkeypatch.setattr(daemon, "sockets", lambda *_: (f"{folder}/none", f"{folder}/stale", f"{folder}/sock"))
    with connect("docker", {}) as found:
        assert found.words.endswith("/sock")


def test_a_runner_that_cannot_run_says_why_and_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/none")
    with pytest.raises(EnvironmentLacksError) as caught:
        runners.pick("docker")
    assert caught.value.cause == f"runner docker: no docker daemon: there is no socket at {folder}/none"
    assert caught.value.remedy.endswith("or choose another with --runner")


def test_the_first_that_answers_is_picked_and_why_the_others_are_not_is_said(
    serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "PREFERRED", ("docker", "podman", "venv"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/none")
    monkeypatch.setenv("CONTAINER_HOST", serve(PODMAN))
    runner, why = runners.pick(None)
    assert runner.name == "podman"
    assert why == (
        f"docker: no docker daemon: there is no socket at {folder}/none; Podman Engine 4.3.1 at {folder}/sock answers"
    )
