"""Continuous batching on the recorder: what its answers must be, and what its manager may not have changed."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from llenergymeasure.audit import recorder as recorder_module
from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.batching import Batch, BatchOutput, Prompt
from llenergymeasure.core.inference_backends.base import NotAsRequestedError
from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend
from llenergymeasure.core.session import version_calls
from llenergymeasure.errors import EnvironmentLacksError, RequestError

Configured = Callable[..., ExperimentConfig]
Backend = Callable[..., PyTorchBackend]
FIRST, SECOND = PROMPTS = (Prompt(0, (3,)), Prompt(1, (4, 5)))
END = 1  # the recorder's model
MODE = "pytorch.continuous_batching"


@pytest.fixture
def backend(configured: Configured, recorder: Recorder) -> Backend:
    def load(options: dict[str, Any] | None = None, **fields: Any) -> PyTorchBackend:
        config = configured({"continuous_batching": options or {}, **fields})
        made = PyTorchBackend(version_calls(config, recorder), recorder)
        made.load()
        return made

    return load


def answer(prompt: Prompt, *tokens: int, error: str | None = None) -> Any:
    return SimpleNamespace(prompt_ids=list(prompt.ids), generated_tokens=list(tokens), error=error, timestamps=None)


def run(backend: PyTorchBackend) -> BatchOutput:
    return backend.count(backend.generate(Batch(PROMPTS)))


def answering(backend: PyTorchBackend, answers: dict[str, Any]) -> PyTorchBackend:
    backend.model.generate_batch = lambda **_: answers
    return backend


class TestAnswers:
    @pytest.mark.parametrize("names", [("req_9", "req_10"), ("req_10", "req_9")])
    def test_they_belong_to_the_prompt_that_they_repeat(self, backend: Backend, names: tuple[str, str]) -> None:
        """Neither the order nor the number says whose an answer is."""
        loaded = answering(backend(), {names[0]: answer(SECOND, 7), names[1]: answer(FIRST, 6)})
        assert run(loaded).sequences == (((6,),), ((7,),))

    def test_sequences_of_one_request_stay_together(self, backend: Backend) -> None:
        answers = {f"req_1{child}": answer(SECOND, 7) for child in ("__child#0", "")}
        answers |= {f"req_0{child}": answer(FIRST, 6) for child in ("__child#0", "")}
        loaded = answering(backend(do_sample=True, num_return_sequences=2), answers)
        assert run(loaded).sequences == (((6,), (6,)), ((7,), (7,)))

    def test_prompts_that_are_alike_have_an_answer_each(self, backend: Backend) -> None:
        loaded = answering(backend(), {"a_0": answer(FIRST, 6), "a_1": answer(FIRST, 7)})
        output = loaded.count(loaded.generate(Batch((FIRST, Prompt(1, FIRST.ids)))))
        assert output.sequences == (((6,),), ((7,),))

    @pytest.mark.parametrize(
        ("answers", "says"),
        [
            ({"a_0": answer(FIRST, 5), "a_1": answer(SECOND, 5, error="no room left")}, "no room left"),
            ({"a_0": answer(FIRST, 5)}, "1 of 2 requests gave no answer"),
            ({"a_0": answer(FIRST, 5), "a_1": answer(Prompt(0, (9,)), 5)}, "1 of 2 requests gave no answer"),
            ({}, "2 of 2 requests gave no answer"),
        ],
    )
    def test_one_that_is_lost_is_an_error(self, backend: Backend, answers: dict[str, Any], says: str) -> None:
        with pytest.raises(RequestError) as caught:
            run(answering(backend(), answers))
        assert caught.value.cause == f"{MODE}: transformers failed to generate: {says}"

    def test_one_sequence_where_several_were_asked_for_is_an_error(self, backend: Backend) -> None:
        loaded = backend(do_sample=True, num_return_sequences=2)
        with pytest.raises(RequestError, match="one sequence per prompt, and 2 were asked for") as caught:
            run(answering(loaded, {"a_0": answer(FIRST, 5), "a_1": answer(SECOND, 6)}))
        assert "pytorch.num_return_sequences" in caught.value.remedy

    def test_tokens_behind_an_end_token_are_an_error(self, backend: Backend) -> None:
        """They cost energy, and are counted nowhere."""
        good = {"a_0": answer(FIRST, 5, END), "a_1": answer(SECOND, 6, 7)}
        run(answering(backend(), good))
        with pytest.raises(NotAsRequestedError, match="2 tokens behind an end token") as caught:
            run(answering(backend(), {**good, "a_0": answer(FIRST, 5, END, 8, 9)}))
        assert "pytorch.eos_token_id" in caught.value.remedy


@pytest.mark.parametrize(("ends", "given"), [([7], 7), ([7, 8], [7, 8]), (7, 7)])
def test_a_list_of_one_end_token_is_that_token(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, ends: Any, given: Any
) -> None:
    monkeypatch.setattr(recorder_module._GenerationConfig, "eos_token_id", ends)
    loaded = backend()
    seen: list[Any] = []

    def generate_batch(generation_config: Any, **_: Any) -> dict[str, Any]:
        seen.append(generation_config.eos_token_id)
        return {"a_0": answer(FIRST, 5), "a_1": answer(SECOND, 6)}

    loaded.model.generate_batch = generate_batch
    run(loaded)
    assert seen == [given]


def test_the_models_own_generation_config_is_as_before(backend: Backend) -> None:
    loaded = backend()
    own = loaded.model.generation_config

    def generate_batch(**_: Any) -> dict[str, Any]:
        loaded.model.generation_config.top_p = None  # as 4.57 does
        return {"a_0": answer(FIRST, 5), "a_1": answer(SECOND, 6)}

    own.top_p = 0.5
    loaded.model.generate_batch = generate_batch
    run(loaded)
    assert loaded.model.generation_config is own
    assert own.top_p == 0.5


class TestReadBack:
    @pytest.fixture
    def managed(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PyTorchBackend]:
        """A backend whose manager changes what it is told."""

        def load(changes: dict[str, Any], options: dict[str, Any] | None = None, **fields: Any) -> PyTorchBackend:
            real = recorder_module._Model.init_continuous_batching

            def init(model: Any, *given: Any, **named: Any) -> Any:
                manager = real(model, *given, **named)
                for name, value in changes.items():
                    setattr(manager.continuous_batching_config, name, value)
                return manager

            monkeypatch.setattr(recorder_module._Model, "init_continuous_batching", init)
            return backend(options, **fields)

        return load

    def test_what_runs_as_sent_is_no_difference(self, managed: Callable[..., PyTorchBackend]) -> None:
        options = {"page_size": 16, "use_cuda_graph": True, "decode_compile_config": {"mode": "default"}}
        found = managed({"use_cuda_graph": (True, True)}, options).effective(Batch(PROMPTS))
        assert found.differences == ()
        assert found.values["continuous_batching"]["page_size"] == 16

    @pytest.mark.parametrize(
        ("options", "changes", "field", "values"),
        [
            ({"page_size": 16}, {"page_size": 32}, "page_size", (16, 32)),
            ({"use_cuda_graph": True}, {"use_cuda_graph": (True, False)}, "use_cuda_graph", (True, [True, False])),
            ({"use_async_batching": True}, {"use_async_batching": False}, "use_async_batching", (True, False)),
            ({"seed": 7}, {"seed": None}, "seed", (7, None)),
            (
                {"varlen_compile_config": {"mode": "default"}},
                {"varlen_compile_config": SimpleNamespace(mode="max-autotune")},
                "varlen_compile_config.mode",
                ("default", "max-autotune"),
            ),
        ],
    )
    def test_each_changed_value_is_a_difference(
        self,
        managed: Callable[..., PyTorchBackend],
        options: dict[str, Any],
        changes: dict[str, Any],
        field: str,
        values: tuple[Any, Any],
    ) -> None:
        (difference,) = managed(changes, options).effective(Batch(PROMPTS)).differences
        assert difference.field == f"{MODE}.{field}"
        assert (difference.sent, difference.effective) == values

    @pytest.mark.parametrize("name", ["varlen_compile_config", "decode_compile_config"])
    def test_compilation_that_is_dropped_is_an_error(self, managed: Callable[..., PyTorchBackend], name: str) -> None:
        loaded = managed({name: None}, {name: {"mode": "default"}})
        with pytest.raises(NotAsRequestedError) as caught:
            loaded.effective(Batch(PROMPTS))
        assert caught.value.cause.startswith(f"{MODE}.{name}: compilation was asked for")
        assert caught.value.exit_code == 3

    def test_nothing_is_generated(self, backend: Backend, recorder: Recorder) -> None:
        loaded = backend()
        finished: list[bool] = []
        real = loaded.model.generate_batch
        loaded.model.generate_batch = lambda **given: finished.append(bool(real(**given)))
        loaded.effective(Batch(PROMPTS))
        assert finished == []
        assert "init_continuous_batching" not in vars(loaded.model)

    def test_a_version_that_does_not_say_is_an_error(self, backend: Backend) -> None:
        loaded = answering(backend(), {"a_0": answer(FIRST, 5)})
        with pytest.raises(EnvironmentLacksError, match="does not say what it runs with"):
            loaded.effective(Batch(PROMPTS))

    @pytest.mark.parametrize(
        ("sent", "runs", "same"),
        [
            ("sdpa", "paged|sdpa", True),
            ("paged|sdpa", "sdpa", True),
            ("sdpa", "sdpa_paged", True),
            ("sdpa", "flash_attention_3", False),
            (None, "flash_attention_3", True),
        ],
    )
    def test_another_attention_kernel_than_asked_for_is_an_error(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch, sent: str | None, runs: str, same: bool
    ) -> None:
        real = recorder_module._Model.init_continuous_batching

        def init(model: Any, *given: Any, **named: Any) -> Any:
            model.config._attn_implementation = runs
            return real(model, *given, **named)

        def restore(model: Any, kernel: str) -> None:
            model.config._attn_implementation = kernel

        monkeypatch.setattr(recorder_module._Model, "init_continuous_batching", init)
        monkeypatch.setattr(recorder_module._Model, "set_attn_implementation", restore, raising=False)
        loaded = backend(**({"attn_implementation": sent} if sent else {}))
        if same:
            assert loaded.effective(Batch(PROMPTS)).values["continuous_batching"]["attn_implementation"] == runs
        else:
            with pytest.raises(NotAsRequestedError, match=f"'{sent}' was asked for, continuous batching runs '{runs}'"):
                loaded.effective(Batch(PROMPTS))
        assert loaded.model.config._attn_implementation == sent

    def test_a_kernel_that_cannot_read_the_pages_is_an_error(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Transformers 4.57 does not switch, and would generate as if each step stood alone."""
        real = recorder_module._Model.init_continuous_batching

        def init(model: Any, *given: Any, **named: Any) -> Any:
            manager = real(model, *given, **named)
            manager.supported_attention_implementations = lambda: {"sdpa_paged", "eager_paged"}
            return manager

        monkeypatch.setattr(recorder_module._Model, "init_continuous_batching", init)
        backend(attn_implementation="sdpa_paged").effective(Batch(PROMPTS))
        with pytest.raises(RequestError, match="'sdpa' does not read this version's paged cache") as caught:
            backend(attn_implementation="sdpa").effective(Batch(PROMPTS))
        assert caught.value.remedy == "set pytorch.attn_implementation to one of eager_paged, sdpa_paged"

    @pytest.mark.parametrize(("kept", "error"), [([], False), (["Penalty"], True)], ids=["it is dropped", "it is kept"])
    def test_a_processor_of_the_models_own(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch, kept: list[str], error: bool
    ) -> None:
        """Asked for by the checkpoint, and of no use without the whole sequence."""
        real = recorder_module._Model.init_continuous_batching

        def init(model: Any, *given: Any, **named: Any) -> Any:
            manager = real(model, *given, **named)
            manager.logit_processor = [type(name, (), {})() for name in kept]
            return manager

        def generate(model: Any, *, custom_generate: Any, **_: Any) -> None:
            asked = getattr(model.generation_config, "repetition_penalty", None) not in (None, 1.0)
            custom_generate(
                model=model,
                input_ids=None,
                logits_processor=[type("Penalty", (), {})()] if asked else [],
                stopping_criteria=[],
                generation_config=model.generation_config,
            )

        monkeypatch.setattr(recorder_module._Model, "init_continuous_batching", init)
        monkeypatch.setattr(recorder_module._Model, "generate", generate)
        monkeypatch.setattr(recorder_module._GenerationConfig, "repetition_penalty", 1.3, raising=False)
        loaded = backend()
        if error:
            with pytest.raises(RequestError, match="asks for Penalty, which needs the whole sequence"):
                loaded.effective(Batch(PROMPTS))
        else:
            (warning,) = loaded.effective(Batch(PROMPTS)).warnings
            assert warning == f"{MODE}: Penalty, which the model's own generation config asks for, is left out"


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({}, None),
        ({"default_compile_level": 0}, None),
        ({"default_compile_level": 1}, "default_compile_level"),
        ({"varlen_compile_config": {"mode": "default"}}, "varlen_compile_config"),
    ],
)
def test_compilation_of_the_steps_is_held_to_have_happened(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], path: str | None
) -> None:
    loaded = backend(options)
    real = loaded.api.resolve
    monkeypatch.setattr(
        Recorder,
        "resolve",
        lambda _, name: {"stats": {"unique_graphs": 0}} if name == "torch._dynamo.utils.counters" else real(name),
    )
    if path is None:
        loaded.verify_ran()
        assert loaded.compilations() is None
        return
    with pytest.raises(NotAsRequestedError, match=f"{MODE}.{path}: .* no graph was compiled"):
        loaded.verify_ran()
