"""What tests of whole runs see of the processes that a run started, and of the memory that processes share."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

SHARED = Path("/dev/shm")  # noqa: S108 - only listed


def descendants(of: int) -> dict[int, str]:
    """Living processes that one, or one that it started, has started, each with its command line."""
    parents = {int(entry.name): _parent(entry) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
    return {process: _title(process) for process in parents if _comes_from(of, process, parents)}


def is_living(process: int) -> bool:
    return _parent(Path(f"/proc/{process}")) != 0


def shared() -> set[str]:
    """Named pieces of shared memory."""
    return set(os.listdir(SHARED))  # noqa: PTH208


def mapped(processes: Iterable[int]) -> set[str]:
    """The named pieces of shared memory that some processes have; other runs on the machine have theirs."""
    found = set()
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/maps").read_text().splitlines()
        except OSError:  # ended meanwhile
            continue
        found |= {line.rpartition(f" {SHARED}/")[2] for line in lines if f" {SHARED}/" in line}
    return found


def _comes_from(ancestor: int, process: int, parents: Mapping[int, int]) -> bool:
    while process := parents.get(process, 0):
        if process == ancestor:
            return True
    return False


def _parent(process: Path) -> int:
    """0 of one that has ended."""
    try:
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return 0
    return 0 if state in "ZX" else int(parent)


def _title(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""
