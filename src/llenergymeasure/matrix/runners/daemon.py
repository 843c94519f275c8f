"""Finding a container daemon on this machine, and saying what to do where none serves."""

import errno
import os
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llenergymeasure.errors import EnvironmentLacksError

if TYPE_CHECKING:
    from docker import APIClient

# Docker Engine 19.03, the first that takes requests for devices; what podman serves is newer.
LEAST_API = (1, 40)
TIMEOUT_S = 30.0

KINDS = ("docker", "podman")
_VARIABLES = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}
_STARTS = {
    "docker": "install Docker Engine or start it, `sudo systemctl start docker` on most systems",
    "podman": "install podman or start its socket, `systemctl --user start podman.socket`",
}
_GROUPS = {
    "docker": "join the group docker (`sudo usermod -aG docker $USER`, then log in again), or run this with sudo",
    "podman": "start a socket of your own with `systemctl --user start podman.socket`, or run this with sudo",
}


class DaemonError(EnvironmentLacksError):
    """No daemon serves here, or it went away."""


@dataclass(frozen=True)
class Daemon:
    """A daemon that answered.

    Attributes:
        api: docker-py's client of its API.
        words: what it is and where, for people.
        info: what `docker info` knows.
        podman: whether it is podman behind Docker's API, under whatever name it was asked for.
    """

    api: "APIClient"
    words: str
    info: Mapping[str, Any]
    podman: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()

    @property
    def memory_bytes(self) -> int:
        return int(self.info.get("MemTotal") or 0)

    def secured_by(self, name: str) -> bool:
        """Whether it names a security option, such as rootless, userns or selinux."""
        options = self.info.get("SecurityOptions") or ()
        return any(f"name={name}" in option.split(",") for option in options)


def failures() -> tuple[type[Exception], ...]:
    """What docker-py lets through when a daemon refuses, hangs or dies."""
    from docker.errors import DockerException
    from urllib3.exceptions import HTTPError

    # OSError holds the errors of requests, too.
    return (DockerException, HTTPError, OSError)


def sockets(kind: str, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Where a daemon of that kind may listen: where the environment says, else the usual places, the user's own first.

    Raises DaemonError where the environment names a daemon that could not write into a folder of this machine.
    """
    named = environ.get(_VARIABLES[kind], "")
    if named and not named.startswith("unix://"):
        raise DaemonError(
            f"{_VARIABLES[kind]}={named} is no socket of this machine, and results are written into a folder of it",
            f"unset {_VARIABLES[kind]}, or give it as unix:///path/to/the.sock",
        )
    if named:
        return (named.removeprefix("unix://"),)
    own, home = environ.get("XDG_RUNTIME_DIR", ""), Path(environ.get("HOME", "/"))
    usual = {
        "docker": ["/var/run/docker.sock", f"{own}/docker.sock" if own else "", f"{home}/.docker/run/docker.sock"],
        "podman": [f"{own}/podman/podman.sock" if own else "", "/run/podman/podman.sock"],
    }
    return tuple(path for path in usual[kind] if path)


def connect(kind: str, environ: Mapping[str, str] = os.environ, timeout_s: float = TIMEOUT_S) -> Daemon:
    """The first daemon of that kind that answers; raises DaemonError with what is in its way."""
    places = sockets(kind, environ)
    there = [place for place in places if Path(place).exists()]
    problem = DaemonError(f"no {kind} daemon: there is no socket at {' or '.join(places)}", _STARTS[kind])
    for place in there:
        try:
            _knock(kind, place, timeout_s)
            return _greet(kind, place, timeout_s)
        except DaemonError as error:
            problem = error
    raise problem


def _knock(kind: str, place: str, timeout_s: float) -> None:
    """Told apart here, since docker-py wraps all of it in words of its own."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(timeout_s)
        try:
            one.connect(place)
        except PermissionError as error:
            raise DaemonError(f"no permission on {place}, the socket of the {kind} daemon", _GROUPS[kind]) from error
        except OSError as error:
            refused = error.errno in (errno.ECONNREFUSED, errno.ENOENT)
            words = "nobody listens there" if refused else error.strerror or str(error)
            raise DaemonError(f"the {kind} daemon does not answer at {place}: {words}", _STARTS[kind]) from error


def _greet(kind: str, place: str, timeout_s: float) -> Daemon:
    from docker import APIClient

    broken: tuple[type[Exception], ...] = (*failures(), KeyError, TypeError, ValueError, AttributeError)
    least = ".".join(str(part) for part in LEAST_API)
    try:
        # The least version that will do is spoken first, so that an old daemon can still say how old it is.
        with closing(APIClient(base_url=f"unix://{place}", version=least, timeout=timeout_s)) as first:
            version = first.version(api_version=False)
        name = next((part["Name"] for part in version.get("Components") or () if part.get("Name")), kind)
        words = f"{'Docker Engine' if name == 'Engine' else name} {version.get('Version', '')} at {place}"
        if _numbers(version["ApiVersion"]) < LEAST_API:
            raise DaemonError(
                f"{words} speaks version {version['ApiVersion']} of Docker's API, and the least is {least}",
                "install a newer one: Docker Engine from 19.03 on, podman from 3 on",
            )
        api = APIClient(base_url=f"unix://{place}", version=_spoken(version["ApiVersion"]), timeout=timeout_s)
        try:
            return Daemon(api, words, api.info(), podman="Podman" in name)
        except BaseException:
            api.close()
            raise
    except broken as error:
        raise DaemonError(
            f"what listens at {place} is no {kind} daemon that answers: {error}", _STARTS[kind]
        ) from error


def _spoken(newest: str) -> str:
    """The newest version that both sides know."""
    from docker.constants import DEFAULT_DOCKER_API_VERSION

    return min(newest, str(DEFAULT_DOCKER_API_VERSION), key=_numbers)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
