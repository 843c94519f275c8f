"""The parameters that are deliberately not fields: who sets them, or why nobody does."""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from llenergymeasure.surface.packages import packages

KINDS = ("owned", "passthrough", "excluded")
CATEGORIES = (
    "serving-only",
    "multimodal",
    "training",
    "logging",
    "security",
    "deprecated",
    "plumbing",
    "hardware we do not address",
)
REST = "*"


@dataclass(frozen=True)
class Entry:
    """One or several parameters of an entry point; the name `*` stands for all that no field binds.

    Attributes:
        kind: owned, passthrough or excluded.
        category: of an exclusion, else "".
    """

    kind: str
    entry_point: str
    names: tuple[str, ...]
    category: str
    reason: str


@dataclass(frozen=True)
class Ledger:
    """All entries of a backend."""

    entries: tuple[Entry, ...]

    def find(self, entry_point: str, name: str) -> Entry | None:
        """The entry for a parameter; one that names it goes before one that stands for the rest."""
        rest = None
        for entry in self.entries:
            if entry.entry_point == entry_point:
                if name in entry.names:
                    return entry
                if REST in entry.names:
                    rest = entry
        return rest


@lru_cache(maxsize=4)
def load(backend: str) -> Ledger:
    """Read every ledger file of a backend; a wrong category or a parameter that stands twice raises ValueError."""
    entries: list[Entry] = []
    packages(backend)  # refuses an unknown backend
    folder = files("llenergymeasure.surface") / "data" / backend
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.startswith("ledger") and file.name.endswith(".toml"):
            entries.extend(_read(tomllib.loads(file.read_text(encoding="utf-8")), file.name))
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        for name in entry.names:
            if (entry.entry_point, name) in seen:
                raise ValueError(f"ledger of {backend}: {entry.entry_point}:{name} stands twice")
            seen.add((entry.entry_point, name))
    return Ledger(tuple(entries))


def _read(document: dict[str, list[dict[str, object]]], origin: str) -> list[Entry]:
    if unknown := set(document) - set(KINDS):
        raise ValueError(f"ledger {origin}: unknown kind {', '.join(sorted(unknown))}")
    entries = []
    for kind in KINDS:
        for row in document.get(kind, []):
            category = str(row.get("category", ""))
            if (kind == "excluded") != (category in CATEGORIES):
                raise ValueError(
                    f"ledger {origin}: {row['entry_point']}: an exclusion needs one of {', '.join(CATEGORIES)}, "
                    "nothing else has one"
                )
            names = row["names"]
            assert isinstance(names, list)  # noqa: S101 - the file is ours
            entries.append(Entry(kind, str(row["entry_point"]), tuple(names), category, str(row["reason"])))
    return entries
