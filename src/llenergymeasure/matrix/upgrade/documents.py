"""Where the docs and the examples speak of a field or of a parameter that the ledger leaves out."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llenergymeasure.config.bindings import BACKENDS, BoundField

_CODE = re.compile(r"`([^`\n]+)`")
_WORD = re.compile(r"[A-Za-z_][\w.]*")
_ROW = re.compile(r"\| `([^`]+)` \|")
_FENCE = re.compile(r"\s*```\s*(\w*)")
_PLACE = "Written under "
# What was, and what was found of every field: neither says what a parameter is.
_NOT_READ = ("CHANGELOG.md", "compatibility.md")
_GENERATED = re.compile(r"written by `llem ", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Place:
    """A line of a page, below a heading; `generated` pages are written anew by a command, others by hand."""

    page: str
    line: int
    section: str
    generated: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}{f' ({self.section})' if self.section else ''}"


@dataclass
class Documents:
    """An index of the pages of one checkout, as far as they concern one backend.

    Attributes:
        rows: of the generated reference: (where the section is written, the field's name) to its rows.
        words: what is written as code, and the paths of keys in examples.
    """

    rows: dict[str, list[tuple[frozenset[str], Place]]] = field(default_factory=dict)
    words: dict[str, list[Place]] = field(default_factory=dict)

    def of_field(self, bound: BoundField) -> list[Place]:
        parent = ".".join(bound.keys[:-1])
        choices = (f"{keys[-1]}: {value}" for keys, value in bound.variant.items())
        written = frozenset([*([parent] if parent else []), *choices])
        found = [place for at, place in self.rows.get(bound.name, ()) if written <= at and bool(at) == bool(written)]
        found += self.words.get(".".join(bound.keys), ())
        return sorted({*found, *self._bare(bound.name)})

    def of_parameter(self, entry_point: str, name: str) -> list[Place]:
        """The ledger's row of it, and where it is named as code."""
        rows = [place for at, place in self.rows.get(entry_point, ()) if name in at]
        return sorted({*rows, *self._bare(name)})

    def _bare(self, name: str) -> list[Place]:
        # A single word such as `model` is written as code where no parameter is meant.
        return self.words.get(name, []) if "_" in name else []


def index(checkout: Path, backend: str) -> Documents:
    """Every page that may speak of the backend."""
    found = Documents()
    others = {f"{name}.md" for name in BACKENDS if name != backend}
    pages = [*sorted(checkout.glob("*.md")), *sorted((checkout / "docs").rglob("*.md"))]
    for path in pages:
        is_other = path.parent.name == "backends" and path.name in others
        if path.name not in _NOT_READ and not is_other:
            _read_page(path.read_text(encoding="utf-8"), path.relative_to(checkout).as_posix(), found)
    for path in sorted((checkout / "examples").rglob("*.y*ml")):
        text = path.read_text(encoding="utf-8")
        _read_keys(text, 1, Place(path.relative_to(checkout).as_posix(), 1, "", generated=False), found)
    return found


def _read_page(text: str, page: str, found: Documents) -> None:
    lines = text.splitlines()
    generated = any(_GENERATED.search(line) for line in lines[:8])
    section, at = "", frozenset[str]()
    fence: tuple[int, str] | None = None
    for number, line in enumerate(lines, start=1):
        place = Place(page, number, section, generated)
        if mark := _FENCE.match(line):
            if fence is not None and fence[1] in ("yaml", "yml"):
                _read_keys("\n".join(lines[fence[0] : number - 1]), fence[0] + 1, place, found)
            fence = (number, mark[1]) if fence is None else None
        elif fence is not None:
            continue
        elif line.startswith("#"):
            section, at = line.lstrip("# ").replace("`", ""), frozenset()
        elif _PLACE in line:
            at = frozenset(_CODE.findall(line.partition(_PLACE)[2].partition("Sets parameters")[0]))
        elif generated:
            if row := _ROW.match(line):
                # A row of the ledger begins with an entry point, and names its parameters in the next column.
                known = frozenset(_CODE.findall(line.split(" | ")[1])) if "." in row[1] else at
                found.rows.setdefault(row[1], []).append((known, place))
        else:
            for code in _CODE.findall(line):
                for word in {*_WORD.findall(code)}:
                    found.words.setdefault(word, []).append(place)


def _read_keys(text: str, first_line: int, place: Place, found: Documents) -> None:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:  # part of an example, or none
        return
    lines = text.splitlines()
    for path in _paths(document):
        key = path.rpartition(".")[2]
        offset = next((at for at, line in enumerate(lines) if re.search(rf"\b{re.escape(key)}\s*:", line)), 0)
        where = Place(place.page, first_line + offset, place.section, place.generated)
        found.words.setdefault(path, []).append(where)


def _paths(document: Any, above: str = "") -> Iterator[str]:
    if isinstance(document, Mapping):
        for key, value in document.items():
            path = f"{above}.{key}" if above else str(key)
            yield path
            yield from _paths(value, path)
