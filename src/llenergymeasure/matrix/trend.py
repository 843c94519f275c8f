"""How a cell's runs went on, drawn small: one bar for each run, of tests passed, not run and failed."""

from collections.abc import Sequence

from markupsafe import Markup

from llenergymeasure.matrix.merge import Run
from llenergymeasure.matrix.records import Outcome
from llenergymeasure.matrix.views import date

SHOWN = 24
_STEP, _BAR, _HEIGHT, _MARK, _LEAST = 7, 5, 26, 5, 2.0
_SVG = Markup(
    '<svg class="trend" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
    ' aria-label="{words}">{bars}</svg>'
)
_RECT = Markup('<rect class="{kind}" x="{x}" y="{y:.1f}" width="{width}" height="{height:.1f}"/>')
_RED = Markup('<path class="f" d="M{x} 0h{width}L{middle:g} 4z"/>')


def words(runs: Sequence[Run]) -> str:
    """The drawing in words, for who cannot see it."""
    if not runs:
        return "no run"
    first, last = runs[0], runs[-1]
    if len(runs) == 1:
        parts = [f"{passed(last)} passed", f"{last.not_run} not run", f"{last.failed} failed"]
        return f"1 run, {date(last.ended)}: {', '.join(parts)}"
    parts = [
        f"{name} {before} to {after}" if before != after else f"{name} {after}"
        for name, before, after in (
            ("passed", passed(first), passed(last)),
            ("not run", first.not_run, last.not_run),
            ("failed", first.failed, last.failed),
        )
    ]
    red = sum(run.status.bad for run in runs)
    since = f"{len(runs)} runs, {date(first.ended)} to {date(last.ended)}"
    return f"{since}: {', '.join(parts)}; {red or 'none'} of them red"


def svg(runs: Sequence[Run]) -> Markup:
    """The last runs as bars of one scale; a red run has a mark above it, so that colour is not the only sign."""
    shown = runs[-SHOWN:]
    most = max((_all(run) for run in shown), default=0) or 1
    width = max(len(shown), 8) * _STEP
    parts = [_bar(run, index * _STEP, most) for index, run in enumerate(shown)]
    return _SVG.format(width=width, height=_HEIGHT + _MARK, words=words(runs), bars=Markup("").join(parts))


def passed(run: Run) -> int:
    return run.counts.get(Outcome.PASSED, 0)


def _all(run: Run) -> int:
    return sum(run.counts.values())


def _bar(run: Run, left: int, most: int) -> Markup:
    expected = _all(run) - passed(run) - run.not_run - run.failed
    bottom, drawn = float(_HEIGHT + _MARK), Markup()
    for kind, number in (("p", passed(run)), ("x", expected), ("n", run.not_run), ("f", run.failed)):
        # What failed is seen even where it is one in a thousand; the room for it is left above the highest bar.
        height = max((_HEIGHT - _LEAST) * number / most, _LEAST if kind == "f" else 0) if number else 0
        if height:
            bottom -= height
            drawn += _RECT.format(kind=kind, x=left, y=max(bottom, 0), width=_BAR, height=height)
    if run.status.bad:
        drawn += _RED.format(x=left, width=_BAR, middle=left + _BAR / 2)
    return drawn
