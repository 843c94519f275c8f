"""What an engine needs of the machine: devices for all ranks, or cores for all workers on a CPU."""

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from llenergymeasure.audit.recorder_vllm import VLLMRecorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.inference_backends import vllm_plan
from llenergymeasure.core.inference_backends.base import Share
from llenergymeasure.core.inference_backends.vllm_machine import prepare
from llenergymeasure.core.session import version_calls
from llenergymeasure.errors import EnvironmentLacksError

Configured = Callable[..., ExperimentConfig]
BINDING = "VLLM_CPU_OMP_THREADS_BIND"


class Machine:
    """A machine with some devices, as `Api` reaches it; `environ` is what the engine will read."""

    def __init__(self, recorder: VLLMRecorder, *, gpus: int = 0, experts: int = 0) -> None:
        self.version = recorder.version
        self.environ: dict[str, str] = {}
        self._recorder = recorder
        model = SimpleNamespace(get_num_experts=lambda: experts)
        self.described: list[dict[str, Any]] = []
        self._found = {
            "vllm.platforms.current_platform": SimpleNamespace(is_cpu=lambda: gpus == 0),
            "torch.cuda.device_count": lambda: gpus,
            "os.environ": self.environ,
            "vllm.EngineArgs": lambda **sent: (
                self.described.append(sent) or SimpleNamespace(create_model_config=lambda: model)
            ),
        }

    def surface(self, backend: str) -> Any:
        return self._recorder.surface(backend)

    def resolve(self, path: str) -> Any:
        return self._found[path]


@pytest.fixture
def prepared(vllm_configured: Configured, vllm_recorder: VLLMRecorder) -> Callable[..., tuple[Machine, list[str]]]:
    def run(vllm: dict[str, Any], share: Share | None = None, **has: int) -> tuple[Machine, list[str]]:
        machine = Machine(vllm_recorder, **has)
        calls = version_calls(vllm_configured(vllm, prompts=["a"] * 80), machine)
        return machine, prepare(calls, machine, share or Share())

    return run


Prepared = Callable[..., tuple[Machine, list[str]]]


