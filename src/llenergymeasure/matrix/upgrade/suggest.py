"""Which of the parameters that went and came may be one under a new name: by name, type and default."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llenergymeasure.surface.diff import Diff
from llenergymeasure.surface.model import UNKNOWN, Parameter, Surface
from llenergymeasure.surface.spelling import type_key

# So chosen that four of the six renames between pinned versions are found among eleven suggestions; the other two have
# hardly a letter in common.
LEAST = 0.4
_NAME, _TYPE, _DEFAULT = 0.6, 0.2, 0.2
_SWITCHES = ("enable", "disable", "use", "is")


@dataclass(frozen=True)
class Suggestion:
    """A pair that a maintainer has to look at; nothing acts on it by itself.

    Attributes:
        likeness: 0 to 1.
        why: what is alike.
        moved_to: the other entry point where the new name stands, "" for a rename within one.
    """

    entry_point: str
    old: str
    new: str
    likeness: float
    why: str
    moved_to: str = ""


def suggest(old: Surface, new: Surface, result: Diff) -> tuple[Suggestion, ...]:
    """The most alike pairs first, each parameter in one at the most; known renames are no suggestions."""
    gone = [(change.entry_point, change.name) for change in result.changes if change.kind == "removed"]
    came = [(change.entry_point, change.name) for change in result.changes if change.kind == "added"]
    for change in result.changes:
        gone += [(change.entry_point, name) for name in _listed(change.old, change.kind == "entry point removed")]
        came += [(change.entry_point, name) for name in _listed(change.new, change.kind == "entry point added")]
    pairs = sorted(_pairs(old, new, gone, came), key=lambda pair: (-pair.likeness, pair.moved_to != "", pair.old))
    taken: set[tuple[str, str, str]] = set()
    chosen = []
    for pair in pairs:
        ends = {("old", pair.entry_point, pair.old), ("new", pair.moved_to or pair.entry_point, pair.new)}
        if not ends & taken:
            taken |= ends
            chosen.append(pair)
    return tuple(chosen)


def _listed(names: str, applies: bool) -> Iterator[str]:  # noqa: FBT001 - a filter
    return iter(names.split(", ") if applies and names else ())


def _pairs(
    old: Surface, new: Surface, gone: Iterable[tuple[str, str]], came: Iterable[tuple[str, str]]
) -> Iterator[Suggestion]:
    came = list(came)
    for entry_point, name in gone:
        before = old.find(entry_point, name)
        for other, candidate in came:
            after = new.find(other, candidate)
            if before is None or after is None or (entry_point == other and name == candidate):
                continue
            pair = _moved if other != entry_point else _renamed
            if found := pair(entry_point, other, before, after):
                yield found


def _renamed(entry_point: str, _: str, before: Parameter, after: Parameter) -> Suggestion | None:
    alike, why = _alike(before, after)
    return Suggestion(entry_point, before.name, after.name, alike, why) if alike >= LEAST else None


def _moved(entry_point: str, other: str, before: Parameter, after: Parameter) -> Suggestion | None:
    """Only under its own name, or without a prefix that the other entry point's name makes needless."""
    if before.name != after.name and not before.name.endswith(f"_{after.name}"):
        return None
    alike, why = _alike(before, after)
    # A common word such as `backend` is no sign by itself.
    if "name" in why.split(", ") or alike >= LEAST:
        return Suggestion(entry_point, before.name, after.name, alike, why, moved_to=other)
    return None


def _alike(before: Parameter, after: Parameter) -> tuple[float, str]:
    name = _name_likeness(before.name, after.name)
    same_type = bool(before.type) and type_key(before.type) == type_key(after.type)
    same_default = _same_default(before, after)
    words = [
        "name" if name == 1 else f"name {name:.0%}",
        *(["type"] if same_type else []),
        *(["default"] if same_default else []),
    ]
    # Names that are half alike are so by chance, whatever their types and defaults: None is everybody's default.
    alike = max(0.0, 2 * name - 1)
    score = _NAME * alike + _TYPE * same_type + _DEFAULT * same_default if alike else 0.0
    return round(score, 2), ", ".join(words)


def _same_default(before: Parameter, after: Parameter) -> bool:
    # In Python True equals 1; as a default it does not.
    one, two = before.effective_default, after.effective_default
    return UNKNOWN not in (one, two) and repr(one) == repr(two)


def _name_likeness(one: str, two: str) -> float:
    """The better of two views: letters in order, and whole words whatever their order."""
    words = _words(one), _words(two)
    shared = 2 * len(words[0] & words[1]) / (len(words[0]) + len(words[1]))
    letters = difflib.SequenceMatcher(None, "_".join(sorted(words[0])), "_".join(sorted(words[1]))).ratio()
    return 1.0 if one == two else min(0.99, max(letters, shared))


def _words(name: str) -> set[str]:
    """Without what half of all switches begin with, and the plural."""
    words = name.strip("_").split("_")
    telling = words[1:] if words[0] in _SWITCHES and len(words) > 1 else words
    return {word.removesuffix("s") for word in telling}
