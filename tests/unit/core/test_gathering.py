"""From outputs to a result: nothing lost or repeated unseen, and each figure over the time that it claims."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.batching import BatchOutput, Prompt, prompts_sha256
from llenergymeasure.core.energy.meters import Count, Reading
from llenergymeasure.core.energy.window import Window
from llenergymeasure.core.environment import Hardware
from llenergymeasure.core.gathering import NOT_CUT, Measured, by_pass, check_all_came_home, finished, gather
from llenergymeasure.core.inference_backends.base import Effective
from llenergymeasure.core.results import Process, Result
from llenergymeasure.core.session import Opened
from llenergymeasure.errors import FindingError


def output(start_s: float, end_s: float, *indices: int, tokens: int = 2) -> BatchOutput:
    """A call that answered the prompts of these places, each with the same number of tokens."""
    count = len(indices)
    return BatchOutput(
        prompts=tuple(Prompt(index, (5, 6, 7)) for index in indices),
        start_s=start_s,
        end_s=end_s,
        steps=(((end_s, tokens),),) * count,
        sequences=(((9,) * tokens,),) * count,
        finished=("length",) * count,
    )


class Joules:
    """A meter whose counter gains 12 J between its two readings."""

    def __init__(self) -> None:
        self._readings = iter([1_000_000, 13_000_000])

    def read(self) -> Reading:
        return Reading({"package-0": Count(next(self._readings))})

    def close(self) -> None:
        """Nothing was opened."""


class Nothing:
    def read(self) -> Reading:
        return Reading(reason="the run uses no GPU")

    def close(self) -> None:
        """Nothing was opened."""


def window(start_s: float, stop_s: float) -> Window:
    times = iter([start_s, stop_s])
    made = Window(Nothing(), Joules(), lambda: next(times))
    with made:
        pass
    return made


@pytest.fixture
def gathered(configured: Callable[..., ExperimentConfig], installed: Recorder) -> Callable[..., Result]:
    def make(measured: Measured, requests: int = 3) -> Result:
        process = Process(cpu_threads=4, cpu_affinity=2)
        opened = Opened(requests, 2, (), Effective({}), 1.5, process, "a" * 64, Hardware())
        return gather(configured(), [opened], measured, datetime(2026, 1, 2, tzinfo=UTC), [], installed)

    return make


# Two passes over three prompts in two calls; the window goes from 100 to 112.
FIRST = [output(100, 102, 0, 1), output(102, 104, 2)]
SECOND = [output(106, 107, 0, 1), output(107, 108, 2)]


def test_each_pass_has_figures_of_its_own(gathered: Callable[..., Result]) -> None:
    result = gathered(Measured(window(100, 112), [FIRST, SECOND], complete=True, warmup_s=0.5))
    # The first pass: 6 tokens in 4 s; the second, after two seconds of something else: 6 in 2 s.
    assert [(item.repeat, item.requests, item.output_tokens, item.window_s) for item in result.passes] == [
        (0, 3, 6, 4), (1, 3, 6, 2),
    ]  # fmt: skip
    assert [item.output_tokens_per_second for item in result.passes] == [1.5, 3]
    # The summary has all of the window: 12 tokens in 12 s.
    assert (result.repeats, result.summary.output_tokens_per_second) == (2, 1)
    assert [item.start_s for item in result.requests] == [0, 0, 2, 6, 6, 7]
    assert [item.batch for item in result.requests] == [0, 0, 1, 2, 2, 3]
    # 12 J for 12 tokens and 6 requests.
    assert result.summary.energy_per_output_token_j == pytest.approx(1)
    assert result.summary.energy_per_request_j == pytest.approx(2)
    assert "summary" not in result.energy.reasons


@pytest.mark.parametrize(("ends", "differ"), [((102, 103.9), False), ((102, 104.6), True)])
def test_passes_that_differ_are_a_warning(
    gathered: Callable[..., Result], ends: tuple[float, float], differ: bool
) -> None:
    """They do the same work; when one takes a quarter longer, their mean says little."""
    passes = [[output(100, 102, 0, 1, 2)], [output(ends[0], ends[1], 0, 1, 2)]]
    result = gathered(Measured(window(100, 112), passes, complete=True, warmup_s=0.5))
    assert any(warning.startswith("the passes differ: 2.308 to 3 tokens/s") for warning in result.warnings) is differ
    assert any("passes differ" in warning for warning in result.warnings) is differ


def test_an_interrupted_run_counts_up_to_its_last_finished_batch(gathered: Callable[..., Result]) -> None:
    partial = [*FIRST, *SECOND[:1]]
    measured = Measured(window(100, 112), by_pass(partial), complete=False, warmup_s=0.5)
    result = gathered(measured)
    assert (result.status, result.repeats, len(result.passes)) == ("interrupted", 1, 1)
    # 10 tokens and 5 requests up to 107; the window itself went on to 112 with a call that never ended.
    assert result.summary.window_s == 7
    assert result.summary.output_tokens_per_second == pytest.approx(10 / 7)
    assert result.summary.requests_per_second == pytest.approx(5 / 7)
    # What the meters read is kept with the time that it is of, and divided by nothing.
    assert (result.energy.cpu_package_j, result.energy.window_s) == (pytest.approx(12), 12)
    assert result.summary.energy_j is None
    assert result.summary.energy_per_output_token_j is None
    assert result.energy.reasons["summary"] == NOT_CUT
    assert "energy cannot be cut there" in result.warnings[0]


def test_interrupted_before_anything_was_finished(gathered: Callable[..., Result]) -> None:
    result = gathered(Measured(window(100, 112), [], complete=False, warmup_s=0))
    assert (result.summary.window_s, result.summary.output_tokens_per_second, result.passes) == (0, None, [])


@pytest.mark.parametrize(
    ("outputs", "runs", "says"),
    [
        pytest.param([output(0, 1, 0, 1)], 1, "pass 1 of the workload: 2 of 3 results are there", id="the last lost"),
        pytest.param([output(0, 1, 1, 2)], 1, "pass 1 of the workload: result 0 is missing", id="the first lost"),
        pytest.param(
            [output(0, 1, 0, 1), output(1, 2, 1, 2)],
            1,
            "pass 1 of the workload: result 1 is there twice",
            id="repeated",
        ),
        pytest.param([*FIRST, *SECOND[:1]], 2, "pass 2 of the workload: 2 of 3 results are there", id="a later pass"),
        pytest.param(FIRST, 2, "2 passes ran and answers of 1 came back", id="a whole pass lost"),
        pytest.param([*FIRST, FIRST[1]], 1, "1 passes ran and answers of 2 came back", id="a call answered twice"),
        pytest.param([], 1, "1 passes ran and answers of 0 came back", id="nothing came back"),
    ],
)
def test_a_lost_or_repeated_request_is_an_error(outputs: list[BatchOutput], runs: int, says: str) -> None:
    with pytest.raises(FindingError) as caught:
        check_all_came_home(by_pass(outputs), 3, runs, complete=True)
    assert caught.value.cause == f"requests were lost or repeated: {says}"


def test_replicas_may_come_home_in_any_order_and_a_last_pass_may_be_a_part() -> None:
    passes = by_pass([FIRST[1], FIRST[0], SECOND[1]])
    check_all_came_home(passes, 3, 1, complete=False)
    assert [sorted(prompt.index for item in outputs for prompt in item.prompts) for outputs in passes] == [
        [0, 1, 2],
        [2],
    ]
    assert len(finished(passes, 3)) == 1


def test_the_same_input_has_the_same_identity() -> None:
    assert prompts_sha256([[1, 2], [3]]) == sha256(b"[[1,2],[3]]").hexdigest()
    different = [[[1, 2, 3]], [[3], [1, 2]], [[1], [2], [3]], [[1, 2], [4]]]
    assert len({prompts_sha256(item) for item in [*different, [[1, 2], [3]]]}) == 5
    assert json.loads(json.dumps(prompts_sha256([]))) == sha256(b"[]").hexdigest()
