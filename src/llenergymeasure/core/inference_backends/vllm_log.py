"""What vLLM's processes printed: the engine's own warnings, and its last words where it died."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from llenergymeasure.config.origin import one_line

_FRONT = re.compile(r"^\([^)]*\)\s*")  # which process said it
_LINE = re.compile(r"^(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d (\[[^\]]*\] )?(?P<text>.*)")
_RAISED = re.compile(r"^(?:[\w.]+\.)?(?P<name>\w*(?:Error|Exception|Interrupt|Exit)): (?P<says>.+)")
# Without a message it is told from other words by where it stands: at a traceback's end.
_BARE = re.compile(r"^(?:[\w.]+\.)?(?P<name>\w*(?:Error|Exception|Interrupt|Exit)):?\s*$")
# Said by whoever waited for another process, which itself said why.
_ONLY_FOLLOWS = re.compile(
    r"Engine core initialization failed|during engine core initialization|EngineCore encountered an issue"
    r"|WorkerProc initialization failed|Worker failed with error|Executor failed\.|^cancelled$"
)
_ANNOUNCES = re.compile(r":$|^\d+ validation errors? for ")
_DETAIL = re.compile(r" \[type=.*$")
_DIED = re.compile(r"\w+ proc \S+ died unexpectedly(?: \(exit code: (?P<code>-?\w+)\))?")
_TERMINATED = -15  # by the engine itself, once it had failed
# Neither what happened nor what it was doing.
_NOISE = re.compile(r"\[shutdown\]|Dumping |^Process \w+:|^\s|^Traceback \(|^\S*:\d+: \w*Warning|^[\W\d]*$")
_LONGEST = 160
# Said by the engine of what it was asked for and does not do.
_CHANGES = re.compile(
    r"\bignor(?:ed|ing)\b|\bfall(?:s|ing)? ?back\b|\bdisabled\b|\bnot (?:yet )?supported\b|failed to reset",
    re.IGNORECASE,
)
_MOST = 10


def follows(says: str) -> bool:
    """Whether a message only tells that another process failed."""
    return _ONLY_FOLLOWS.search(says) is not None


def warnings(log: Path) -> list[str]:
    """Every warning of the engine, each once, in order."""
    found = (match["text"] for line in _lines(log) if (match := _LINE.match(line)) and match["level"] == "WARNING")
    return list(dict.fromkeys(found))


def changes(log: Path) -> list[str]:
    """The first warnings that say that the engine does not do what it was asked for: a reader of figures must know."""
    told = dict.fromkeys(one_line(text, _LONGEST) for text in warnings(log) if _CHANGES.search(text))
    return [f"vLLM: {text}" for text in told][:_MOST]


def raised(log: Path) -> tuple[str, str] | None:
    """Name and message of the exception that ended the engine: the last one that is not about another's end.

    None where a process was killed, or none said why.
    """
    found = None
    said = [_said(line) for line in _lines(log)]
    for place, line in enumerate(said):
        if (match := _RAISED.match(line)) and not follows(match["says"]):
            found = match["name"], _whole(match["says"], said[place + 1 :])
        elif (match := _BARE.match(line)) and _ends_a_traceback(said[:place]):
            found = match["name"], match["name"]
    return None if _killed(said) else found


def death(log: Path) -> str:
    """How a process of the engine ended, as the engine noticed it; "" where it did not."""
    found = [match[0] for line in _lines(log) if (match := _DIED.search(line))]
    return found[-1] if found else ""


def last_lines(log: Path, count: int = 5) -> list[str]:
    """The last lines that say something, shortened, without who said them, and without a traceback's frames."""
    said = (_said(line) for line in _lines(log))
    told = dict.fromkeys(one_line(line, _LONGEST) for line in said if not _NOISE.search(line))
    return list(told)[-count:]


def _ends_a_traceback(before: list[str]) -> bool:
    """Whether the lines before are a traceback's frames."""
    frames = itertools.takewhile(lambda line: line.startswith(" "), reversed(before))
    above = before[: len(before) - (inside := len(list(frames)))]
    return inside > 0 and bool(above) and above[-1].startswith("Traceback (")


def _whole(says: str, after: list[str]) -> str:
    """A message that only announces, with the line in which it goes on."""
    if not _ANNOUNCES.search(says):
        return says
    more = [line.strip() for line in after[:3] if line.strip() and not line.startswith("Traceback (")]
    # A validation error names the field, if it is of one, and then says what is wrong with it.
    return " ".join([says, *(_DETAIL.sub("", line) for line in more[:2])])


def _killed(said: list[str]) -> bool:
    codes = [match["code"] for line in said if (match := _DIED.search(line)) and match["code"]]
    return any(code.startswith("-") and int(code) != _TERMINATED for code in codes)


def _said(line: str) -> str:
    match = _LINE.match(line)
    return match["text"] if match else line


def _lines(log: Path) -> Iterator[str]:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        yield re.sub(r"^\[rank\d+\]:\s?", "", _FRONT.sub("", re.sub(r"\x1b\[[0-9;]*m", "", line)))
