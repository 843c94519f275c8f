"""The transformers module on the recorder: what it refuses because something else runs, and how it counts."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from llenergymeasure.audit import recorder as recorder_module
from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.batching import Batch, Prompt
from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend, StepClock
from llenergymeasure.core.inference_backends.pytorch_readback import (
    NotAsRequestedError,
    end_tokens,
    quantized_modules,
    same,
    verify_compiled,
)
from llenergymeasure.core.session import version_calls

Configured = Callable[..., ExperimentConfig]
Backend = Callable[..., PyTorchBackend]


@pytest.fixture
def backend(configured: Configured, recorder: Recorder) -> Backend:
    def load(pytorch: dict[str, Any] | None = None, **fields: Any) -> PyTorchBackend:
        made = PyTorchBackend(version_calls(configured(pytorch, **fields), recorder), recorder)
        made.load()
        return made

    return load


class TestWhatRunsIsWhatWasAskedFor:
    """Trap: fallbacks that only log, so that the result claims what did not run."""

    @pytest.mark.parametrize(
        ("pytorch", "spoiled", "cause"),
        [
            (
                {"dtype": "bfloat16"},
                {"dtype": "torch.float32"},
                "pytorch.dtype: 'torch.bfloat16' was asked for, torch.float32 runs",
            ),
            (
                {"attn_implementation": "flash_attention_2"},
                {"attention": "sdpa"},
                "pytorch.attn_implementation: 'flash_attention_2' was asked for, 'sdpa' runs",
            ),
            ({"device_map": "cuda:1"}, {"device": "cpu"}, "pytorch.device_map: 'cuda:1' was asked for, cpu runs"),
            (
                {"device_map": {"model": 0, "model.layers": "cpu"}},
                {"device": "cuda:1"},
                "pytorch.device_map: {'model': 0, 'model.layers': 'cpu'} was asked for, cuda:1 runs",
            ),
            (
                {"quantization": {"method": "hqq"}},
                {"quantization": None},
                "pytorch.quantization: 'transformers.HqqConfig()' was asked for, no quantization runs",
            ),
            (
                {"quantization": {"method": "hqq"}},
                {"quantization": "QuantoConfig"},
                "pytorch.quantization: 'transformers.HqqConfig()' was asked for, QuantoConfig runs",
            ),
            (
                {"quantization": {"method": "hqq"}},
                {"modules": []},
                "pytorch.quantization: 'transformers.HqqConfig()' was asked for, a model without one quantized layer",
            ),
        ],
    )
    def test_else_it_is_an_error(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch,
        pytorch: dict[str, Any], spoiled: dict[str, Any], cause: str,
    ) -> None:  # fmt: skip
        backend(pytorch)  # as asked for: no error
        real = recorder_module._Model.__init__

        def init(model: Any, *arguments: Any) -> None:
            real(model, *arguments)
            if "dtype" in spoiled:
                model.dtype = spoiled["dtype"]
            if "attention" in spoiled:
                model.config._attn_implementation = spoiled["attention"]
            if "device" in spoiled:
                model.parameters = lambda: iter([SimpleNamespace(device=spoiled["device"])])
            if "quantization" in spoiled:
                name = spoiled["quantization"]
                model.config.quantization_config = name and type(name, (), {})()
            if "modules" in spoiled:
                model.modules = lambda: iter(())

        monkeypatch.setattr(recorder_module._Model, "__init__", init)
        with pytest.raises(NotAsRequestedError) as caught:
            backend(pytorch)
        assert caught.value.cause.startswith(cause)
        assert caught.value.exit_code == 3

    @pytest.mark.parametrize("strategy", ["auto", "balanced", "sequential"])
    def test_a_strategy_may_choose_the_device(self, backend: Backend, strategy: str) -> None:
        assert backend({"device_map": strategy}).model is not None

    def test_compilation_that_did_not_happen_is_an_error(self, configured: Configured, recorder: Recorder) -> None:
        calls = version_calls(configured({"torch_compile": {}}), recorder)

        def api(graphs: int) -> Any:
            return SimpleNamespace(resolve=lambda _: {"stats": {"unique_graphs": graphs}})

        verify_compiled(calls, api(1))
        with pytest.raises(NotAsRequestedError, match=r"pytorch\.torch_compile: .* no graph was compiled"):
            verify_compiled(calls, api(0))
        verify_compiled(version_calls(configured(), recorder), api(0))  # it was not asked for

    def test_quantized_modules_are_those_whose_class_or_weight_is_not_torchs_own(self) -> None:
        def module(kind: str, home: str, weight: Any, **more: Any) -> Any:
            made = type(kind, (), {"__module__": home})()
            for name, value in {"weight": weight, **more}.items():
                setattr(made, name, value)
            return made

        plain = type("Parameter", (), {"data": type("Tensor", (), {})()})()
        packed = type("PackedTensor", (), {})()
        hidden = type("Parameter", (), {"data": packed})()
        modules = [
            module("Linear", "torch.nn.modules.linear", plain, in_features=8),
            module("Linear4bit", "bitsandbytes.nn", plain, in_features=8),
            module("Linear", "torch.nn.modules.linear", packed, in_features=8),
            module("Linear", "torch.nn.modules.linear", hidden, in_features=8),
            module("LlamaRMSNorm", "transformers.models.llama", plain),
            module("Dropout", "torch.nn.modules.dropout", None),
        ]
        found = quantized_modules(SimpleNamespace(modules=lambda: iter(modules)))
        assert found == {"Linear4bit": 1, "Linear[PackedTensor]": 2}


@pytest.mark.parametrize(
    ("sent", "effective", "equal"),
    [
        (3, 3, True),
        (3, 4, False),
        (7, [7], True),  # one end token becomes a list
        ([7], [7, 8], False),
        ((4, 1.5), [4, 1.5], True),
        ([[[9], -2.0]], [[[9], -2.0]], True),
        (None, 0, False),
    ],
)
def test_what_counts_as_the_same_value(sent: Any, effective: Any, equal: bool) -> None:
    assert same(sent, effective) is equal


@pytest.mark.parametrize(
    ("own", "sent", "ends", "pad"),
    [
        ((2, 0), {}, {2}, 0),
        ((2, None), {}, {2}, 2),
        (([2, 3], 0), {}, {2, 3}, 0),
        ((2, 0), {"eos_token_id": 7}, {7}, 0),
        ((2, 0), {"eos_token_id": [7, 8], "pad_token_id": 9}, {7, 8}, 9),
        ((None, None), {}, set(), None),
    ],
)
def test_the_end_tokens_that_apply(own: tuple[Any, Any], sent: dict[str, Any], ends: set[int], pad: int | None) -> None:
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=own[0], pad_token_id=own[1]))
    assert end_tokens(model, sent) == (ends, pad)


class Answers:
    """Rows that a model returns: the prompt as it was padded, then the given tokens."""

    def __init__(self, *rows: list[int]) -> None:
        self.rows = rows

    def __call__(self, **arguments: Any) -> Any:
        inputs = arguments["input_ids"].tolist()
        per_prompt = len(self.rows) // len(inputs)
        full = [inputs[number // per_prompt] + row for number, row in enumerate(self.rows)]
        for clock in arguments["stopping_criteria"]:
            clock(SimpleNamespace(shape=(len(full), len(full[0]))), None)
        return SimpleNamespace(tolist=lambda: full)


def answered(backend: PyTorchBackend, *rows: list[int], prompts: int) -> Any:
    given = [Prompt(index, tuple(range(3, 4 + index))) for index in range(prompts)]
    backend.model.generate = Answers(*rows)
    return backend.count(backend.generate(Batch(tuple(given), backend._pad(given))))


END, PAD = 1, 0  # the recorder's model


@pytest.mark.parametrize(
    ("rows", "sequences", "finished"),
    [
        pytest.param([[5, 6, 7]], [[[5, 6, 7]]], ["length"], id="to the limit"),
        pytest.param([[5, END]], [[[5, END]]], ["stop"], id="the end token counts"),
        pytest.param(
            [[5, 6, 7], [5, END, PAD]], [[[5, 6, 7]], [[5, END]]], ["length", "stop"], id="padding after it does not"
        ),
        pytest.param([[5, END, END], [END, END, END]], [[[5, END]], [[END]]], ["stop", "stop"], id="nor another end"),
    ],
)
def test_generated_tokens_are_counted_without_padding(
    backend: Backend, rows: list[list[int]], sequences: list[list[list[int]]], finished: list[str]
) -> None:
    output = answered(backend(output={"max_tokens": 3}), *rows, prompts=len(rows))
    assert [[list(ids) for ids in group] for group in output.sequences] == sequences
    assert list(output.finished) == finished


def test_returned_sequences_belong_to_their_prompt(backend: Backend) -> None:
    loaded = backend({"num_beams": 2, "num_return_sequences": 2})
    output = answered(loaded, [5], [6], [7], [8], prompts=2)
    assert output.sequences == (((5,), (6,)), ((7,), (8,)))


def test_steps_are_counted_from_the_padded_width(backend: Backend) -> None:
    output = answered(backend(), [5, 6], [7, 8], prompts=2)
    for steps in output.steps:
        ((at, tokens),) = steps
        assert output.start_s <= at <= output.end_s
        assert tokens == 2


def test_the_step_clock_stops_nothing_and_waits_for_the_device() -> None:
    waited: list[bool] = []
    clock = StepClock(lambda: waited.append(True))
    assert clock(SimpleNamespace(shape=(2, 9)), None) is False
    assert [length for _, length in clock.steps] == [9]
    assert waited == [True]


def test_the_tokenizer_goes_along_where_a_parameter_needs_it(backend: Backend) -> None:
    assert "tokenizer" not in backend().generation
    loaded = backend({"stop_strings": ["<stop>"]})
    assert loaded.generation["tokenizer"] is loaded.tokenizer


def test_a_tokenizer_without_padding_pads_with_its_end_token(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module._Tokenizer, "pad_token", None)
    assert backend().tokenizer.pad_token == "<end>"  # noqa: S105 - a token of a vocabulary
