"""Continuous batching on the real API: what its manager changed after accepting it is told, or refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.core.batching import Prompt
from llenergymeasure.core.inference_backends.base import Effective, NotAsRequestedError
from llenergymeasure.errors import RequestError

from .fixtures_running import edit_json, require_parameter, run, watched

Load = Callable[..., Any]
CONFIG = "transformers.ContinuousBatchingConfig"
MODE = "pytorch.continuous_batching"
SMALL = {"num_blocks": 16, "max_batch_tokens": 64}
pytestmark = pytest.mark.filterwarnings("ignore:Passing `repetition_penalty` with `inputs_embeds`:UserWarning")


@pytest.fixture(autouse=True)
def _version_can() -> None:
    require_parameter((CONFIG, "num_blocks"))


def effective(load: Load, fields: dict[str, Any] | None = None, /, **options: Any) -> Effective:
    backend = load({**(fields or {}), "continuous_batching": {**SMALL, **options}})
    return read(backend)


def read(backend: Any) -> Effective:
    prompts = [Prompt(0, (5, 6, 7)), Prompt(1, (8, 9))]
    found: Effective = backend.effective(backend.prepare(prompts)[0])
    return found


def without_flash_attention() -> None:
    import importlib.util

    if importlib.util.find_spec("flash_attn") is not None:
        pytest.skip("needs a machine without flash attention")


def test_what_runs_as_sent_is_no_difference(load: Load) -> None:
    found = effective(load, scheduler_type="prefill_first", safety_margin=0.25, return_logprobs=True)
    assert found.differences == ()
    assert found.warnings == ()
    values = found.values["continuous_batching"]
    assert values["cache"]["num_blocks"] == values["num_blocks"] == 16
    assert values["max_batch_tokens"] == 64
    assert values["safety_margin"] == 0.25
    assert values["scheduler"] == "PrefillFirstScheduler"
    assert found.values["generation"]["max_new_tokens"] == 4
    json.dumps(found.values)


@pytest.mark.parametrize(
    ("options", "sent", "runs"),
    [
        ({"max_requests_per_batch": 100}, 100, 64),  # no more requests than a step has tokens
        ({"max_blocks_per_request": 8}, 8, 0),  # the fast decoding path is flash attention's
    ],
)
def test_what_the_manager_changes_is_a_difference(load: Load, options: dict[str, Any], sent: int, runs: int) -> None:
    without_flash_attention()
    (difference,) = effective(load, **options).differences
    ((name, _),) = options.items()
    assert (difference.field, difference.sent, difference.effective) == (f"{MODE}.{name}", sent, runs)


@pytest.mark.parametrize("sent", [True, (True, False)])
def test_graphs_that_are_not_recorded_are_a_difference(load: Load, sent: Any) -> None:
    import torch

    found = effective(load, use_cuda_graph=sent)
    runs = found.values["continuous_batching"]["use_cuda_graph"]
    if torch.cuda.is_available():
        assert found.differences == ()
        assert runs == ([True, True] if sent is True else [True, False])
        return
    (difference,) = found.differences
    assert difference.field == f"{MODE}.use_cuda_graph"
    assert difference.effective == runs == [False, False]


def test_compilation_that_is_dropped_is_an_error(load: Load) -> None:
    without_flash_attention()
    require_parameter((CONFIG, "decode_compile_config"))
    with pytest.raises(NotAsRequestedError) as caught:
        effective(load, decode_compile_config={"backend": "eager"})
    assert caught.value.cause.startswith(f"{MODE}.decode_compile_config: compilation was asked for")


def test_compilation_that_is_kept_is_read_back(load: Load) -> None:
    require_parameter((CONFIG, "varlen_compile_config"))
    found = effective(load, varlen_compile_config={"backend": "eager", "dynamic": True})
    assert found.differences == ()
    assert found.values["continuous_batching"]["varlen_compile_config"]["backend"] == "eager"


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated")
def test_compilation_of_the_steps_is_counted(load: Load) -> None:
    require_parameter((CONFIG, "varlen_compile_config"))
    import torch

    torch._dynamo.reset()  # what another test compiled would be used again, and not counted
    assert load({"continuous_batching": SMALL}).compilations() is None
    backend = load({"continuous_batching": {**SMALL, "varlen_compile_config": {"backend": "eager", "mode": "default"}}})
    before = backend.compilations()
    run(backend)
    backend.verify_ran()
    assert backend.compilations() > before


def test_another_attention_kernel_is_an_error(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where flash attention is installed and takes over."""
    from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager

    def switch(manager: Any, model: Any, *_: Any) -> None:
        manager._original_attn_impl = model.config._attn_implementation
        model.set_attn_implementation("eager")

    monkeypatch.setattr(ContinuousBatchingManager, "switch_to_cb_friendly_attn", switch)
    unasked = effective(load)
    assert unasked.warnings == (f"{MODE}: runs with the attention implementation eager",)
    backend = load({"attn_implementation": "sdpa", "continuous_batching": SMALL})
    with pytest.raises(NotAsRequestedError) as caught:
        read(backend)
    assert caught.value.cause == ("pytorch.attn_implementation: 'sdpa' was asked for, continuous batching runs 'eager'")
    assert backend.model.config._attn_implementation == "sdpa"


