"""What a container says: in full to a log, up to a limit, and line by line to whoever looks on."""

import re
from collections import deque
from collections.abc import Callable
from typing import IO

# Without the escapes that would move the cursor of whoever looks on, or worse.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")
_LINE_BYTES = 8192
_TAIL_BYTES = 64 * 1024


class BoundedLog:
    """Keeps the beginning and the very end of what would be more than a limit, and says how much it left out."""

    def __init__(self, sink: IO[bytes], limit_bytes: int) -> None:
        self._sink = sink
        self._left = limit_bytes
        self._limit = limit_bytes
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._omitted = 0

    def write(self, chunk: bytes) -> None:
        kept, rest = chunk[: self._left], chunk[self._left :]
        if kept:
            self._sink.write(kept)
            self._sink.flush()
            self._left -= len(kept)
        if rest:
            self._remember(rest)

    def _remember(self, chunk: bytes) -> None:
        self._tail.append(chunk[-_TAIL_BYTES:])
        self._omitted += len(chunk) - len(self._tail[-1])
        self._tail_bytes += len(self._tail[-1])
        while self._tail_bytes - len(self._tail[0]) >= _TAIL_BYTES:
            gone = self._tail.popleft()
            self._tail_bytes -= len(gone)
            self._omitted += len(gone)

    def close(self) -> None:
        """Appends what came last; the sink stays open."""
        if self._omitted:
            words = f"\n[{self._omitted} bytes left out here: the log is kept up to {self._limit} bytes]\n"
            self._sink.write(words.encode())
        self._sink.writelines(self._tail)
        self._sink.flush()
        self._tail.clear()


class Lines:
    """Cuts chunks into lines for people; one without an end comes in pieces."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def write(self, chunk: bytes) -> None:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self._say(line)
        while len(self._rest) > _LINE_BYTES:
            self._say(self._rest[:_LINE_BYTES])
            self._rest = self._rest[_LINE_BYTES:]

    def close(self) -> None:
        if self._rest:
            self._say(self._rest)
        self._rest = b""

    def _say(self, line: bytes) -> None:
        self._on_line(_ESCAPES.sub("", line.decode("utf-8", "replace")))
