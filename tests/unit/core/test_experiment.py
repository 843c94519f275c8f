"""A whole experiment on the recorder: what is measured, what is written, and what Ctrl-C leaves."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from llenergymeasure.audit import recorder as recorder_module
from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import FROM_PRETRAINED, GENERATE, GENERATION_CONFIG, SET_SEED
from llenergymeasure.core.energy.window import Meters, Window
from llenergymeasure.core.experiment import Progress, plan, run_experiment
from llenergymeasure.core.inference_backends import pytorch_plan
from llenergymeasure.core.replicas import LocalReplica
from llenergymeasure.core.results import Difference, Result
from llenergymeasure.errors import EnvironmentLacksError, FindingError, RequestError

Configured = Callable[..., ExperimentConfig]


@pytest.fixture(autouse=True)
def _installed(installed: Recorder) -> None:
    """Every test here runs on the recorder."""


def test_the_result_tells_what_was_asked_sent_and_measured(configured: Configured) -> None:
    result = run_experiment(configured({"batch_size": 2, "num_beams": 2}, output={"max_tokens": 4}))
    assert result.status == "complete"
    assert result.backend == "pytorch"
    assert (result.replicas, result.repeats) == (1, 1)
    # Words are tokens: 1 + 2 + 3; each answer of the recorder is one token.
    assert [(item.index, item.input_tokens, item.output_tokens) for item in result.requests] == [
        (0, 1, 1), (1, 2, 1), (2, 3, 1),
    ]  # fmt: skip
    assert result.summary.requests == 3
    assert (result.summary.input_tokens, result.summary.output_tokens) == (6, 3)
    requested = result.configuration.requested
    assert requested["pytorch"] == {"batch_size": 2, "num_beams": 2}
    assert result.configuration.sent[GENERATION_CONFIG] == {"max_new_tokens": 4, "num_beams": 2}
    assert ExperimentConfig.model_validate(requested) == configured(
        {"batch_size": 2, "num_beams": 2}, output={"max_tokens": 4}
    )
    assert Result.model_validate_json(result.model_dump_json()) == result


def test_padding_in_a_mixed_batch_is_no_token(configured: Configured) -> None:
    """Trap: padding counted as tokens when a batch mixes prompt lengths."""
    together = run_experiment(configured({"batch_size": 3}))
    apart = run_experiment(configured({"batch_size": 1}))
    counts = [
        [(item.index, item.input_tokens, item.output_tokens) for item in result.requests]
        for result in (together, apart)
    ]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_workload_is_repeated_inside_the_window(configured: Configured, repeats: int) -> None:
    result = run_experiment(configured(measurement={"repeats": repeats}))
    assert result.repeats == repeats
    assert [(item.repeat, item.index) for item in result.requests] == [
        (repeat, index) for repeat in range(repeats) for index in range(3)
    ]
    assert [item.batch for item in result.requests] == list(range(3 * repeats))


def test_the_window_lasts_at_least_as_long_as_asked(configured: Configured) -> None:
    result = run_experiment(configured(measurement={"min_duration_s": 0.05}))
    assert result.repeats > 1
    assert result.summary.window_s >= 0.05


def test_progress_goes_through_its_phases(configured: Configured) -> None:
    seen: list[Progress] = []
    run_experiment(configured({"batch_size": 2}, measurement={"repeats": 2}), seen.append)
    assert list(dict.fromkeys(item.phase for item in seen)) == ["loading", "warming up", "measuring", "done"]
    assert [(item.repeat, item.done) for item in seen if item.phase == "measuring"] == [
        (1, 0), (1, 2), (1, 3), (2, 3), (2, 5), (2, 6),
    ]  # fmt: skip
    assert {item.total for item in seen if item.phase == "measuring"} == {6}
    assert [item.share for item in seen if item.phase == "measuring"] == pytest.approx(
        [0, 2 / 6, 3 / 6, 3 / 6, 5 / 6, 1]
    )


def test_progress_waits_for_the_slower_of_requests_and_time(configured: Configured) -> None:
    assert Progress("measuring", done=3, total=4, elapsed_s=1, min_duration_s=4).share == 0.25
    assert Progress("measuring", done=1, total=4, elapsed_s=3, min_duration_s=4).share == 0.25
    assert Progress("measuring", done=8, total=4, elapsed_s=5, min_duration_s=4).share == 1
    assert Progress("loading").share == 0
    seen: list[Progress] = []
    run_experiment(configured(measurement={"min_duration_s": 0.05}), seen.append)
    measuring = [item for item in seen if item.phase == "measuring"]
    assert all(earlier.share <= later.share for earlier, later in pairwise(measuring))
    assert measuring[-1].done > measuring[-1].total == 3


def test_nothing_but_generate_runs_inside_the_window(
    configured: Configured, installed: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: bookkeeping inside the energy window; only generate, once a batch, and a later pass its seed."""
    inside: list[dict[str, int]] = []

    def counts() -> dict[str, int]:
        return {entry_point: len(calls) for entry_point, calls in installed.calls.items()}

    class Watched(Window):
        def __enter__(self) -> Window:
            inside.append(counts())
            return super().__enter__()

        def __exit__(self, *exception: Any) -> None:
            super().__exit__(*exception)
            inside.append(counts())

    monkeypatch.setattr(Meters, "window", lambda self: Watched(self.gpu, self.cpu, self.clock))
    run_experiment(configured(measurement={"energy": False, "warmup_batches": 1, "repeats": 2}))
    before, after = inside
    changed = {name: number - before.get(name, 0) for name, number in after.items() if number != before.get(name, 0)}
    assert changed == {GENERATE: 6, GENERATION_CONFIG: 6, SET_SEED: 1}


