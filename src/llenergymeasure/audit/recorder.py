"""A stand-in for transformers that notes what reaches it: real names and signatures of one version, no computation.

It is a test double: it accepts what the version's surface has, refuses every other name as the real API would, and
obeys what it is sent. The real backend module runs on it unchanged.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from llenergymeasure.config.bindings import OWN_PACKAGE
from llenergymeasure.config.pytorch.entry_points import (
    AUTOCAST,
    FROM_PRETRAINED,
    GENERATE,
    GENERATE_BATCH,
    GENERATION_CONFIG,
    PAD,
    TOKENIZE,
    TOKENIZER,
    TORCH_COMPILE,
)
from llenergymeasure.core.api import RealApi
from llenergymeasure.surface.model import Surface

_TEMPLATE = "transformers.PreTrainedTokenizerBase.apply_chat_template"
_WORDS = 100  # in the model's vocabulary; the assistant's has more, so that it needs a tokenizer of its own


@dataclass(frozen=True)
class Reference:
    """What a dotted name of the backend would be."""

    path: str


@dataclass(frozen=True)
class Built:
    """What a class of the backend would have made."""

    entry_point: str
    arguments: tuple[tuple[str, Any], ...]


@dataclass
class Recorder:
    """Implements `Api`; `calls` holds what arrived, per entry point and in order."""

    version: Surface
    calls: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def surface(self, backend: str) -> Surface:
        del backend
        return self.version

    def resolve(self, path: str) -> Any:
        if path.startswith(OWN_PACKAGE):
            return self._watched(path, RealApi().resolve(path))
        makers = self._makers()
        if path in makers:
            return makers[path]()
        if path not in self.version.entry_points:
            return Reference(path)
        if path.rpartition(".")[2][0].isupper():
            return self._class(path)
        return lambda **arguments: self.note(path, arguments)

    def _makers(self) -> Mapping[str, Callable[[], Any]]:
        """What stands for the names that are called and give something back."""
        return {
            FROM_PRETRAINED: self._model,
            TOKENIZER: self._tokenizer,
            TORCH_COMPILE: self._compile,
            AUTOCAST: self._autocast,
            "torch.cuda.is_available": lambda: lambda: False,
            "torch.cuda.device_count": lambda: lambda: 0,
            "torch.cuda.set_device": lambda: lambda _: None,
            "torch.set_num_threads": lambda: lambda _: None,
            "transformers.StoppingCriteriaList": lambda: list,
        }

    def note(self, entry_point: str, arguments: Mapping[str, Any]) -> None:
        """Record a call; a name that the version does not have is refused."""
        known = self.version.entry_points[entry_point].parameters
        for name in arguments:
            if name not in known:
                raise TypeError(f"{entry_point}() got an unexpected keyword argument '{name}'")
        self.calls.setdefault(entry_point, []).append(dict(arguments))

    def _watched(self, path: str, real: Any) -> Any:
        def call(*positional: Any, **arguments: Any) -> Any:
            self.calls.setdefault(path, []).append(arguments)
            return real(*positional, **arguments)

        return call

    def _class(self, path: str) -> Any:
        def make(**arguments: Any) -> Built:
            self.note(path, arguments)
            return Built(path, tuple(sorted(arguments.items(), key=lambda item: item[0])))

        make.__name__ = path.rpartition(".")[2]
        return make

    def _model(self) -> Any:
        def from_pretrained(**arguments: Any) -> "_Model | tuple[_Model, dict[str, Any]]":
            first = FROM_PRETRAINED not in self.calls
            if first:  # a later one is the assistant, which `generate` gets
                self.note(FROM_PRETRAINED, arguments)
            made = _Model(self, arguments, _WORDS if first else _WORDS + 1)
            return (made, {}) if arguments.get("output_loading_info") else made

        return from_pretrained

    def _tokenizer(self) -> Any:
        def from_pretrained(**arguments: Any) -> "_Tokenizer":
            if TOKENIZER not in self.calls:  # a later one is the assistant's, which `generate` gets
                self.note(TOKENIZER, arguments)
            return _Tokenizer(self)

        return from_pretrained

    def _compile(self) -> Any:
        def compile_(model: Any, **arguments: Any) -> Any:
            self.note(TORCH_COMPILE, {"model": "the forward pass", **arguments})
            return model

        return compile_

    def _autocast(self) -> Any:
        @contextmanager
        def autocast(**arguments: Any) -> Iterator[None]:
            self.note(AUTOCAST, arguments)
            yield

        return autocast


class _Tensor:
    """Token ids with just what the backend module asks of a tensor."""

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        self.rows = [list(row) for row in rows]
        self.shape = (len(self.rows), len(self.rows[0]) if self.rows else 0)

    def to(self, device: Any) -> "_Tensor":
        del device
        return self

    def tolist(self) -> list[list[int]]:
        return self.rows


class _Tokenizer:
    pad_token = eos_token = "<end>"  # noqa: S105 - a token of a vocabulary
    chat_template = "template"
    all_special_ids = (0, 1)

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __len__(self) -> int:
        return _WORDS

    def __repr__(self) -> str:
        return "tokenizer"

    def __call__(self, text: str, **arguments: Any) -> dict[str, list[int]]:
        self._recorder.note(TOKENIZE, {"text": text, **arguments})
        return {"input_ids": [2 + len(word) for word in text.split()]}

    def apply_chat_template(self, conversation: Any, **arguments: Any) -> str:
        self._recorder.note(_TEMPLATE, {"conversation": conversation, **arguments})
        return str(conversation[0]["content"])

    def pad(self, encoded_inputs: Mapping[str, Sequence[Sequence[int]]], **arguments: Any) -> dict[str, _Tensor]:
        self._recorder.note(PAD, {"encoded_inputs": encoded_inputs, **arguments})
        rows = encoded_inputs["input_ids"]
        width = max(map(len, rows))
        return {
            "input_ids": _Tensor([[0] * (width - len(row)) + list(row) for row in rows]),
            "attention_mask": _Tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]),
        }


class _GenerationConfig:
    """The model's own generation config: takes updates, knows nothing else."""

    eos_token_id, pad_token_id = 1, 0
    num_return_sequences = compile_config = None

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __deepcopy__(self, memo: Any) -> "_GenerationConfig":
        return _GenerationConfig(self._recorder)

    def update(self, **arguments: Any) -> dict[str, Any]:
        self._recorder.note(GENERATION_CONFIG, arguments)
        self.num_return_sequences = arguments.get("num_return_sequences")
        return {}

    def to_dict(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class _Device:
    """A device that prints its name, as torch's does."""

    name: str
    type: str = "cpu"
    index: int | None = None

    def __str__(self) -> str:
        return self.name


def arguments_device(device_map: Any) -> _Device:
    return _Device(device_map if isinstance(device_map, str) else "cpu")


_LLAMA = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj", "embed_tokens", "lm_head",
)  # fmt: skip


