"""Source text without the bodies that nobody asks for: most of a large module is parsed in vain."""

import re
from collections.abc import Callable

_DEFINITION = re.compile(r"^(?P<indent>|    )(?:async )?def (?P<name>\w+)\(")


def outline(text: str, keep: Callable[[str, str], bool]) -> str:
    """The same lines, functions and methods for which `keep(name, body)` is false reduced to a stub on one line.

    Line numbers stay. The result may fail to parse where a string's lines stand left of the code around it: then use
    the whole text.
    """
    lines = text.splitlines()
    result = list(lines)
    index = 0
    while index < len(lines):
        match = _DEFINITION.match(lines[index])
        end = index + 1
        if match is not None:
            end = _end(lines, index, len(match["indent"]))
            if not keep(match["name"], "\n".join(lines[index:end])):
                result[index:end] = [f"{match['indent']}def {match['name']}(self): ...", *[""] * (end - index - 1)]
        index = end
    return "\n".join(result) + "\n"


def _end(lines: list[str], start: int, indent: int) -> int:
    """The line after a definition's body."""
    for index in range(start + 1, len(lines)):
        line = lines[index]
        left = len(line) - len(line.lstrip())
        # The bracket that closes a signature stands where the definition starts.
        if line.strip() and left <= indent and not line.lstrip().startswith(")"):
            return index
    return len(lines)
