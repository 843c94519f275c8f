"""The progress of a run: a bar on a terminal, plain lines elsewhere, nothing when asked to be quiet."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from llenergymeasure.core.experiment import OnProgress, Progress

LINE_EVERY_S = 10.0


@contextlib.contextmanager
def showing_progress(*, quiet: bool) -> Iterator[OnProgress]:
    """Yields the callback for `run_experiment`; drawing happens in rich's own thread, not in the window's."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        from rich.console import Console

        with showing_bar(Console(stderr=True)) as callback:
            yield callback
    else:
        yield _Lines()


@contextlib.contextmanager
def showing_bar(console: Any) -> Iterator[OnProgress]:
    """A bar over the whole window; before it, only the phase and its time are known."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(show_speed=False),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(),
    )
    # Twice a second: each drawing takes the interpreter from the work that is measured.
    with Bar(*columns, console=console, transient=True, refresh_per_second=2) as bar:
        task = bar.add_task("loading", total=None)
        phase = "loading"

        def update(progress: Progress) -> None:
            nonlocal phase
            if progress.phase != phase:
                phase = progress.phase
                bar.reset(task, total=1.0 if progress.total else None)
            bar.update(task, description=described(progress), completed=progress.share)

        yield update


def described(progress: Progress) -> str:
    """The phase and what of it is done, in requests, and in seconds where time decides as well."""
    if not progress.total:
        return progress.phase
    known = not progress.min_duration_s or progress.done < progress.total
    requests = f"{progress.done}{f' of {progress.total}' if known else ''} requests"
    least = f", {progress.elapsed_s:.0f} s of at least {progress.min_duration_s:g}" if progress.min_duration_s else ""
    return f"{progress.phase}: {requests}{least}"


class _Lines:
    """A line per phase, and one now and then while measuring."""

    def __init__(self) -> None:
        self._phase = ""
        self._last_s = 0.0

    def __call__(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if progress.phase != self._phase:
            self._say(progress.phase)
        elif progress.total and now_s - self._last_s >= LINE_EVERY_S:
            self._say(described(progress))
        else:
            return
        self._phase, self._last_s = progress.phase, now_s

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
