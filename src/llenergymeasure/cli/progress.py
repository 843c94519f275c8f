"""The progress of a run: a bar on a terminal, plain lines elsewhere, nothing when asked to be quiet."""

import contextlib
import sys
import time
from collections.abc import Iterator

from llenergymeasure.core.experiment import OnProgress, Progress

LINE_EVERY_S = 10.0


@contextlib.contextmanager
def showing_progress(*, quiet: bool) -> Iterator[OnProgress]:
    """Yields the callback for `run_experiment`; drawing happens in rich's own thread, not in the window's."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar() as callback:
            yield callback
    else:
        yield _Lines()


@contextlib.contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Twice a second: each drawing takes the interpreter from the work that is measured.
    with Bar(*columns, console=Console(stderr=True), transient=True, refresh_per_second=2) as bar:
        task = bar.add_task("loading", total=None)

        def update(progress: Progress) -> None:
            repeat = f" (pass {progress.repeat})" if progress.repeat > 1 else ""
            bar.update(task, description=progress.phase + repeat, completed=progress.done, total=progress.total or None)

        yield update


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
            self._say(f"{progress.phase}: {progress.done} of {progress.total}, pass {progress.repeat}")
        else:
            return
        self._phase, self._last_s = progress.phase, now_s

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