def test_energy_that_was_not_wanted_is_null_with_its_reason(configured: Configured) -> None:
    result = run_experiment(configured(measurement={"energy": False}))
    assert result.energy.gpu_total_j is None
    assert result.energy.cpu_package_j is None
    assert result.summary.energy_per_output_token_j is None
    assert "measurement.energy is false" in result.energy.reasons.values()


class TestInterrupted:
    """Ctrl-C in the window: what was finished comes home, marked as such."""

    def test_between_two_batches(self, configured: Configured) -> None:
        def interrupt(progress: Progress) -> None:
            if progress.phase == "measuring" and progress.done == 2:
                raise KeyboardInterrupt

        result = run_experiment(configured(), interrupt)
        assert result.status == "interrupted"
        assert [item.index for item in result.requests] == [0, 1]
        assert result.repeats == 0
        assert result.warnings[0].startswith("interrupted: ")
        assert Result.model_validate_json(result.model_dump_json()) == result

    def test_in_the_middle_of_a_call(self, configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
        real = recorder_module._Model.generate
        measured = {"calls": 0}

        def generate(self: Any, **arguments: Any) -> Any:
            if "custom_generate" not in arguments:
                measured["calls"] += 1
            if measured["calls"] == 3:  # after the warm-up and the first prompt
                raise KeyboardInterrupt
            return real(self, **arguments)

        monkeypatch.setattr(recorder_module._Model, "generate", generate)
        result = run_experiment(configured(measurement={"warmup_batches": 1}))
        assert result.status == "interrupted"
        assert [item.index for item in result.requests] == [0]

    def test_before_anything_was_finished(self, configured: Configured) -> None:
        def interrupt(progress: Progress) -> None:
            if progress.phase == "measuring":
                raise KeyboardInterrupt

        result = run_experiment(configured(), interrupt)
        assert result.status == "interrupted"
        assert result.requests == []
        assert result.summary.output_tokens_per_second is None or result.summary.output_tokens_per_second == 0
        assert result.summary.request_latency_ms is None

    @pytest.mark.parametrize(
        ("when", "repeats", "requests"),
        [((1, 3), 1, 3), ((2, 3), 1, 3), ((2, 4), 1, 4), ((3, 8), 2, 8)],
    )
    def test_passes_that_were_finished_count(
        self, configured: Configured, when: tuple[int, int], repeats: int, requests: int
    ) -> None:
        def interrupt(progress: Progress) -> None:
            if (progress.repeat, progress.done) == when:
                raise KeyboardInterrupt

        result = run_experiment(configured(measurement={"repeats": 5}), interrupt)
        assert (result.repeats, len(result.requests)) == (repeats, requests)

    def test_before_the_window_there_is_nothing_to_keep(self, configured: Configured) -> None:
        def interrupt(progress: Progress) -> None:
            if progress.phase == "warming up":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_experiment(configured(), interrupt)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda outputs: outputs[:-1], "pass 2 of the workload: 2 of 3 results are there"),
        (lambda outputs: [*outputs, outputs[-1]], "2 passes ran and answers of 3 came back"),
        (lambda outputs: outputs[:3], "2 passes ran and answers of 1 came back"),
    ],
)
def test_a_run_that_lost_or_repeated_an_answer_is_an_error(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[list[Any]], list[Any]], says: str
) -> None:
    real = LocalReplica.take
    monkeypatch.setattr(LocalReplica, "take", lambda replica: spoil(real(replica)))
    with pytest.raises(FindingError, match="requests were lost or repeated") as caught:
        run_experiment(configured(measurement={"repeats": 2}))
    assert says in caught.value.cause


def test_two_runs_of_the_same_prompts_can_be_told_from_other_prompts(configured: Configured) -> None:
    first, again, other = (
        run_experiment(configured({"batch_size": size}, prompts=prompts)).configuration.prompts_sha256
        for size, prompts in [(1, ["a", "bb cc"]), (2, ["a", "bb cc"]), (1, ["bb cc", "a"])]
    )
    assert first == again != other