def test_a_kernels_paged_form_is_the_same_kernel(load: Load) -> None:
    found = effective(load, {"attn_implementation": "eager"})
    assert found.values["continuous_batching"]["attn_implementation"] == "paged|eager"
    assert found.warnings == ()


@pytest.fixture
def with_own(tiny_llama: Path, tmp_path: Path) -> Callable[..., Path]:
    """The tiny model with a generation config of its own, as checkpoints have one."""

    def make(**values: Any) -> Path:
        folder = tmp_path / "own"
        shutil.copytree(tiny_llama, folder)
        edit_json(folder / "generation_config.json", **values)
        return folder

    return make


def test_a_processor_of_the_models_own_that_is_dropped_is_told(load: Load, with_own: Callable[..., Path]) -> None:
    backend = load({"continuous_batching": SMALL}, model=with_own(repetition_penalty=1.3, do_sample=True, top_k=7))
    found = read(backend)
    assert found.warnings == (
        f"{MODE}: RepetitionPenaltyLogitsProcessor, which the model's own generation config asks for, is left out",
    )
    assert found.values["continuous_batching"]["logits_processors"] == ["TopKLogitsWarper"]


def test_a_processor_of_the_models_own_that_would_go_wrong_is_an_error(
    load: Load, with_own: Callable[..., Path]
) -> None:
    backend = load({"continuous_batching": SMALL}, model=with_own(forced_bos_token_id=9))
    with pytest.raises(RequestError, match="ForcedBOSTokenLogitsProcessor, which needs the whole sequence"):
        read(backend)


def test_one_that_is_kept_against_the_advice_would_go_wrong_too(load: Load, with_own: Callable[..., Path]) -> None:
    options = {**SMALL, "drop_unsupported_processors": False}
    backend = load({"continuous_batching": options}, model=with_own(repetition_penalty=1.3))
    with pytest.raises(RequestError, match="RepetitionPenaltyLogitsProcessor, which needs the whole sequence"):
        read(backend)


def test_reading_back_generates_nothing(load: Load) -> None:
    backend = load({"continuous_batching": SMALL})
    with watched(backend.model) as seen:
        read(backend)
    assert seen.shapes == []


def test_a_manager_that_is_kept_goes_with_the_backend(load: Load) -> None:
    backend = load({"continuous_batching": {**SMALL, "persistent_manager": True}})
    run(backend)
    model = backend.model
    assert hasattr(model, "_cached_continuous_batching_manager")
    read(backend)  # of a new one, made from what is sent
    run(backend)
    backend.close()
    assert not hasattr(model, "_cached_continuous_batching_manager")
