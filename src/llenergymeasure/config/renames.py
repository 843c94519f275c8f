"""Parameters that kept their meaning under a new name, so that a rename is not taken for a loss."""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from packaging.version import Version


@dataclass(frozen=True)
class Rename:
    """`old` has been called `new` since version `since` of the package that holds the entry point."""

    entry_point: str
    old: str
    new: str
    since: str


@lru_cache(maxsize=8)
def renames(backend: str) -> tuple[Rename, ...]:
    """Every known rename of a backend's parameters, oldest first; none for a backend without a list."""
    path = files("llenergymeasure.config") / backend / "renames.toml"
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["rename"] if path.is_file() else []
    return tuple(
        sorted((Rename(**row) for row in rows), key=lambda row: (Version(row.since), row.entry_point, row.old))
    )


def new_name(backend: str, entry_point: str, name: str) -> str | None:
    """What a parameter is called now, through every later rename; None where it was never renamed."""
    latest = None
    for row in renames(backend):
        if (row.entry_point, row.old) == (entry_point, latest or name):
            latest = row.new
    return latest


def old_name(backend: str, entry_point: str, name: str) -> str | None:
    """What a parameter was called before its latest rename."""
    return next(
        (row.old for row in reversed(renames(backend)) if (row.entry_point, row.new) == (entry_point, name)), None
    )
