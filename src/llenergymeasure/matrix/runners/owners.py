"""Labels that say whose a container is, and removing the containers that their owners left behind."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker import APIClient

CELL = "llenergymeasure.cell"
RUN = "llenergymeasure.run"
OWNER = "llenergymeasure.owner"


def labels(cell: str, run: str) -> dict[str, str]:
    return {CELL: cell, RUN: run, OWNER: owner(os.getpid())}


def owner(pid: int) -> str:
    """A process so that no later one is taken for it: machine and boot, process namespace, number, start."""
    return f"{_machine()} {pid} {_started(pid)}"


def dead(label: str) -> bool | None:
    """Whether the owner in a label has ended; None where that cannot be known from here."""
    machine, _, rest = label.partition(" ")
    pid = rest.partition(" ")[0]
    if machine != _machine() or not pid.isdecimal():
        return None
    return owner(int(pid)) != label


@dataclass(frozen=True)
class Cleaned:
    """Names of containers.

    Attributes:
        removed: of runs that have ended.
        running: of runs that have not.
        unknown: of another machine, or of before this one was started.
        failed: that could not be removed, and why.
    """

    removed: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


def clean(api: "APIClient", *, everything: bool) -> Cleaned:
    """Remove the containers of runs that have ended, or all that have our labels; never any other."""
    from docker.errors import APIError, NotFound

    removed: list[str] = []
    running: list[str] = []
    unknown: list[str] = []
    failed: list[tuple[str, str]] = []
    for row in api.containers(all=True, filters={"label": RUN}):
        name = row["Names"][0].lstrip("/") if row.get("Names") else row["Id"][:12]
        over = dead((row.get("Labels") or {}).get(OWNER, ""))
        if not over and not everything:
            (unknown if over is None else running).append(name)
            continue
        try:
            api.remove_container(row["Id"], force=True, v=True)
        except NotFound:
            pass  # its run has removed it meanwhile
        except APIError as error:
            failed.append((name, str(error.explanation or error)))
            continue
        removed.append(name)
    return Cleaned(tuple(removed), tuple(running), tuple(unknown), tuple(failed))


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # In a container with the daemon's socket, process numbers mean others.
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node().replace(" ", "-") or "unknown"


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; "" where there is no such process, or no /proc."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return ""
    state, *rest = after_name.split()
    # One that has ended and waits to be reaped runs nothing any more.
    return "" if state == "Z" else rest[18]
