"""What a cell's container may take at most: the keys of `limits` in matrix.toml, and what holds without them."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from llenergymeasure.errors import RequestError

GIB = 1024**3
# The daemon's own machine keeps the rest, so that it is the container that runs out of memory and not its host.
MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class Limits:
    """Sizes in GiB.

    Attributes:
        memory_gib: of all that runs in it, what stands in /tmp and /dev/shm among it; 0 for nine tenths of the machine.
        shm_gib: of /dev/shm, through which the processes of one engine talk.
        tmp_gib: of /tmp, and as much again of the home folder.
        results_gib: of its results, the one folder of this machine that it can write.
        log_gib: of its output that is kept.
        processes: and threads, all together.
    """

    memory_gib: float = 0.0
    shm_gib: float = 8.0
    tmp_gib: float = 8.0
    results_gib: float = 8.0
    log_gib: float = 0.25
    processes: int = 8192

    def memory_bytes(self, machine_bytes: int, jobs: int = 1) -> int:
        """In full where the cell says how much, else its share of the machine beside `jobs - 1` other cells."""
        return int(self.memory_gib * GIB) if self.memory_gib else int(machine_bytes * MEMORY_SHARE / jobs)


def of(table: Mapping[str, float]) -> Limits:
    values: dict[str, Any] = dict(table)
    return Limits(**values)


def check(table: Any, where: Callable[[str], str]) -> None:
    """Raises RequestError with the file and the line of what is no limit; `where` names those of a key."""
    if not isinstance(table, dict):
        raise RequestError(f"{where('limits')}: limits is not a table", "write limits = {memory_gib = 16}")
    known = {field.name: field.type for field in fields(Limits)}
    for name, value in table.items():
        place = where(f"limits.{name}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            remedy = f"did you mean {near[0]!r}?" if near else f"the limits are {', '.join(known)}"
            raise RequestError(f"{place}: unknown limit {name!r}", remedy)
        whole = known[name] is int
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 < value < 2**40:
            unit = "a whole number" if whole else "a number of GiB"
            raise RequestError(f"{place}: {name} is not {unit} above 0: {value!r}", f"write it like {name} = 16")
