"""Whose fault a failed build was, by what builders really say."""

from dataclasses import replace
from pathlib import Path

import pytest

from llenergymeasure.errors import EnvironmentLacksError, LlemError
from llenergymeasure.matrix.build_failures import BuildError, read
from llenergymeasure.matrix.spec import Cell

DIGEST = "sha256:" + "0123456789abcdef" * 4
METADATA = "#3 [internal] load metadata for docker.io/library/python:3.11"


@pytest.mark.parametrize(
    ("lines", "kind", "cause"),
    [
        (["#9 2.1 ERROR: Could not find a version", "#9 ERROR: exit code: 1"], BuildError, "exit code: 1"),
        (["#9 2.1 llem: no step x", "the end"], BuildError, "llem: no step x"),
        (["odd", "", "words"], BuildError, "odd / words"),
        ([], BuildError, "could not be built"),
        (["#9 write /x: no space left on device"], EnvironmentLacksError, "image, which needs about 2.5 GB"),
        (
            ["ERROR: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"],
            EnvironmentLacksError,
            "Cannot connect",
        ),
        (
            ["ERROR: permission denied while trying to connect to the Docker daemon socket at unix:///x"],
            EnvironmentLacksError,
            "permission denied",
        ),
        (
            ["ERROR: permission denied while trying to connect to the docker API at unix:///x"],
            EnvironmentLacksError,
            "permission denied",
        ),
        (
            ["failed to dial gRPC: cannot connect to the Docker daemon. Is 'docker daemon' running on this host?"],
            EnvironmentLacksError,
            "cannot connect",
        ),
        (
            ["ERROR: failed to connect to the docker API at unix:///x; check if the path is correct"],
            EnvironmentLacksError,
            "failed to connect",
        ),
        (
            [METADATA, '#3 ERROR: failed to do request: Head "https://registry.invalid/v2/": no such host'],
            EnvironmentLacksError,
            "base image python:3.11 cannot be had: failed to do request",
        ),
        (
            ["#5 [system 1/2] FROM docker.io/library/python:3.11", "#5 ERROR: unexpected EOF"],
            EnvironmentLacksError,
            "base image python:3.11 cannot be had: unexpected EOF",
        ),
        (
            ["ERROR: failed to solve: python:3.11: failed to resolve source metadata for docker.io/library/python"],
            EnvironmentLacksError,
            "base image python:3.11 cannot be had",
        ),
        (
            ["Error: creating build container: initializing source docker://python:3.11: pinging container registry"],
            EnvironmentLacksError,
            "base image python:3.11 cannot be had",
        ),
        # Its base was had; what failed later is not the base's fault.
        (
            [METADATA, "#3 DONE 0.0s", "#9 [2/2] RUN x", "#9 0.1 sh: x: not found", "#9 ERROR: exit code: 127"],
            BuildError,
            "exit code: 127",
        ),
    ],
)
def test_the_fault_is_named(cell: Cell, lines: list[str], kind: type[LlemError], cause: str) -> None:
    error = read(replace(cell, disk_gb=2.5), "python:3.11", lines, Path("image.log"))
    assert type(error) is kind
    assert cause in error.cause
    assert error.remedy


def test_the_last_lines_of_a_failed_step_are_given(cell: Cell) -> None:
    lines = [f"#9 {number}" for number in range(20)]
    assert read(cell, "python:3.11", lines, Path("image.log")).remedy.endswith(
        "ends: #9 15 / #9 16 / #9 17 / #9 18 / #9 19"
    )


def test_a_pinned_base_that_is_gone_says_how_its_digest_is_asked_for_anew(cell: Cell) -> None:
    lines = [METADATA, "#3 ERROR: not found"]
    assert "nox -s lock" in read(cell, f"python:3.11@{DIGEST}", lines, Path("image.log")).remedy
    assert "nox -s lock" not in read(cell, "python:3.11", lines, Path("image.log")).remedy
