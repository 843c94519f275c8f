"""Continuous batching on the real API: whose answer is whose, and what its compiled steps are told."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from llenergymeasure.errors import RequestError

from .fixtures_running import MIXED, require_package, require_parameter, run

Load = Callable[..., Any]
CONFIG = "transformers.ContinuousBatchingConfig"
SMALL = {"num_blocks": 16, "max_batch_tokens": 64, "persistent_manager": True}
EAGER = {"backend": "eager", "mode": "default"}
pytestmark = pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated")


def test_answers_that_come_in_another_order_stay_with_their_prompts(load: Load) -> None:
    """Older versions return answers as they finish, or number them in another order than the prompts'."""
    require_parameter(("transformers.GenerationMixin.generate_batch", "inputs"))
    backend = load({"continuous_batching": {}})

    def generate_batch(inputs: list[list[int]], **_: Any) -> dict[str, Any]:
        finished_last_first = reversed(list(enumerate(inputs, 8)))  # ids of one and of two digits
        return {
            f"req_{number}": SimpleNamespace(prompt_ids=ids, generated_tokens=[len(ids)], error=None)
            for number, ids in finished_last_first
        }

    backend.model.generate_batch = generate_batch
    (output,) = run(backend, MIXED)
    assert [group[0][0] for group in output.sequences] == [len(prompt.ids) for prompt in output.prompts]


def test_answers_that_are_missing_are_an_error(load: Load) -> None:
    backend = load({"continuous_batching": {}})
    backend.model.generate_batch = lambda inputs, **_: {
        "req_0": SimpleNamespace(prompt_ids=inputs[0], generated_tokens=[5], error=None)
    }
    with pytest.raises(RequestError, match="3 of 4 requests gave no answer"):
        run(backend, MIXED)


@pytest.mark.field("continuous_batching.varlen_compile_config.fullgraph", "effective")
@pytest.mark.parametrize("whole", [True, False])
def test_prompts_are_compiled_whole(load: Load, whole: bool) -> None:
    require_parameter((CONFIG, "varlen_compile_config"))
    backend = load({"continuous_batching": {**SMALL, "varlen_compile_config": {**EAGER, "fullgraph": whole}}})
    try:
        run(backend)
    except RequestError:
        assert whole  # some versions call functions that are never traced
    manager = backend.model._cached_continuous_batching_manager
    assert manager.continuous_batching_config.varlen_compile_config.fullgraph is whole


@pytest.mark.field("continuous_batching.varlen_compile_config.options", "effective")
def test_the_compiler_of_prompts_gets_its_options(load: Load) -> None:
    """They stand in the place of a mode, with which torch would refuse to compile."""
    require_parameter((CONFIG, "varlen_compile_config"))
    options = {"epilogue_fusion": True}
    backend = load(
        {"continuous_batching": {**SMALL, "varlen_compile_config": {"backend": "eager", "options": options}}}
    )
    run(backend)
    config = backend.model._cached_continuous_batching_manager.continuous_batching_config.varlen_compile_config
    assert (config.options, config.mode) == (options, None)


@pytest.mark.field("continuous_batching.default_compile_level", "effective")
def test_level_of_the_compilation(load: Load) -> None:
    require_parameter((CONFIG, "default_compile_level"))
    section = {**SMALL, "default_compile_level": 1, "varlen_compile_config": EAGER}
    backend = load({"continuous_batching": section})
    run(backend)
    config = backend.model._cached_continuous_batching_manager.continuous_batching_config
    assert config.default_compile_level == 1


@pytest.mark.field("continuous_batching.max_blocks_per_request", "effective")
def test_blocks_of_the_fast_decoding_path(load: Load) -> None:
    require_parameter((CONFIG, "max_blocks_per_request"))
    require_package("flash_attn", "without the fast decoding path transformers sets the option to 0")
    backend = load({"continuous_batching": {**SMALL, "max_blocks_per_request": 8}})
    run(backend)
    assert backend.model._cached_continuous_batching_manager.continuous_batching_config.max_blocks_per_request == 8
