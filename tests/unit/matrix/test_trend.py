import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from llenergymeasure.matrix import trend
from llenergymeasure.matrix.merge import Run, field_states, reduced
from llenergymeasure.matrix.records import Case, CellRecord, Outcome


@pytest.fixture
def run(make_record: Callable[..., CellRecord]) -> Callable[..., Run]:
    def make(day: int, status: Outcome = Outcome.PASSED, **numbers: int) -> Run:
        tests = {f"{kind}{number}": Case(Outcome(kind)) for kind, count in numbers.items() for number in range(count)}
        record = make_record(tests=tests, ended=f"2026-11-{day:02}T10:00:00+00:00", status=status)
        return reduced(record, field_states(record))

    return make


def bars(svg: str) -> list[tuple[str, float, float]]:
    found = re.findall(r'<rect class="(\w)" x="([\d.]+)" y="[\d.]+" width="\d+" height="([\d.]+)"/>', svg)
    return [(kind, float(left), float(height)) for kind, left, height in found]


def test_bars_are_as_high_as_what_they_count(run: Callable[..., Run]) -> None:
    drawn = bars(trend.svg([run(1, passed=10, skipped=30), run(2, passed=20, skipped=20)]))
    assert [kind for kind, _, _ in drawn] == ["p", "n", "p", "n"]
    heights = [height for _, _, height in drawn]
    assert heights[2] == 2 * heights[0]
    assert heights[1] == 3 * heights[0]
    assert drawn[0][1] == drawn[1][1] < drawn[2][1]


def test_one_failure_among_thousands_is_seen_and_marked(run: Callable[..., Run]) -> None:
    svg = trend.svg([run(1, Outcome.FAILED, passed=5000, failed=1)])
    assert [kind for kind, _, height in bars(svg) if height >= 2] == ["p", "f"]
    assert svg.count("<path") == 1
    assert "<path" not in trend.svg([run(1, passed=1)])


def test_a_run_that_died_before_its_tests_has_its_mark(run: Callable[..., Run]) -> None:
    svg = trend.svg([run(1, Outcome.CRASH)])
    assert not bars(svg)
    assert svg.count("<path") == 1


def test_only_the_last_runs_are_drawn(run: Callable[..., Run]) -> None:
    runs = [replace(run(1, passed=1), started=str(number)) for number in range(trend.SHOWN + 5)]
    assert len(bars(trend.svg(runs))) == trend.SHOWN


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([], "no run"),
        ([{"passed": 3, "skipped": 1}], "1 run, 2026-11-01: 3 passed, 1 not run, 0 failed"),
        (
            [{"passed": 3, "skipped": 1}, {"passed": 2, "skipped": 1, "crash": 1, "status": Outcome.CRASH}],
            "2 runs, 2026-11-01 to 2026-11-02: passed 3 to 2, not run 1, failed 0 to 1; 1 of them red",
        ),
    ],
)
def test_the_drawing_has_its_words(run: Callable[..., Run], numbers: list[dict[str, int]], words: str) -> None:
    runs = [run(day, **number) for day, number in enumerate(numbers, start=1)]
    assert trend.words(runs) == words
    assert f'aria-label="{words}"' in trend.svg(runs)
