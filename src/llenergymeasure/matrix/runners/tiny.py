"""An image of a few megabytes, made of this machine's own shell: there before anything is pulled or built."""

import io
import json
import os
import re
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.matrix.runners import owners
from llenergymeasure.matrix.runners.daemon import Daemon, failures

if TYPE_CHECKING:
    from collections.abc import Sequence

SHELL = "/bin/sh"


@contextmanager
def image(daemon: Daemon, programs: "Sequence[str]" = (SHELL,)) -> Iterator[str]:
    """The image's id; it is gone afterwards."""
    identity = load(daemon, programs)
    try:
        yield identity
    except BaseException:
        with suppress(*failures()):  # what went wrong first is what matters
            daemon.api.remove_image(identity, force=True)
        raise
    try:
        daemon.api.remove_image(identity, force=True)
    except failures() as error:
        raise EnvironmentLacksError(f"the tiny image {identity} of a check cannot be removed: {error}") from error


def load(daemon: Daemon, programs: "Sequence[str]") -> str:
    """Its id; it has no name, which daemons would complete each in its own way."""
    labels = owners.labels("GPU check", uuid.uuid4().hex[:8])
    changes = [f'LABEL {key}="{value}"' for key, value in labels.items()]
    strange: tuple[type[Exception], ...] = (*failures(), ValueError, KeyError, IndexError)
    try:
        said = daemon.api.import_image_from_data(archive(programs), changes=changes)
        return str(json.loads(said.splitlines()[-1])["status"])
    except strange as error:
        raise EnvironmentLacksError(f"the daemon did not take a tiny image for its check: {error}") from error


def archive(programs: "Sequence[str]") -> bytes:
    """A tar archive of programs and the libraries that they load, each where it stands here."""
    files = {place for program in programs for place in (program, *_libraries(program))}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for place in sorted(files):
            # What stands behind a link, under the name by which it is asked for.
            tar.add(os.path.realpath(place), arcname=place.lstrip("/"), recursive=False, filter=_of_root)
    return packed.getvalue()


def _libraries(program: str) -> list[str]:
    try:
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise EnvironmentLacksError(f"ldd, which says what {program} loads: {error.strerror}", "install it") from error
    found = re.findall(r"(/\S+) \(0x", said)
    if not found and "static" not in said and not Path(program).exists():
        raise EnvironmentLacksError(f"{program}: not on this machine", "run it on Linux")
    return found


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755
    return member
