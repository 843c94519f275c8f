"""The programs that build images: docker with buildx, an older docker with BuildKit in it, or podman."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llenergymeasure.errors import EnvironmentLacksError, RequestError

ENGINES = ("docker", "podman")
# From this version on docker's client builds with buildx only; before, it has BuildKit's client in it.
_NEEDS_BUILDX = 23
_ASK_S = 20.0


@dataclass(frozen=True)
class Builder:
    """How an engine is told to build.

    Attributes:
        client: the program; several may be on PATH, and not each can build.
        build: its arguments before those that all builders share.
    """

    engine: str
    client: str
    build: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        # An attestation would give every build of the same things another identity.
        return {"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}

    def ask(self, *arguments: str) -> str | None:
        """What the client says, None where it fails."""
        return _ask([self.client, *arguments])


def find(engine: str) -> Builder:
    """The first program on PATH that can build for this engine; raises EnvironmentLacksError where none can."""
    if engine not in ENGINES:
        raise RequestError(f"no engine {engine!r}", f"the engines are {', '.join(ENGINES)}")
    clients = _all_on_path(engine)
    if engine == "podman" and clients:
        return Builder(engine, clients[0], ("build",))
    refusals = []
    for client in clients:
        if _ask([client, "buildx", "version"]) is not None:
            return Builder(engine, client, ("buildx", "build", "--load", "--progress=plain"))
        version = _ask([client, "version", "--format", "{{.Client.Version}}"]) or _client_version(client)
        number = re.match(r"\d+", version or "")
        if number and int(number[0]) < _NEEDS_BUILDX:
            return Builder(engine, client, ("build", "--progress=plain"))
        refusals.append(f"{client} ({(version or 'of unknown version').strip()}) has no buildx")
    if refusals:
        remedy = "install buildx, such as Debian's docker-buildx or Docker's docker-buildx-plugin"
        raise EnvironmentLacksError(f"nothing here builds images: {'; '.join(refusals)}", remedy)
    raise EnvironmentLacksError(f"{engine} is not on PATH", f"install {engine}, or choose another runner")


def free_bytes(builder: Builder) -> tuple[int, str] | None:
    """The room where the engine keeps images, and where that is; None where it is not on this machine."""
    if builder.engine == "podman":
        folder = builder.ask("info", "--format", "{{.Store.GraphRoot}}")
    else:
        if os.environ.get("DOCKER_HOST", "unix:").partition(":")[0] != "unix":
            return None
        folder = builder.ask("info", "--format", "{{.DockerRootDir}}")
    try:
        root = Path((folder or "").strip() or "/nowhere").resolve(strict=True)
        return shutil.disk_usage(root).free, str(root)
    except OSError:
        return None


def labels_of(builder: Builder, reference: str) -> dict[str, str]:
    """The labels of an image that the engine has, {} where it has none of that name."""
    said = builder.ask("image", "inspect", "--format", "{{json .Config.Labels}}", reference)
    try:
        labels = json.loads(said or "null")
    except ValueError:
        return {}
    return labels if isinstance(labels, dict) else {}


def _client_version(client: str) -> str | None:
    """Docker's client says its version without a daemon, too, in words."""
    said = _ask([client, "--version"]) or ""
    found = re.search(r"\d+\.\d[\w.+-]*", said)
    return found[0] if found else None


def _all_on_path(name: str) -> list[str]:
    found = (shutil.which(name, path=folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep))
    return list(dict.fromkeys(program for program in found if program))


def _ask(argv: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
