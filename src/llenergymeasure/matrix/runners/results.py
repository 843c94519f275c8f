"""The folder of this machine that a container writes its results into: bounded while it runs, taken over with care.

What stands in it was written by programs that may have gone wrong, and the caller that reads it may be root.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from llenergymeasure.errors import EnvironmentLacksError

MAX_FILE_BYTES = 256 * 1024 * 1024
# So that files without content are bounded, too.
_ENTRY_BYTES = 4096


def fresh(folder: Path, user: tuple[int, int]) -> Path:
    """An empty folder that only the container's user, by its numbers on this machine, can enter."""
    remove(folder)
    try:
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(folder, *user)
    except OSError as error:
        raise EnvironmentLacksError(
            f"{folder}: cannot be made: {error.strerror}", "make room, or give it to you"
        ) from error
    return folder


def used_bytes(folder: Path, enough: int) -> int:
    """What it takes on the disk, counted until that is more than `enough`; links are not followed."""
    total = 0
    waiting = [str(folder)]
    while waiting and total <= enough:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # gone since it was listed
                    total += max(_ENTRY_BYTES, entry.stat(follow_symlinks=False).st_blocks * 512)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                if total > enough:
                    break
    return total


def take(names: Iterable[str], folder: Path, into: Path) -> list[str]:
    """Copy the named files; what is there and is no plain file of a sane size is left, and said in words."""
    problems = []
    for name in names:
        try:
            # No link is followed, and a pipe that nobody writes to does not block.
            source = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"{name} cannot be taken out of the container: {error.strerror}")
            continue
        try:
            found = os.fstat(source)
            if not stat.S_ISREG(found.st_mode):
                problems.append(f"{name} is no plain file")
            elif found.st_size > MAX_FILE_BYTES:
                problems.append(f"{name} has {found.st_size / 1e6:.0f} MB, and {MAX_FILE_BYTES / 1e6:.0f} MB are taken")
            else:
                _copy(source, into / name)
        finally:
            os.close(source)
    return problems


def _copy(source: int, target: Path) -> None:
    """Not a byte more than the limit, also where something still writes to it."""
    with target.open("wb") as file:
        left = MAX_FILE_BYTES
        while left > 0 and (chunk := os.read(source, min(left, 1 << 20))):
            file.write(chunk)
            left -= len(chunk)


def remove(folder: Path) -> None:
    """All of it, also folders that their owner has closed to itself."""
    if not folder.exists() and not folder.is_symlink():
        return
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    for parent, names, _ in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):  # noqa: PTH118 - of the walk's own texts
            if not os.path.islink(path):  # noqa: PTH114
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)  # noqa: PTH101
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise EnvironmentLacksError(f"{folder}: cannot be removed: {error}", "remove it as its owner") from error
