"""transformers on PyTorch: loads and generates with what lowering sends, through `Api` alone."""

import contextlib
import copy
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Calls, Loaded
from llenergymeasure.config.pytorch.entry_points import (
    AUTOCAST,
    FROM_PRETRAINED,
    GENERATE,
    GENERATE_BATCH,
    GENERATION_CONFIG,
    MAKE_BATCHES,
    MATMUL_PRECISION,
    PAD,
    SET_SEED,
    TOKENIZE,
    TOKENIZER,
    TORCH_COMPILE,
)
from llenergymeasure.config.pytorch.speculation import Drafting
from llenergymeasure.core.api import Api, materialise
from llenergymeasure.core.batching import Answer, Batch, BatchOutput, Prompt
from llenergymeasure.core.inference_backends import (
    pytorch_continuous,
    pytorch_counting,
    pytorch_loaded,
    pytorch_manager,
    pytorch_readback,
)
from llenergymeasure.core.inference_backends.base import Effective
from llenergymeasure.errors import RequestError


class StepClock:
    """A stopping criterion that stops nothing and notes when each decoding step was done."""

    def __init__(self, synchronize: Any) -> None:
        self.steps: list[tuple[float, int]] = []
        self._synchronize = synchronize

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> bool:  # noqa: ARG002 - the API's signature
        # generate itself waits for the device right after this, to see whether all sequences ended: no time is lost.
        if self._synchronize is not None:
            self._synchronize()
        self.steps.append((time.perf_counter(), input_ids.shape[-1]))
        return False


