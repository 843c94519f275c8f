"""Why an image's build failed, from what its builder said: the machine, the base image, or a step of its own."""

import re
from collections.abc import Sequence
from pathlib import Path

from llenergymeasure.errors import EnvironmentLacksError, LlemError
from llenergymeasure.matrix.spec import Cell

BASE_IMAGE = "LLEM_BASE_IMAGE"
_LAST_LINES = 5
_NO_DAEMON = re.compile(
    r"(?:connect to the docker (?:daemon|api)|permission denied while trying to connect).*", re.IGNORECASE
)
# BuildKit numbers its steps; that of a base image is one of these two.
_BASE_STEP = re.compile(r"#(\d+) \[(?:internal\] load metadata for |(?:[\w-]+ )?(?:\d+/\d+)?\] FROM )")
# How BuildKit's last line and podman speak of a base that they could not get.
_BASE_WORDS = re.compile(r"failed to resolve source metadata|initializing source|manifest unknown|pull access denied")
_ERROR = re.compile(r"\b(?:ERROR|Error|error|llem):")


class BuildError(LlemError):
    """A step of the build failed."""


def read(cell: Cell, base_image: str, lines: Sequence[str], log: Path) -> LlemError:
    """The error to raise: of the environment where the build could not begin or go on, else a BuildError."""
    said = "\n".join(lines)
    if "no space left on device" in said.lower():
        cause = f"{cell.name}: no space left for its image, which needs about {cell.disk_gb:g} GB"
        return EnvironmentLacksError(cause, "make room where the engine keeps its images")
    if no_daemon := next((line.strip() for line in lines if _NO_DAEMON.search(line)), ""):
        remedy = "start the engine's daemon and see that its socket may be used, or choose another runner"
        return EnvironmentLacksError(f"{cell.name}: {no_daemon}", remedy)
    if why := _why_no_base(lines):
        remedy = f"make its registry reachable, or set {BASE_IMAGE} to an image that is here"
        if "@" in base_image:
            remedy += "; `nox -s lock` asks for the digest of that name anew"
        return EnvironmentLacksError(f"{cell.name}: base image {base_image} cannot be had: {why}", remedy)
    last = " / ".join([line.strip() for line in lines if line.strip()][-_LAST_LINES:])
    why = next((line.strip() for line in reversed(lines) if _ERROR.search(line)), last)
    remedy = f"all of the build's output is in {log}{', and ends: ' if last else ''}{last}"
    return BuildError(f"{cell.name}: its image could not be built{': ' if why else ''}{why}", remedy)


def _why_no_base(lines: Sequence[str]) -> str:
    steps = {found[1] for line in lines if (found := _BASE_STEP.match(line))}
    for line in lines:
        failed = re.match(r"#(\d+) ERROR:? (.*)", line)
        if failed and failed[1] in steps:
            return failed[2]
    return next((line.strip() for line in lines if _BASE_WORDS.search(line)), "")
