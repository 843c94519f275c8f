"""Replicas in processes of their own: real processes, real pipes, the recorder in place of transformers."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core import replicas as replicas_module
from llenergymeasure.core.experiment import Progress, run_experiment
from llenergymeasure.core.replicas import ProcessReplicas, plan_replicas
from llenergymeasure.errors import EnvironmentLacksError, RequestError

Configured = Callable[..., ExperimentConfig]
FIVE = ["a", "bb cc", "d e f", "g", "h i"]


@pytest.fixture(autouse=True)
def _recorded(installed: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A child finds the worker by its module's name, on the path that it inherits.
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import recorded_worker

    monkeypatch.setattr(replicas_module, "_serve", recorded_worker.serve)
    yield
    sys.modules.pop("recorded_worker")
    assert multiprocessing.active_children() == []  # no test may leave a process


def test_results_of_all_replicas_merge(configured: Configured) -> None:
    two = run_experiment(configured({"num_processes": 2}, prompts=FIVE, measurement={"repeats": 2}))
    one = run_experiment(configured(prompts=FIVE, measurement={"repeats": 2}))
    assert (two.status, two.replicas, two.repeats) == ("complete", 2, 2)
    figures = [
        sorted((item.repeat, item.index, item.input_tokens, item.output_tokens) for item in result.requests)
        for result in (two, one)
    ]
    assert figures[0] == figures[1]
    assert len(figures[0]) == 10


def test_a_replica_without_work_is_refused(configured: Configured) -> None:
    """It would load a model and draw power for nothing."""
    with pytest.raises(RequestError) as caught:
        run_experiment(configured({"num_processes": 3}, prompts=FIVE[:2]))
    assert caught.value.cause == (
        "pytorch.num_processes: 3 replicas share 2 prompts, so 1 would draw power for nothing"
    )
    assert caught.value.remedy == "give at least 3 prompts, or lower pytorch.num_processes"
    assert multiprocessing.active_children() == []


def test_progress_counts_over_all_replicas(configured: Configured) -> None:
    seen: list[Progress] = []
    run_experiment(configured({"num_processes": 2}, prompts=FIVE), seen.append)
    assert [item.done for item in seen if item.phase == "measuring"] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("model", "how"), [("dies", "SIGKILL: most often the machine ran out of memory"), ("dies-loading", "exit code 7")]
)
def test_a_replica_that_dies_is_named_and_takes_the_others_along(configured: Configured, model: str, how: str) -> None:
    with pytest.raises(EnvironmentLacksError) as caught:
        run_experiment(configured({"num_processes": 2}, prompts=FIVE, model=model))
    assert caught.value.cause == f"pytorch.num_processes: replica 2 of 2 died ({how})"


def test_what_a_replica_raises_comes_home_with_its_field(configured: Configured) -> None:
    with pytest.raises(RequestError) as caught:
        run_experiment(configured({"num_processes": 2, "num_beams": 2}, prompts=FIVE, model="refuses"))
    assert caught.value.cause.startswith("pytorch.num_beams: refused while loading refuses: num_beams must not be so")
    assert caught.value.remedy == "change or remove pytorch.num_beams"


def test_ctrl_c_brings_home_what_every_replica_finished(configured: Configured) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.phase == "measuring" and progress.done == 2:
            raise KeyboardInterrupt

    result = run_experiment(configured({"num_processes": 2}, prompts=FIVE, model="slow"), interrupt)
    assert result.status == "interrupted"
    assert 2 <= len(result.requests) <= 5
    assert len({item.index for item in result.requests}) == len(result.requests)


def test_a_replica_that_has_answered_is_not_waited_for(configured: Configured) -> None:
    replicas = ProcessReplicas(configured({"num_processes": 2}, prompts=FIVE, model="slow"), plan_replicas(2))
    ticks: list[int] = []

    def interrupt(count: int) -> None:
        ticks.append(count)
        if len(ticks) == 5:  # all three of the first replica, which ended long before the other's second
            raise KeyboardInterrupt

    def poll(timeout: float) -> bool:
        pytest.fail(f"would wait {timeout} s for an answer that came already")

    try:
        replicas.open()
        with pytest.raises(KeyboardInterrupt):
            replicas.run(interrupt)
        replicas._pipes[0].poll = poll  # type: ignore[method-assign, assignment]
        replicas.stop()
        assert len(replicas.take()) == 5
    finally:
        replicas.close()


def test_a_replica_that_does_not_stop_is_killed(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas_module, "STOP_WITHIN_S", 0.5)
    config = configured({"num_processes": 2}, model="stuck")
    replicas = ProcessReplicas(config, plan_replicas(2))
    try:
        replicas.open()
        for pipe in replicas._pipes:
            pipe.send("run")
    finally:
        replicas.close()
    assert [process.is_alive() for process in replicas._processes] == [False, False]


def test_replicas_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    """A killed parent cannot close its pipes; a replica in the middle of a pass must not go on for nobody."""
    script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
import recorded_worker
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core import replicas

if __name__ == "__main__":
    replicas._serve = recorded_worker.serve
    config = ExperimentConfig.model_validate(dict(model="stuck", prompts=["a", "b"], pytorch=dict(num_processes=2)))
    started = replicas.ProcessReplicas(config, replicas.plan_replicas(2))
    started.open()
    for pipe in started._pipes:
        pipe.send("run")
    print(*(process.pid for process in started._processes), flush=True)
    time.sleep(600)
"""
    (tmp_path / "parent.py").write_text(script)
    pids: list[int] = []
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids += [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    until = time.monotonic() + 20
    while any(map(_runs, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    left = [pid for pid in pids if _runs(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def _runs(pid: int) -> bool:
    """Whether the process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