@pytest.mark.parametrize("fails", ["open", "warm_up", "run", "finish"])
def test_replicas_are_closed_whatever_fails(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    closed: list[bool] = []

    def fail(*_: Any) -> Any:
        raise EnvironmentLacksError("out of memory")

    monkeypatch.setattr(LocalReplica, fails, fail)
    monkeypatch.setattr(LocalReplica, "close", lambda _: closed.append(True))
    with pytest.raises(EnvironmentLacksError, match="out of memory"):
        run_experiment(configured())
    assert closed == [True]


def test_what_the_backend_raises_names_the_field(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(self: Any, **arguments: Any) -> Any:
        raise ValueError("`num_beams` must be smaller than the moon")

    monkeypatch.setattr(recorder_module._Model, "generate", generate)
    with pytest.raises(
        RequestError, match=r"^pytorch\.num_beams: refused while loading m: `num_beams` must be smaller"
    ):
        run_experiment(configured({"num_beams": 2}))


def test_what_runs_otherwise_than_sent_is_a_warning(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module._GenerationConfig, "to_dict", lambda _: {"num_beams": 1, "max_new_tokens": 128})
    result = run_experiment(configured({"num_beams": 2}))
    assert result.configuration.differences == [Difference(field="pytorch.num_beams", sent=2, effective=1)]
    assert "pytorch.num_beams: 2 was sent, 1 runs" in result.warnings
    assert result.configuration.effective["generation"]["num_beams"] == 1


class TestPlan:
    """How many processes a configuration asks for."""

    @pytest.mark.parametrize(
        ("pytorch", "devices", "shares"),
        [
            # Each process: its replica, its rank, its device.
            ({}, 0, [(0, 0, None)]),
            ({}, 2, [(0, 0, 0)]),
            ({"device_map": "cpu"}, 2, [(0, 0, None)]),
            ({"num_processes": 3}, 0, [(0, 0, None), (1, 0, None), (2, 0, None)]),
            ({"num_processes": 3}, 2, [(0, 0, 0), (1, 0, 1), (2, 0, 0)]),
            ({"tp_plan": "auto"}, 2, [(0, 0, 0), (0, 1, 1)]),
            ({"tp_plan": "auto", "tp_size": 2}, 4, [(0, 0, 0), (0, 1, 1)]),
            ({"tp_plan": "auto", "tp_size": 2}, 0, [(0, 0, None), (0, 1, None)]),
            (
                {"num_processes": 2, "tp_plan": "auto", "tp_size": 2},
                4,
                [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)],
            ),
            ({"distributed": {"tp_size": 2, "pp_size": 2}}, 4, [(0, 0, 0), (0, 1, 1), (0, 2, 2), (0, 3, 3)]),
        ],
    )
    def test_processes(
        self, configured: Configured, installed: Recorder, monkeypatch: pytest.MonkeyPatch,
        pytorch: dict[str, Any], devices: int, shares: list[tuple[int, int, int | None]],
    ) -> None:  # fmt: skip
        real = installed.resolve
        cuda: dict[str, Callable[[], Any]] = {
            "torch.cuda.is_available": lambda: devices > 0,
            "torch.cuda.device_count": lambda: devices,
        }
        monkeypatch.setattr(installed, "resolve", lambda path: cuda.get(path) or real(path))
        found = plan(configured(pytorch), installed)
        assert [(share.replica, share.rank, share.device) for share in found] == shares
        assert len({share.port for share in found if share.replica == 0}) == 1

    def test_more_ranks_than_gpus_is_an_error(
        self, configured: Configured, installed: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = installed.resolve
        cuda: dict[str, Callable[[], Any]] = {
            "torch.cuda.is_available": lambda: True,
            "torch.cuda.device_count": lambda: 2,
        }
        monkeypatch.setattr(installed, "resolve", lambda path: cuda.get(path) or real(path))
        with pytest.raises(EnvironmentLacksError, match="need 4 GPUs, 2 are visible") as caught:
            plan(configured({"tp_plan": "auto", "tp_size": 4}), installed)
        assert "tp_size" in caught.value.remedy

    def test_processes_on_one_machine_share_its_cores(
        self, configured: Configured, installed: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pytorch_plan.os, "cpu_count", lambda: 8)
        assert [share.threads for share in plan(configured({"num_processes": 3}), installed)] == [2, 2, 2]
        assert [share.threads for share in plan(configured(), installed)] == [None]


def test_the_model_is_loaded_once(configured: Configured, installed: Recorder) -> None:
    run_experiment(configured(measurement={"repeats": 2}))
    assert len(installed.calls[FROM_PRETRAINED]) == 1