class _Model:
    def __init__(self, recorder: Recorder, sent: Mapping[str, Any], words: int) -> None:
        self._recorder = recorder
        self.source = sent.get("pretrained_model_name_or_path")
        self.dtype = sent.get("dtype")
        self._placed_on = arguments_device(sent.get("device_map"))
        self.is_quantized = "quantization_config" in sent
        self.device = SimpleNamespace(type="cpu")
        self.hf_device_map: dict[str, Any] = {}
        self._hf_peft_config_loaded = "adapter_kwargs" in sent
        self.generation_config = _GenerationConfig(recorder)
        quantization = sent.get("quantization_config")
        self.config = SimpleNamespace(
            _attn_implementation=sent.get("attn_implementation"),
            quantization_config=quantization and _quantization(quantization),
            get_text_config=lambda: SimpleNamespace(max_position_embeddings=None, vocab_size=words),
        )
        self.forward = self._forward

    def _forward(self) -> None:
        """What torch.compile gets."""

    def _can_set_experts_implementation(self) -> bool:
        return True

    def to(self, device: Any) -> "_Model":
        del device
        return self

    def parameters(self) -> Iterator[Any]:
        yield SimpleNamespace(device=self._placed_on, dtype=self.dtype, numel=lambda: 1)

    def __repr__(self) -> str:
        return f"model({self.source})"

    def buffers(self) -> Iterator[Any]:
        yield from ()

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        yield from ((f"model.layers.0.{name}", None) for name in _LLAMA)

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        yield from ((f"{name}.weight", None) for name, _ in self.named_modules())

    def modules(self) -> Iterator[Any]:
        if self.is_quantized:
            yield SimpleNamespace(weight=object(), in_features=1)

    def generate(self, **arguments: Any) -> _Tensor:
        inputs = arguments.pop("input_ids")
        arguments.pop("attention_mask")
        known = self._recorder.version.entry_points[GENERATION_CONFIG].parameters
        generation = {name: value for name, value in arguments.items() if name in known}
        rest = {name: value for name, value in arguments.items() if name not in known}
        self._recorder.note(GENERATION_CONFIG, generation)
        if isinstance(cache := generation.get("cache_config"), Mapping):  # generate unpacks it into this class
            self._recorder.note("transformers.QuantizedCache", cache)
        self._recorder.note(GENERATE, {"inputs": inputs.shape, **rest})
        if "custom_generate" in arguments:
            look = arguments["custom_generate"]
            look(
                model=self,
                input_ids=inputs,
                logits_processor=[],
                stopping_criteria=[],
                generation_config=self.generation_config,
            )
        for clock in arguments.get("stopping_criteria", ()):
            clock(_Tensor([[*row, 2] for row in inputs.rows]), None)
        copies = generation.get("num_return_sequences") or 1
        return _Tensor([[*row, 2] for row in inputs.rows for _ in range(copies)])

    def init_continuous_batching(self, generation_config: Any, continuous_batching_config: Any = None) -> Any:
        """A manager that runs with what it got."""
        return SimpleNamespace(
            generation_config=generation_config, continuous_batching_config=_held(continuous_batching_config)
        )

    def generate_batch(self, inputs: Sequence[Sequence[int]], **arguments: Any) -> dict[str, Any]:
        self._recorder.note(GENERATE_BATCH, {"inputs": inputs, **arguments})
        self.init_continuous_batching(arguments["generation_config"], arguments.get("continuous_batching_config"))
        copies = arguments["generation_config"].num_return_sequences or 1
        answers = [
            SimpleNamespace(prompt_ids=ids, generated_tokens=[2], error=None, timestamps=None)
            for ids in inputs
            for _ in range(copies)
        ]
        return {f"req_{number}": answer for number, answer in enumerate(answers)}


def _held(value: Any) -> Any:
    """What a configuration object holds: every argument that it was built with, under its name."""
    if value is None:
        return SimpleNamespace()
    arguments = dict(value.arguments)
    return SimpleNamespace(**{k: _held(v) if isinstance(v, Built) else v for k, v in arguments.items()})


def _quantization(built: Built) -> Any:
    """An object whose class has the name that was asked for."""
    made: Any = type(built.entry_point.rpartition(".")[2], (), {"to_dict": lambda _: {}})()
    return made