class TestDevices:
    def test_that_are_there_are_enough(self, prepared: Prepared) -> None:
        machine, warnings = prepared({"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, gpus=4)
        assert (machine.environ, warnings) == ({}, [])

    @pytest.mark.parametrize(
        ("vllm", "share", "gpus", "cause", "remedy"),
        [
            (
                {"tensor_parallel_size": 64}, Share(), 1,
                "vllm.tensor_parallel_size: 64 processes need 64 GPUs, 1 is visible",
                "lower vllm.tensor_parallel_size, or run where there are more GPUs",
            ),
            (
                {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, Share(), 2,
                "vllm.tensor_parallel_size times vllm.pipeline_parallel_size: 4 processes need 4 GPUs, 2 are visible",
                "lower vllm.tensor_parallel_size or vllm.pipeline_parallel_size, or run where there are more GPUs",
            ),
            (
                {"data_parallel_size": 2}, Share(replicas=2), 1,
                "vllm.data_parallel_size: 2 processes need 2 GPUs, 1 is visible",
                "lower vllm.data_parallel_size, or run where there are more GPUs",
            ),
        ],
        ids=["one size", "two sizes", "replicas"],
    )  # fmt: skip
    def test_that_are_missing_are_said_before_anything_loads(
        self, prepared: Prepared, vllm: dict[str, Any], share: Share, gpus: int, cause: str, remedy: str
    ) -> None:
        with pytest.raises(EnvironmentLacksError) as caught:
            prepared(vllm, share, gpus=gpus)
        assert (caught.value.cause, caught.value.remedy) == (cause, remedy)
        assert caught.value.exit_code == 3

    def test_of_other_machines_are_rays_to_find(self, prepared: Prepared) -> None:
        prepared({"tensor_parallel_size": 4, "distributed_executor_backend": "ray"}, gpus=1)

    @pytest.mark.parametrize(("replica", "visible"), [(0, "0,1"), (1, "2,3")])
    def test_of_engines_on_their_own_are_different_ones(self, prepared: Prepared, replica: int, visible: str) -> None:
        share = Share(replica=replica, replicas=2, port=5)
        machine, _ = prepared({"data_parallel_size": 2, "tensor_parallel_size": 2}, share, gpus=4)
        assert machine.environ == {"CUDA_VISIBLE_DEVICES": visible}

    def test_of_ranks_that_share_experts_are_all_visible_to_each(self, prepared: Prepared) -> None:
        share = Share(replica=1, replicas=2, port=5)
        machine, _ = prepared({"data_parallel_size": 2, "trust_remote_code": True}, share, gpus=2, experts=8)
        assert machine.environ == {
            "VLLM_DP_RANK": "1", "VLLM_DP_RANK_LOCAL": "1", "VLLM_DP_SIZE": "2",
            "VLLM_DP_MASTER_IP": "127.0.0.1", "VLLM_DP_MASTER_PORT": "5",
        }  # fmt: skip
        # What decides which model it is, and no more.
        assert machine.described == [{"model": "m", "trust_remote_code": True}]


class TestCores:
    @pytest.fixture(autouse=True)
    def _four(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
        monkeypatch.setenv(BINDING, "")
        monkeypatch.delenv(BINDING)

    @pytest.mark.parametrize(
        ("vllm", "share", "bound"),
        [
            ({"tensor_parallel_size": 2}, Share(), "0,1|2,5"),
            ({"tensor_parallel_size": 3}, Share(), "0|1|2"),
            ({"data_parallel_size": 2}, Share(replica=0, replicas=2), "0,1"),
            ({"data_parallel_size": 2}, Share(replica=1, replicas=2), "2,5"),
            ({"data_parallel_size": 2, "tensor_parallel_size": 2}, Share(replica=1, replicas=2), "2|5"),
        ],
    )
    def test_are_divided_between_the_workers_and_that_is_told(
        self, prepared: Prepared, vllm: dict[str, Any], share: Share, bound: str
    ) -> None:
        """vLLM binds one worker to each NUMA node, and refuses a second one there."""
        _, warnings = prepared(vllm, share)
        assert os.environ[BINDING] == bound
        (warning,) = warnings
        assert warning.startswith(f"{BINDING} was not set: ")
        assert warning.endswith(f" {bound}")

    def test_of_a_single_worker_are_vllms_to_choose(self, prepared: Prepared) -> None:
        assert prepared({})[1] == []
        assert BINDING not in os.environ

    def test_that_the_user_bound_stay_so(self, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(BINDING, "0|5")
        assert prepared({"tensor_parallel_size": 2})[1] == []
        assert os.environ[BINDING] == "0|5"

    def test_that_are_missing_are_said_before_anything_loads(self, prepared: Prepared) -> None:
        with pytest.raises(EnvironmentLacksError) as caught:
            prepared({"tensor_parallel_size": 64})
        assert caught.value.cause == "vllm.tensor_parallel_size: 64 workers on the CPU need a core each, 4 may be used"
        assert caught.value.remedy == "lower vllm.tensor_parallel_size"


class TestThePlan:
    def test_is_one_process_for_an_engine_whatever_workers_it_starts(
        self, vllm_configured: Configured, vllm_recorder: VLLMRecorder
    ) -> None:
        calls = version_calls(vllm_configured({"tensor_parallel_size": 4}), vllm_recorder)
        assert vllm_plan.plan(calls, vllm_recorder) == [Share()]

    def test_is_one_for_each_rank_and_they_meet_at_one_port(
        self, vllm_configured: Configured, vllm_recorder: VLLMRecorder
    ) -> None:
        calls = version_calls(vllm_configured({"data_parallel_size": 3}), vllm_recorder)
        shares = vllm_plan.plan(calls, vllm_recorder)
        assert [(share.replica, share.replicas, share.threads, share.device) for share in shares] == [
            (0, 3, None, None), (1, 3, None, None), (2, 3, None, None),
        ]  # fmt: skip
        assert len({share.port for share in shares}) == 1
        assert shares[0].port > 0


def test_the_model_is_looked_at_only_where_several_ranks_could_share_its_experts(prepared: Prepared) -> None:
    assert prepared({"tensor_parallel_size": 2}, gpus=2)[0].described == []
