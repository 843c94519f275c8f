"""What a user may ask for: one experiment, the same on every backend, and one backend section."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, StrictInt, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from llenergymeasure.config.backend_configs import PyTorchConfig, VLLMConfig
from llenergymeasure.config.bindings import BACKENDS, Local, Model, binds, problem, walk
from llenergymeasure.config.origin import Origin
from llenergymeasure.config.pytorch.entry_points import (
    FROM_PRETRAINED,
    GENERATION_CONFIG,
    SET_SEED,
    TOKENIZE,
    TOKENIZER,
)
from llenergymeasure.config.vllm.entry_points import BEAM_SEARCH_PARAMS, LLM, SAMPLING_PARAMS

# Far above what a machine can run in a day: a number beyond them is a slip, which must not run until memory is full.
MOST_PROMPTS = 1_000_000
LONGEST_PROMPT = 10_000_000
MOST_TOKENS = 100_000_000
MOST_REPEATS = 1_000_000
LONGEST_WINDOW_S = 7 * 24 * 3600.0


class Synthetic(Model):
    """Prompts of random ordinary tokens, the same for the same seed and vocabulary."""

    count: int = Field(ge=1, le=MOST_PROMPTS, examples=[16])
    """Number of prompts."""

    input_tokens: int | list[StrictInt] = Field(examples=[128, [32, 512]])
    """Tokens of every prompt, at least 1, or a list of lengths that is repeated until all prompts have one."""

    seed: int = Field(default=0, ge=0)
    """Seed of the token choice, separate from the seed of the generation."""

    @model_validator(mode="after")
    def _lengths_are_possible(self) -> Self:
        given = [self.input_tokens] if isinstance(self.input_tokens, int) else self.input_tokens
        if not given or not 1 <= min(given) <= max(given) <= LONGEST_PROMPT:
            says = f"every length must be at least 1 and at most {LONGEST_PROMPT}"
            wrong = problem("length", says, "input_tokens", self.input_tokens)
            raise ValidationError.from_exception_data("Synthetic", [wrong])
        if (tokens := sum(self.lengths)) > MOST_TOKENS:
            says = f"with these lengths it makes {tokens} tokens, more than {MOST_TOKENS}"
            raise ValidationError.from_exception_data("Synthetic", [problem("length", says, "count", self.count)])
        return self

    @property
    def lengths(self) -> list[int]:
        """One length per prompt."""
        given = [self.input_tokens] if isinstance(self.input_tokens, int) else self.input_tokens
        return [given[index % len(given)] for index in range(self.count)] if given else []


class Prompts(Model):
    """Where the prompts come from: exactly one of inline, file or synthetic."""

    inline: list[str] | None = Field(default=None, min_length=1, examples=[["Name a river.", "Name a lake."]])
    """The prompts themselves."""

    file: Annotated[Path | None, Local()] = Field(default=None, examples=["prompts.txt", "questions.jsonl"])
    """Text file with a prompt a line, or a .jsonl file; relative to the config's folder."""

    key: str = Field(default="prompt", examples=["question"])
    """Key of the prompt in each object of a .jsonl file."""

    synthetic: Synthetic | None = Field(default=None, examples=[{"count": 16, "input_tokens": 128}])
    """Prompts of given token lengths, made up."""

    chat_template: bool = False
    """Whether each prompt is wrapped as a user's turn by the tokenizer's chat template."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"inline": value}
        if isinstance(value, str | Path):
            return {"file": value}
        if not isinstance(value, dict | Prompts):
            raise ValueError("takes a list of prompts, a file's name, or a mapping of fields")  # noqa: TRY004 - pydantic's way
        return value

    @field_validator("inline")
    @classmethod
    def _no_blank_prompt(cls, value: list[str] | None) -> list[str] | None:
        blank = [index for index, text in enumerate(value or ()) if not text.strip()]
        if value and blank:
            says = "is blank: a prompt has a text"
            found = [problem("blank", says, index, value[index]) for index in blank]
            raise ValidationError.from_exception_data("Prompts", found)
        return value

    @field_validator("file", mode="before")
    @classmethod
    def _a_name(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            raise ValueError("is blank: name a file, or give a list of prompts")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("inline", "file", "synthetic") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of inline, file, synthetic; this gives {' and '.join(given) or 'none'}")
        if self.synthetic is not None and self.chat_template:
            raise ValueError("chat_template would be ignored: synthetic prompts are token ids without text")
        if self.key != "prompt" and (self.file is None or self.file.suffix != ".jsonl"):
            raise ValueError("key would be ignored: it acts only with a .jsonl file")
        return self


def _short_forms(schema: dict[str, Any]) -> None:
    """An editor, too, must take a list of prompts or a file's name for the whole section."""
    section = {"$ref": schema.pop("$ref")}
    schema["anyOf"] = [section, {"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "string"}]


class InputLimit(Model):
    """The limit on input tokens, which means the same on every backend: the tool counts and cuts, not the backend."""

    max_tokens: int | None = Field(default=None, ge=1, le=LONGEST_PROMPT, examples=[512])
    """Most input tokens per prompt, special tokens included; without it the model's context is the limit."""

    overflow: Literal["error", "truncate_left", "truncate_right"] = Field(default="error", examples=["truncate_left"])
    """What happens to a longer prompt: refuse the run, or cut its start (left) or its end (right)."""

    @model_validator(mode="after")
    def _limit_for_overflow(self) -> Self:
        if self.overflow != "error" and self.max_tokens is None:
            raise ValueError("overflow would be ignored: it acts only with max_tokens")
        return self


class OutputLimit(Model):
    """Limits on generated tokens, which mean the same on every backend."""

    max_tokens: int = binds(
        f"{GENERATION_CONFIG}:max_new_tokens",
        f"{SAMPLING_PARAMS}:max_tokens",
        f"{BEAM_SEARCH_PARAMS}:max_tokens",
        default=128,
        ge=1,
        le=LONGEST_PROMPT,
        sample=9,
        examples=[64],
        effect="Decoding time and energy grow about in proportion to the tokens generated.",
    )
    """Most tokens generated per sequence, the end token included."""

    min_tokens: int | None = binds(
        f"{GENERATION_CONFIG}:min_new_tokens",
        f"{SAMPLING_PARAMS}:min_tokens",
        ge=0,
        sample=3,
        examples=[64],
        effect="Set equal to max_tokens it makes the work of every run equal.",
    )
    """Tokens that must be generated before an end token counts."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) is above max_tokens ({self.max_tokens})")
        return self


class Measurement(Model):
    """The window: what is run before it, how often the work is repeated in it."""

    warmup_batches: int = Field(default=1, ge=0, le=MOST_REPEATS, examples=[3])
    """Batches of the real workload that run directly before the window and are not measured."""

    repeats: int = Field(default=1, ge=1, le=MOST_REPEATS, examples=[5])
    """Passes over the whole workload that the window has at least."""

    min_duration_s: float = Field(default=0.0, ge=0, le=LONGEST_WINDOW_S, examples=[30])
    """Seconds that the window lasts at least: whole passes are added until then. Energy needs 5 s, better 30."""

    energy: bool = Field(default=True, examples=[False])
    """Whether energy meters are read; where none can be read the result says why."""


class ExperimentConfig(Model):
    """One experiment on one backend."""

    model: Annotated[str, Local(hub=True)] = binds(
        f"{FROM_PRETRAINED}:pretrained_model_name_or_path",
        f"{TOKENIZER}:pretrained_model_name_or_path",
        f"{LLM}:model",
        default=...,
        min_length=1,
        sample="elsewhere",
        examples=["HuggingFaceTB/SmolLM2-135M-Instruct", "models/mine"],
        effect="Decides the work: time and energy per token grow about with the parameters that each token uses.",
    )
    """Model folder, or repository on the model hub; a folder is found relative to the config's."""

    revision: str | None = binds(
        f"{FROM_PRETRAINED}:revision",
        f"{TOKENIZER}:revision",
        f"{LLM}:revision",
        sample="side",
        examples=["main"],
        effect="None of its own: it decides which weights are measured. A commit makes a run repeatable.",
    )
    """Branch, tag or commit of the model's repository."""

    tokenizer: Annotated[str | None, Local(hub=True)] = binds(
        f"{TOKENIZER}:pretrained_model_name_or_path",
        f"{LLM}:tokenizer",
        sample="elsewhere",
        examples=["models/tokenizer"],
        effect="Cuts the same text into more or fewer tokens, and so changes the work per prompt.",
    )
    """Folder or repository of the tokenizer, where it is not the model's."""

    tokenizer_revision: str | None = binds(
        f"{TOKENIZER}:revision",
        f"{LLM}:tokenizer_revision",
        sample="side",
        examples=["main"],
        effect="As tokenizer.",
    )
    """Branch, tag or commit of the tokenizer's repository, where it is not the model's."""

    prompts: Prompts = Field(
        json_schema_extra=_short_forms,
        examples=[["Name a river.", "Name a lake."], "prompts.txt", {"synthetic": {"count": 16, "input_tokens": 128}}],
    )
    """The workload; a list stands for `prompts.inline`, a text for `prompts.file`."""

    input: InputLimit = Field(default=InputLimit(), examples=[{"max_tokens": 512, "overflow": "truncate_left"}])
    """Limit on input tokens."""

    output: OutputLimit = Field(default=OutputLimit(), examples=[{"max_tokens": 64, "min_tokens": 64}])
    """Limits on generated tokens."""

    measurement: Measurement = Field(default=Measurement(), examples=[{"min_duration_s": 30}])
    """Warm-up and measured window."""

    seed: int = binds(
        f"{SET_SEED}:seed",
        f"{LLM}:seed",
        default=0,
        ge=0,
        lt=2**32,
        sample=17,
        examples=[42],
        effect="None per token: it decides which tokens are sampled, and so where answers end.",
    )
    """Seed of everything random in the run, set anew before every pass; each further replica uses the next number."""

    pytorch: PyTorchConfig | None = Field(default=None, examples=[{"dtype": "bfloat16", "batch_size": 8}])
    """Run on transformers and PyTorch, with these parameters; exactly one backend's section must be there."""

    vllm: VLLMConfig | None = Field(
        default=None, examples=[{"tensor_parallel_size": 2, "gpu_memory_utilization": 0.85}]
    )
    """Run on vLLM, with these parameters."""

    passthrough: dict[str, dict[str, Any]] = Field(
        default_factory=dict, examples=[{"transformers.set_seed": {"deterministic": True}}]
    )
    """Further parameters by entry point and name, checked against what the installed version accepts."""

    _origin: Origin = PrivateAttr(default_factory=Origin)

    @model_validator(mode="before")
    @classmethod
    def _bare_section(cls, value: Any) -> Any:
        # `pytorch:` with nothing under it is a wish for the backend with all its defaults.
        if isinstance(value, dict):
            return {key: {} if key in BACKENDS and item is None else item for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def _one_backend(self) -> Self:
        given = [name for name in BACKENDS if getattr(self, name, None) is not None]
        if len(given) != 1:
            known = ", ".join(name for name in BACKENDS if name in type(self).model_fields)
            says = f"give exactly one backend section ({known}); this gives {' and '.join(given) or 'none'}"
            too_many = {"remedy": f"remove {' or '.join(f'`{name}:`' for name in given)}"} if given else None
            raise PydanticCustomError("backend", says, too_many)
        return self

    @model_validator(mode="after")
    def _one_minimum(self) -> Self:
        own = getattr(self.section, "min_new_tokens", None)
        if own is not None and self.output.min_tokens is not None:
            raise ValueError(f"{self.backend}.min_new_tokens contradicts output.min_tokens: set only one of them")
        if getattr(self.section, "min_length", None) is not None and self.output.min_tokens is not None:
            raise ValueError(f"{self.backend}.min_length contradicts output.min_tokens: set only one of them")
        if own is not None and own > self.output.max_tokens:
            raise ValueError(
                f"{self.backend}.min_new_tokens ({own}) is above output.max_tokens ({self.output.max_tokens})"
            )
        return self

    @model_validator(mode="after")
    def _no_text_to_tokenize(self) -> Self:
        if self.prompts.synthetic is None:
            return self
        fields = [
            f"{self.backend}.{field.name}"
            for field in walk(type(self.section), self.backend)
            if len(field.keys) == 1 and getattr(self.section, field.name) is not None
            if any(target.entry_point == TOKENIZE for target in field.targets(self.backend))
        ]
        if getattr(self.section, "token_healing", None):
            raise ValueError(f"{self.backend}.token_healing needs text: synthetic prompts are token ids")
        for path in [*fields, *(f"passthrough.{TOKENIZE}.{name}" for name in self.passthrough.get(TOKENIZE, ()))]:
            raise ValueError(f"{path} would be ignored: synthetic prompts are token ids without text")
        return self

    def written_in(self, origin: Origin) -> Self:
        """The same configuration, which knows where it was written."""
        self._origin = origin
        return self

    def place(self, path: str) -> str:
        """File and line of a field, to stand before an error's cause; "" where it was not read from a file."""
        return self._origin.place(path)

    @property
    def backend(self) -> str:
        """The backend whose section is there."""
        return next(name for name in BACKENDS if getattr(self, name, None) is not None)

    @property
    def section(self) -> PyTorchConfig | VLLMConfig:
        """The backend's section."""
        section: PyTorchConfig | VLLMConfig = getattr(self, self.backend)
        return section
