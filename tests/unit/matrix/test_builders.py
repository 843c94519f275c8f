"""Which of the programs on PATH builds, decided with stand-ins that answer as the real ones do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix import builders

OLD = (
    """case "$1" in version) echo 20.10.24+dfsg1;; *) echo "docker: '$1' is not a docker command." >&2; exit 1;; esac"""
)
# Without a daemon, `version` ends with 1, and says the client's all the same.
OLD_WITHOUT_DAEMON = """case "$1" in
--version) echo "Docker version 20.10.24+dfsg1, build 297e128";;
*) echo "Cannot connect to the Docker daemon" >&2; exit 1;; esac"""
NEW_BARE = OLD.replace("20.10.24+dfsg1", "28.2.2")
NEW = """case "$1" in version) echo 28.2.2;; buildx) echo v0.24.0;; esac"""

Install = Callable[[str, str, str], str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    folders: list[str] = []
    monkeypatch.setenv("PATH", "")

    def add(folder: str, name: str, script: str) -> str:
        program = tmp_path / folder / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        folders.append(str(program.parent))
        monkeypatch.setenv("PATH", ":".join(dict.fromkeys(folders)))
        return str(program)

    return add


@pytest.mark.parametrize("script", [OLD, OLD_WITHOUT_DAEMON], ids=["daemon", "no daemon"])
def test_an_older_client_builds_with_what_it_has_inside(install: Install, script: str) -> None:
    client = install("a", "docker", script)
    found = builders.find("docker")
    assert (found.client, found.build) == (client, ("build", "--progress=plain"))
    assert found.environment["DOCKER_BUILDKIT"] == "1"


def test_buildx_is_taken_where_it_is(install: Install) -> None:
    client = install("a", "docker", NEW)
    found = builders.find("docker")
    assert (found.client, found.build[:3]) == (client, ("buildx", "build", "--load"))


def test_a_newer_client_that_cannot_build_is_passed_over(install: Install) -> None:
    install("a", "docker", NEW_BARE)
    client = install("b", "docker", OLD)
    assert builders.find("docker").client == client


def test_where_no_client_can_build_it_says_what_to_install(install: Install) -> None:
    client = install("a", "docker", NEW_BARE)
    with pytest.raises(EnvironmentLacksError) as caught:
        builders.find("docker")
    assert f"{client} (28.2.2) has no buildx" in caught.value.cause
    assert "docker-buildx" in caught.value.remedy


def test_an_engine_that_is_not_there_is_named(install: Install) -> None:
    install("a", "docker", NEW)
    with pytest.raises(EnvironmentLacksError, match="podman is not on PATH"):
        builders.find("podman")
    with pytest.raises(RequestError, match="docker, podman"):
        builders.find("dokcer")


def test_podman_builds_by_itself(install: Install) -> None:
    client = install("a", "podman", "exit 1")
    assert builders.find("podman") == builders.Builder("podman", client, ("build",))


def test_room_is_looked_up_where_the_engine_keeps_images(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    client = install("a", "docker", f"echo {tmp_path}")
    builder = builders.Builder("docker", client, ("build",))
    free, where = builders.free_bytes(builder) or (0, "")
    assert where == str(tmp_path)
    assert abs(free - shutil.disk_usage(tmp_path).free) < 1e9
    # Another machine's folder says nothing, even if there is one of that name here.
    monkeypatch.setenv("DOCKER_HOST", "ssh://elsewhere")
    assert builders.free_bytes(builder) is None


@pytest.mark.parametrize("script", ["exit 1", "echo /nowhere/at/all", "echo"])
def test_room_that_cannot_be_looked_up_is_not_known(
    install: Install, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert builders.free_bytes(builders.Builder("docker", install("a", "docker", script), ())) is None


@pytest.mark.parametrize(
    ("script", "labels"),
    [
        ("""echo '{"a.b": "c"}'""", {"a.b": "c"}),
        ("echo null", {}),
        ("echo Error: no such image >&2; exit 1", {}),
        ("echo words", {}),
    ],
)
def test_labels_of_an_image_that_may_not_be_there(install: Install, script: str, labels: dict[str, str]) -> None:
    assert builders.labels_of(builders.Builder("docker", install("a", "docker", script), ()), "a:b") == labels