class PyTorchBackend:
    """One replica: a model and its tokenizer in this process."""

    def __init__(self, calls: Calls, api: Api, device: int | None = None) -> None:
        self.calls = calls
        self.api = api
        self.device = device  # the CUDA device of this replica, None where there is none
        self.model: Any = None
        self.tokenizer: Any = None
        self.generation: dict[str, Any] = {}
        self.warnings: list[str] = []
        self._wait: Callable[[], None] | None = None  # for the devices that the model is on
        self._criteria: Any = None  # the class; looking it up takes as long as some steps of a small model
        self._drafts: list[tuple[Any, Any]] = []  # the draft model, and its generation config before the first call

    def load(self) -> None:
        call = self.calls
        if self.device is not None:
            self.api.resolve("torch.cuda.set_device")(self.device)
        if MATMUL_PRECISION in call:
            self.api.resolve(MATMUL_PRECISION)(**call[MATMUL_PRECISION])
        pytorch_loaded.refuse_revisions_of_folders(call)
        self.tokenizer = self._call(TOKENIZER)
        self.tokenizer.padding_side = "left"  # token healing pads anew, inside generate
        if getattr(self.tokenizer, "pad_token", None) is None:
            self.tokenizer.pad_token = self._end_token()
        self.model = self._load({**call[FROM_PRETRAINED], **self._placement()})
        if self.device is not None and not self._placed():
            self.model = self.model.to(f"cuda:{self.device}")
        self.warnings += pytorch_loaded.verify_loaded(self.model, call, self.api)
        self.generation = self._generation_arguments()
        if TORCH_COMPILE in call:
            self.model.forward = self.api.resolve(TORCH_COMPILE)(
                self.model.forward, **materialise(call[TORCH_COMPILE], self.api)
            )
        self._wait = self._synchronizer()
        self._criteria = self.api.resolve("transformers.StoppingCriteriaList")

    def _end_token(self) -> str:
        if (token := getattr(self.tokenizer, "eos_token", None)) is not None:
            return str(token)
        source = self.calls[TOKENIZER]["pretrained_model_name_or_path"]
        raise RequestError(
            f"{source}: its tokenizer names neither a padding token nor an end token, so no batch can be padded",
            f"name one under passthrough: {TOKENIZER}: pad_token",
        )

    def _call(self, entry_point: str) -> Any:
        return self.api.resolve(entry_point)(**materialise(self.calls[entry_point], self.api))

    def _load(self, arguments: Mapping[str, Any]) -> Any:
        model, warnings = pytorch_loaded.load_whole(arguments, self.api)
        self.warnings += warnings
        return model

    def _placed(self) -> bool:
        """Whether the sent arguments already decide where the model is."""
        return any(name in self.calls[FROM_PRETRAINED] for name in ("device_map", "tp_plan", "distributed_config"))

    def _placement(self) -> dict[str, Any]:
        """A quantized model cannot be moved once it is loaded: unless a field places it, it is loaded onto the GPU."""
        quantized = "quantization_config" in self.calls[FROM_PRETRAINED]
        return {"device_map": {"": self.device}} if quantized and self.device is not None and not self._placed() else {}

    def _generation_arguments(self) -> dict[str, Any]:
        """Arguments of generate: only what was set, plus the objects that some of them need."""
        arguments = {
            name: self._assistant(value) if isinstance(value, Loaded) else materialise(value, self.api)
            for name, value in {**self.calls[GENERATION_CONFIG], **self.calls[GENERATE]}.items()
        }
        if "stop_strings" in arguments or "token_healing" in arguments:
            arguments["tokenizer"] = self.tokenizer
        if "assistant_model" in arguments and self._vocabularies_differ(arguments["assistant_model"]):
            source = self.calls[GENERATE]["assistant_model"].source
            arguments["tokenizer"] = self.tokenizer
            arguments["assistant_tokenizer"] = self.api.resolve(TOKENIZER)(pretrained_model_name_or_path=source)
        for name in ("assistant_lookbehind", "target_lookbehind"):
            if name in arguments and "assistant_tokenizer" not in arguments:
                path = self.calls.origins[Target(GENERATION_CONFIG, name)]
                raise RequestError(
                    f"{path}: would be ignored: the assistant's vocabulary is the model's own", f"remove {path}"
                )
        drafting = {name: value for name, value in arguments.items() if name in Drafting.model_fields}
        draft = arguments.get("assistant_model", self.model)
        if drafting:
            draft.generation_config.update(**drafting)
        if draft is not self.model or "assistant_early_exit" in arguments:
            self._drafts = [(draft, copy.deepcopy(draft.generation_config))]
        return arguments

    def _vocabularies_differ(self, assistant: Any) -> bool:
        sizes = {getattr(model.config.get_text_config(), "vocab_size", None) for model in (assistant, self.model)}
        return len(sizes) > 1

    def _assistant(self, loaded: Loaded) -> Any:
        assistant = self._load({"pretrained_model_name_or_path": loaded.source, "dtype": self.model.dtype})
        return assistant.to(self.model.device)

    def encode(self, texts: Sequence[str], *, chat: bool) -> list[list[int]]:
        arguments = self.calls[TOKENIZE]
        if chat:
            if getattr(self.tokenizer, "chat_template", None) is None:
                raise RequestError(
                    "prompts.chat_template: the model's tokenizer has no chat template", "remove prompts.chat_template"
                )
            texts = [
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
                )
                for text in texts
            ]
            # The template wrote the special tokens; adding them again would change the input.
            arguments = {"add_special_tokens": False, **arguments}
        return [list(self.tokenizer(text, **arguments)["input_ids"]) for text in texts]

    def vocabulary(self) -> tuple[int, frozenset[int]]:
        return len(self.tokenizer), frozenset(self.tokenizer.all_special_ids)

    def context_limit(self) -> int | None:
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit if isinstance(limit, int) else None

    def prepare(self, prompts: Sequence[Prompt]) -> list[Batch]:
        if GENERATE_BATCH in self.calls:
            return [Batch(tuple(prompts))] if prompts else []
        self._check_lengths(prompts)
        cut = self.api.resolve(MAKE_BATCHES)(prompts, **self.calls[MAKE_BATCHES])
        return [Batch(batch.prompts, self._pad(batch.prompts)) for batch in cut]

    def _check_lengths(self, prompts: Sequence[Prompt]) -> None:
        """What acts only on prompts of some length, or in batches of some size."""
        length = self.calls[PAD].get("max_length")
        for prompt in prompts:
            if length is not None and (count := len(prompt.ids)) > length:
                raise RequestError(
                    f"pytorch.padding_length: prompt {prompt.index + 1} has {count} tokens, more than {length}",
                    "raise it, or set input.max_tokens",
                )
        size = self.calls[MAKE_BATCHES].get("batch_size", 1)
        if size > len(prompts):
            self.warnings.append(f"pytorch.batch_size: {size} was asked for, a replica has {len(prompts)} prompts")

    def _pad(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        padded = self.tokenizer.pad(
            {"input_ids": [list(prompt.ids) for prompt in prompts]},
            padding_side="left",
            return_tensors="pt",
            **self.calls[PAD],
        )
        return {name: padded[name].to(self._input_device()) for name in ("input_ids", "attention_mask")}

    def _input_device(self) -> Any:
        """Where the first layer computes: weights that rest on disk say `meta`, their hook says the device."""
        hook = getattr(self.model, "_hf_hook", None)
        return self.model.device if self.model.device.type != "meta" else getattr(hook, "execution_device", "meta")

    def seed(self, replica: int = 0) -> None:
        sent = self.calls[SET_SEED]
        self.api.resolve(SET_SEED)(**{**sent, "seed": (sent["seed"] + replica) % 2**32})
        for model, before in self._drafts:  # the number of draft tokens adapts from call to call
            model.generation_config = copy.deepcopy(before)

    def generate(self, batch: Batch) -> Answer:
        if GENERATE_BATCH in self.calls:
            return pytorch_continuous.generate(self, batch)
        clock = StepClock(self._wait)
        arguments = self.generation_arguments()
        criteria = self._criteria([clock])
        width = batch.inputs["input_ids"].shape[-1]
        with self._autocast():
            start = time.perf_counter()
            returned = self.model.generate(**batch.inputs, **arguments, stopping_criteria=criteria)
            end = time.perf_counter()
        # Scores and the like may be large; the window after this one must find their memory free again.
        sequences = getattr(returned, "sequences", returned)
        return Answer(batch.prompts, start, end, sequences, tuple(clock.steps), width)

    def generation_arguments(self) -> dict[str, Any]:
        """Arguments for one call; generate takes keys out of a mapping as it uses them, so each call gets its own."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in self.generation.items()}

    def count(self, answer: Answer) -> BatchOutput:
        if GENERATE_BATCH in self.calls:
            return pytorch_continuous.counted(self, answer)
        return pytorch_counting.counted(self, answer)

    def effective(self, batch: Batch) -> Effective:
        if GENERATE_BATCH in self.calls:
            return pytorch_manager.read_back(self, batch)
        return pytorch_readback.read_back(self, batch)

    def verify_ran(self) -> None:
        pytorch_readback.verify_compiled(self.calls, self.api)

    def noticed(self) -> list[str]:
        return []

    def compilations(self) -> int | None:
        return pytorch_readback.compilations(self.calls, self.api)

    def devices(self) -> list[int | str]:
        return [*pytorch_loaded.cuda_devices(self.model)]

    def close(self) -> None:
        pytorch_continuous.close(self.model)
        self.model = self.tokenizer = None
        self.generation = {}
        gc.collect()
        if self.device is not None:
            self.api.resolve("torch.cuda.empty_cache")()

    @contextlib.contextmanager
    def _autocast(self) -> Iterator[None]:
        if AUTOCAST not in self.calls:
            yield
            return
        arguments = materialise(self.calls[AUTOCAST], self.api)
        with self.api.resolve(AUTOCAST)(device_type=self.model.device.type, **arguments):
            yield

    def _synchronizer(self) -> Callable[[], None] | None:
        """Waits for every device that the model is on; None where there is none to wait for."""
        devices = self.devices()
        if not devices:
            return None
        synchronize = self.api.resolve("torch.cuda.synchronize")

        def wait() -> None:
            for device in devices:
                synchronize(device)

        return wait
