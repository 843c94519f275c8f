"""What a person sees while a run goes on."""

import io
import sys
import time

import pytest
from rich.console import Console

from llenergymeasure.cli.progress import LINE_EVERY_S, described, showing_bar, showing_progress
from llenergymeasure.core.experiment import Progress


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress("loading"), "loading"),
        (Progress("measuring", done=4, total=12, elapsed_s=3, repeat=1), "measuring: 4 of 12 requests"),
        # A least duration is not reached: the requests go on, nobody knows to how many.
        (
            Progress("measuring", done=36, total=12, elapsed_s=4.4, min_duration_s=10, repeat=4),
            "measuring: 36 requests, 4 s of at least 10",
        ),
        # Nor is the least number of requests.
        (
            Progress("measuring", done=6, total=12, elapsed_s=11, min_duration_s=10, repeat=1),
            "measuring: 6 of 12 requests, 11 s of at least 10",
        ),
    ],
)
def test_what_is_done_is_said_in_the_unit_that_decides(progress: Progress, words: str) -> None:
    assert described(progress) == words


def test_the_bar_goes_over_the_whole_window_and_names_its_times() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with showing_bar(console) as callback:
        callback(Progress("warming up"))
        callback(Progress("measuring", done=9, total=12, elapsed_s=1, repeat=3))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    last = drawn.rpartition("measuring: 9 of 12 requests")[2]
    assert " 75%" in last
    assert "elapsed" in last
    assert "remaining" in last


def test_lines_off_a_terminal_come_once_a_phase_and_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with showing_progress(quiet=False) as callback:
        callback(Progress("loading"))
        for done in range(5):
            clock[0] += LINE_EVERY_S / 2
            callback(Progress("measuring", done=done, total=8))
    assert capsys.readouterr().err.splitlines() == [
        "loading",
        "measuring",
        "measuring: 2 of 8 requests",
        "measuring: 4 of 8 requests",
    ]


def test_quiet_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with showing_progress(quiet=True) as callback:
        callback(Progress("measuring", done=1, total=2))
    assert capsys.readouterr() == ("", "")
