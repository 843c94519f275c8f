"""Where a configuration and each of its keys was written, and how a place in it is spelled."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """The file that a configuration was read from: no part of what it says, so every two are equal.

    Attributes:
        lines: the line of each key, by its spelled location; empty where the file's format does not tell.
    """

    file: str = field(default="", compare=False)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    def place(self, spelled: str) -> str:
        """`run.yaml:3: `, the line of the key or of the nearest one around it; "" where no file was read."""
        while spelled and spelled not in self.lines:
            spelled = spelled[: max(spelled.rfind("."), spelled.rfind("["), 0)]
        if not self.file:
            return ""
        return f"{self.file}:{self.lines[spelled]}: " if spelled else f"{self.file}: "


def spell(location: Sequence[str | int]) -> str:
    """A location as the user would write it: `pytorch.max_memory`, `prompts.inline[2]`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{one_line(part)}" if text else one_line(part)
    return text


def one_line(text: object, longest: int = 200) -> str:
    """Text as a message can hold it: what a terminal would not print is escaped, the middle of a long one left out."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(text))
    return shown if len(shown) <= longest else f"{shown[: longest // 2]}…{shown[-(longest // 2) :]}"


def nearest_entry(path: Path) -> Path | None:
    """The entry of the same folder whose name is nearest, None where there is none or the folder cannot be read."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return None
    near = difflib.get_close_matches(path.name, names, n=1)
    return path.parent / near[0] if near else None
