"""What vLLM's processes printed: the engine's own warnings, and its last words where it died."""

import re
from collections.abc import Iterator
from pathlib import Path

_FRONT = re.compile(r"^\([^)]*\)\s*")  # which process said it
_LINE = re.compile(r"^(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d (\[[^\]]*\] )?(?P<text>.*)")
_RAISED = re.compile(r"^([\w.]+(?:Error|Exception|Interrupt|Exit)): (.+)")
# Said by whoever waited for the engine; the engine itself said why.
_ONLY_FOLLOWS = re.compile(
    r"Engine core initialization failed|EngineDeadError|cancelled|WorkerProc initialization failed"
)


def warnings(log: Path) -> list[str]:
    """Every warning of the engine, each once, in order."""
    found = (match["text"] for line in _lines(log) if (match := _LINE.match(line)) and match["level"] == "WARNING")
    return list(dict.fromkeys(found))


def raised(log: Path) -> str:
    """The exception that ended the engine, as it printed it: the last one that is not about another's end."""
    found = [match for line in _lines(log) if (match := _RAISED.match(_said(line)))]
    causes = [match for match in found if not _ONLY_FOLLOWS.search(match[0])]
    return causes[-1][0] if causes else found[-1][0] if found else ""


def last_lines(log: Path, count: int = 5) -> list[str]:
    """The last lines that say something, without who said them, and without a traceback's frames."""
    said = (_said(line) for line in _lines(log))
    return [line for line in said if line.strip() and not line.startswith(("  ", "Traceback ("))][-count:]


def _said(line: str) -> str:
    match = _LINE.match(line)
    return match["text"] if match else line


def _lines(log: Path) -> Iterator[str]:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.replace("\r", "\n").splitlines():
        yield re.sub(r"^\[rank\d+\]:\s?", "", _FRONT.sub("", re.sub(r"\x1b\[[0-9;]*m", "", line)))
