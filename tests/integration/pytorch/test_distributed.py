"""One model over two real processes on the real API: each rank holds its part, and the answer stays what it was."""

import multiprocessing
import socket
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.api import RealApi
from llenergymeasure.core.experiment import plan

from .fixtures_distributed import work
from .fixtures_running import opened, require_parameter
from .test_loading import make_tiny_mixtral

FROM_PRETRAINED = "transformers.AutoModelForCausalLM.from_pretrained"
DISTRIBUTED = "transformers.distributed.DistributedConfig"
QUERY, GATE = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.gate_proj.weight"
WHOLE_MLP = {f"model.layers.*.mlp.{name}_proj": "replicated_with_grad_allreduce" for name in ("gate", "up", "down")}
EXPERTS = {"model.layers.*.mlp.experts": "ep_dispatch_experts"}
DENSE = {
    "tp_plan": {"tp_plan": "auto", "tp_size": 2},
    "tensors": {"distributed": {"tp_size": 2}},
    "own rules": {"distributed": {"tp_size": 2, "tp_plan": WHOLE_MLP}},
    "stages": {"distributed": {"pp_size": 2}},
}
EXPERT = {
    "split experts": {"distributed": {"tp_size": 2}},
    "own experts": {"distributed": {"tp_size": 2, "ep_size": 2}},
    # Without a plan for the other tensors newer versions refuse the older name, as if tp_size asked for one.
    "experts by the older name": {"distributed": {"tp_size": 2, "tp_plan": "auto", "enable_expert_parallel": True}},
    "own expert rules": {"distributed": {"tp_size": 2, "ep_size": 2, "ep_plan": EXPERTS}},
    "all_reduce": {"distributed": {"tp_size": 2, "ep_size": 2, "ep_implementation": "all_reduce"}},
    "all_to_all": {"distributed": {"tp_size": 2, "ep_size": 2, "ep_implementation": "all_to_all"}},
}
Ranks = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_mixtral(tmp_path_factory.mktemp("mixtral"))


@pytest.fixture(scope="module")
def ranks(tiny_llama: Path, mixtral: Path) -> Ranks:
    """What both ranks say of every case; one pair of processes runs them all, because starting it takes long."""
    require_parameter((FROM_PRETRAINED, "tp_plan"))
    skip_with_one_gpu()
    surface = RealApi().surface("pytorch")
    cases = [
        (name, str(folder), section)
        for folder, sections in ((tiny_llama, DENSE), (mixtral, EXPERT))
        for name, section in sections.items()
        if all(surface.find(DISTRIBUTED, option) for option in section.get("distributed", ()))
    ]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    processes = [context.Process(target=work, args=(rank, port, cases, answers), daemon=True) for rank in (0, 1)]
    for process in processes:
        process.start()
    found: Ranks = {}
    try:
        for _ in range(2 * len(cases)):
            name, rank, answer = answers.get(timeout=240)
            found.setdefault(name, [{}, {}])[rank] = answer
    finally:
        for process in processes:
            process.join(10)
            process.kill()
            process.join()
    return found


def skip_with_one_gpu() -> None:
    import torch

    if torch.cuda.device_count() == 1:
        pytest.skip("needs two GPUs, or a machine without any: two ranks cannot share one")


def of(ranks: Ranks, case: str, **options: Any) -> list[dict[str, Any]]:
    """A case's two ranks; skipped where the version has not all of its options."""
    if case not in ranks:
        require_parameter((DISTRIBUTED, "tp_size"))
        for option in {**DENSE, **EXPERT}[case]["distributed"]:
            require_parameter((DISTRIBUTED, option))
    for answer in ranks[case]:
        assert "error" not in answer, answer["error"]
    return ranks[case]


def answer_of_one_process(model: Path) -> Any:
    data = {"prompts": ["The energy"], "output": {"max_tokens": 4}, "pytorch": {}}
    with opened(model, data) as (session, _):
        return session.backend.count(session.backend.generate(session.batches[0])).sequences


@pytest.mark.field("tp_plan", "observed")
def test_tensors_are_split_by_a_plan(ranks: Ranks, tiny_llama: Path) -> None:
    for rank in of(ranks, "tp_plan"):
        assert (rank["held"][QUERY], rank["held"][GATE]) == ((32, 64), (64, 64))  # half of the rows each
        assert rank["sequences"] == answer_of_one_process(tiny_llama)
        assert rank["quantized"] == {}


@pytest.mark.field("distributed", "observed")
@pytest.mark.field("distributed.tp_size", "observed")
def test_tensors_are_split(ranks: Ranks, tiny_llama: Path) -> None:
    for rank in of(ranks, "tensors"):
        assert (rank["held"][QUERY], rank["held"][GATE]) == ((32, 64), (64, 64))
        assert rank["sequences"] == answer_of_one_process(tiny_llama)


@pytest.mark.field("distributed.tp_plan", "observed")
def test_own_rules_keep_tensors_whole(ranks: Ranks, tiny_llama: Path) -> None:
    for rank in of(ranks, "own rules"):
        assert rank["held"][GATE] == (128, 64)  # some versions take the rules as the whole plan, others add them
        assert rank["sequences"] == answer_of_one_process(tiny_llama)


@pytest.mark.field("distributed.pp_size", "observed")
def test_layers_are_divided_into_stages(ranks: Ranks, tiny_llama: Path) -> None:
    first, second = of(ranks, "stages")
    layers = [{name.split(".")[2] for name in rank["held"] if ".layers." in name} for rank in (first, second)]
    assert layers[0] | layers[1] == {"0", "1"}
    assert not layers[0] & layers[1]
    assert first["sequences"] == answer_of_one_process(tiny_llama)


EXPERT_WEIGHT = "model.layers.0.mlp.experts.gate_up_proj"


@pytest.mark.field("distributed.ep_size", "observed")
def test_experts_are_divided(ranks: Ranks, mixtral: Path) -> None:
    assert [rank["held"][EXPERT_WEIGHT][0] for rank in of(ranks, "split experts")] == [4, 4]
    for rank in of(ranks, "own experts"):
        assert rank["held"][EXPERT_WEIGHT] == (2, 128, 64)  # two whole experts of four
        assert rank["sequences"] == answer_of_one_process(mixtral)


@pytest.mark.field("distributed.enable_expert_parallel", "observed")
def test_experts_are_divided_by_the_older_name(ranks: Ranks, mixtral: Path) -> None:
    for rank in of(ranks, "experts by the older name"):
        assert rank["held"][EXPERT_WEIGHT] == (2, 128, 64)  # two whole experts of four
        assert rank["sequences"] == answer_of_one_process(mixtral)


@pytest.mark.field("distributed.ep_plan", "effective")
def test_rules_for_the_experts(ranks: Ranks, mixtral: Path) -> None:
    for rank in of(ranks, "own expert rules"):
        assert rank["config"]["ep_plan"] == EXPERTS
        assert rank["sequences"] == answer_of_one_process(mixtral)


@pytest.mark.field("distributed.ep_implementation", "effective")
@pytest.mark.parametrize("name", ["all_reduce", "all_to_all"])
def test_how_tokens_reach_the_experts(ranks: Ranks, mixtral: Path, name: str) -> None:
    for rank in of(ranks, name):
        assert rank["config"]["ep_implementation"] == name
        assert rank["sequences"] == answer_of_one_process(mixtral)


@pytest.mark.field("tp_size", "effective")
def test_the_tool_plans_a_process_per_part(tiny_llama: Path) -> None:
    skip_with_one_gpu()
    require_parameter((FROM_PRETRAINED, "tp_plan"), (DISTRIBUTED, "tp_size"))
    for section in (DENSE["tp_plan"], DENSE["tensors"], DENSE["stages"], EXPERT["own experts"]):
        config = ExperimentConfig.model_validate({"model": str(tiny_llama), "prompts": ["x"], "pytorch": section})
        assert [(share.rank, share.ranks) for share in plan(config, RealApi())] == [(0, 2), (1, 2)]
