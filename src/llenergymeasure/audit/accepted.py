"""Rung `accepted`: the real API's own objects take the value and read back equal, on a tiny model made on the spot."""

import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llenergymeasure.audit.samples import sample_config
from llenergymeasure.audit.tiny import make_assistant, make_tiny_llama
from llenergymeasure.config.bindings import BoundField, Target
from llenergymeasure.config.lowering import Build, Calls, Loaded
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import (
    AUTOCAST,
    FROM_PRETRAINED,
    GENERATE,
    GENERATE_BATCH,
    GENERATION_CONFIG,
    MATMUL_PRECISION,
    PAD,
    SET_SEED,
    TOKENIZE,
    TOKENIZER,
    TORCH_COMPILE,
)
from llenergymeasure.core.api import RealApi, materialise
from llenergymeasure.core.failures import first_line
from llenergymeasure.core.session import version_calls
from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.surface.model import Surface

_ENUMS = (str, int, float, bool, type(None))


def acceptor(backend: str) -> Callable[[BoundField, Surface], str]:
    """A check of one field against the installed backend: the API's own message, or "" for a value it took.

    Raises:
        EnvironmentLacksError: the backend is not installed.
    """
    if backend != "pytorch":
        raise EnvironmentLacksError(f"{backend}: its API cannot be probed yet", "leave out --rung accepted")
    api = RealApi()
    api.resolve(FROM_PRETRAINED)  # says what is missing, before anything is made
    keeper = tempfile.TemporaryDirectory(prefix="llem-accepted-")
    probe = _Probe(api, Path(keeper.name))
    probe.keeper = keeper

    def accept(field: BoundField, surface: Surface) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the API's advice on a sample; its errors are what counts
            try:
                return probe.check(field, surface)
            except Exception as error:  # noqa: BLE001 - whatever the API raises is the reason, in its own words
                return f"{type(error).__name__}: {first_line(error)}"

    return accept


class _Probe:
    """Real objects to try values on: a model folder with everything that a loading option can ask for."""

    keeper: Any = None

    def __init__(self, api: RealApi, folder: Path) -> None:
        self.api = api
        self.folder = make_tiny_llama(folder / "model")
        self.assistant = make_assistant(folder / "assistant")
        self.tokenizer = api.resolve(TOKENIZER)(pretrained_model_name_or_path=str(self.folder))

    def check(self, field: BoundField, surface: Surface) -> str:
        data, _ = sample_config(field, surface)
        data = {**data, "model": str(self.folder)}
        if data["pytorch"].get("assistant_model"):
            data["pytorch"]["assistant_model"] = str(self.assistant)
        calls = version_calls(ExperimentConfig.model_validate(data), self.api)
        present = [target for target in field.targets("pytorch") if surface.find(target.entry_point, target.name)]
        if not present:
            return "" if self._own(field) else "no object of the API takes it: it is this tool's own"
        for target in present:
            if why := self._try(target, calls):
                return why
        return ""

    def _own(self, field: BoundField) -> bool:
        """A section that is a call by itself, or this package's own parameter: no object of the backend takes it."""
        return bool(field.nested) or all(not target.backend for target in field.targets("pytorch"))

    def _try(self, target: Target, calls: Calls) -> str:
        """Give the value to the object or call that it is for, and read it back where it can be read."""
        attempts: Mapping[str, Callable[[Target, Calls], str]] = {
            FROM_PRETRAINED: self._load_model,
            TOKENIZER: self._load_tokenizer,
            GENERATION_CONFIG: self._generation_config,
            GENERATE: self._generate,
            GENERATE_BATCH: self._arguments,
            TORCH_COMPILE: self._compile,
            AUTOCAST: self._autocast,
            PAD: self._pad,
            TOKENIZE: self._tokenize,
            SET_SEED: self._call,
            MATMUL_PRECISION: self._matmul_precision,
        }
        return attempts.get(target.entry_point, self._object)(target, calls)

    def _object(self, target: Target, calls: Calls) -> str:
        """A configuration object: build it as lowering says, and compare its attribute with what was sent."""
        build = _find_build(target.entry_point, calls)
        if build is None:  # handed over as a mapping, which the class takes later
            return self._arguments(target, calls)
        made = materialise(build, self.api)
        return _read_back(made, target.name, materialise(build.arguments[target.name], self.api))

    def _arguments(self, target: Target, calls: Calls) -> str:  # noqa: ARG002 - one signature for all attempts
        """The callable's own signature takes it."""
        import inspect

        found = self.api.resolve(target.entry_point)
        names = inspect.signature(found).parameters
        return "" if target.name in names else f"{target.entry_point} takes {', '.join(names)}"

    def _load_model(self, target: Target, calls: Calls) -> str:
        sent = dict(calls[FROM_PRETRAINED])
        value = sent.get(target.name)
        if target.name == "quantization_config":  # its own class takes it; loading is a matter of the device
            materialise(value, self.api)
            return ""
        if target.name == "distributed_config" or target.name in ("tp_plan", "tp_size"):
            return self._distributed(target, value)
        model = self.api.resolve(FROM_PRETRAINED)(**materialise({**sent, **self._place(target.name)}, self.api))
        return "" if model is not None else "nothing was loaded"

    def _distributed(self, target: Target, value: Any) -> str:
        if isinstance(value, Build):
            materialise(value, self.api)
            return ""
        return f"{target.name} is taken when several processes load together, which one process cannot try"

    def _place(self, name: str) -> dict[str, Any]:
        """Where the tiny model keeps what a loading option names."""
        return {
            "subfolder": {"subfolder": "inner"},
            "variant": {"variant": "fp16"},
            "gguf_file": {"gguf_file": "model.gguf"},
            "pretrained_model_name_or_path": {"pretrained_model_name_or_path": str(self.folder)},
            "revision": {"revision": "main"},
            "code_revision": {"code_revision": "main"},
            "offload_folder": {"offload_folder": str(self.folder / "offload")},
            "adapter_kwargs": {},
        }.get(name, {})

    def _load_tokenizer(self, target: Target, calls: Calls) -> str:
        sent = {**calls[TOKENIZER], **self._place(target.name), "pretrained_model_name_or_path": str(self.folder)}
        return "" if self.api.resolve(TOKENIZER)(**materialise(sent, self.api)) is not None else "nothing was loaded"

    def _generation_config(self, target: Target, calls: Calls) -> str:
        sent = materialise(calls[GENERATION_CONFIG], self.api)
        made = self.api.resolve(GENERATION_CONFIG)(**sent)
        made.validate()
        return _read_back(made, target.name, sent[target.name])

    def _generate(self, target: Target, calls: Calls) -> str:
        """A real, short call."""
        model = self.api.resolve(FROM_PRETRAINED)(pretrained_model_name_or_path=str(self.folder))
        value = calls[GENERATE][target.name]
        loaded = (
            self.api.resolve(FROM_PRETRAINED)(pretrained_model_name_or_path=value.source)
            if isinstance(value, Loaded)
            else value
        )
        inputs = self.tokenizer("a prompt", return_tensors="pt")
        model.generate(inputs["input_ids"], max_new_tokens=2, **{target.name: loaded})
        return ""

    def _compile(self, target: Target, calls: Calls) -> str:  # noqa: ARG002 - one signature for all attempts
        self.api.resolve(TORCH_COMPILE)(lambda value: value, **materialise(calls[TORCH_COMPILE], self.api))
        return ""

    def _autocast(self, target: Target, calls: Calls) -> str:
        arguments = materialise(calls[AUTOCAST], self.api)
        with self.api.resolve(AUTOCAST)(device_type="cpu", **arguments) as made:
            return "" if made is None or made.fast_dtype == arguments[target.name] else f"reads back {made.fast_dtype}"

    def _pad(self, target: Target, calls: Calls) -> str:  # noqa: ARG002 - one signature for all attempts
        self.tokenizer.pad({"input_ids": [[3], [3, 4]]}, padding_side="left", return_tensors="pt", **calls[PAD])
        return ""

    def _tokenize(self, target: Target, calls: Calls) -> str:  # noqa: ARG002 - one signature for all attempts
        self.tokenizer("a prompt", **calls[TOKENIZE])
        return ""

    def _call(self, target: Target, calls: Calls) -> str:
        self.api.resolve(target.entry_point)(**materialise(calls[target.entry_point], self.api))
        return ""

    def _matmul_precision(self, target: Target, calls: Calls) -> str:
        read = self.api.resolve("torch.get_float32_matmul_precision")
        before = read()
        self._call(target, calls)
        after = read()
        self.api.resolve(MATMUL_PRECISION)(before)
        return "" if after == calls[MATMUL_PRECISION][target.name] else f"reads back {after!r}"


def _find_build(entry_point: str, calls: Calls) -> Build | None:
    """The object of a class among everything that would be sent, at any depth."""

    def search(value: Any) -> Build | None:
        if isinstance(value, Build):
            if value.entry_point == entry_point:
                return value
            value = value.arguments
        if isinstance(value, Mapping):
            return next((found for item in value.values() if (found := search(item)) is not None), None)
        return None

    return search(calls.arguments)


def _read_back(made: Any, name: str, sent: Any) -> str:
    """Compare what an object says of itself; a class that keeps the value elsewhere is asked for its dict."""
    missing = object()
    actual = getattr(made, name, missing)
    if actual is missing and hasattr(made, "to_dict"):
        actual = made.to_dict().get(name, missing)
    if actual is missing:
        return ""  # taken by the constructor, which knows the name, and kept under another
    return "" if _same(sent, actual) else f"reads back {actual!r}, not {sent!r}"


def _same(sent: Any, actual: Any) -> bool:
    if isinstance(sent, tuple | list) and isinstance(actual, tuple | list):
        return len(sent) == len(actual) and all(map(_same, sent, actual))
    if isinstance(sent, _ENUMS) and hasattr(actual, "value") and not isinstance(actual, _ENUMS):
        return bool(sent == actual.value)
    if not isinstance(sent, (*_ENUMS, Mapping)) and type(sent).__module__.startswith("torch"):
        return str(sent) == str(actual) or sent == actual
    if type(sent) is type(actual) and not isinstance(sent, (*_ENUMS, Mapping)):
        return sent is actual or sent == actual or vars(sent) == vars(actual)
    return bool(sent == actual) or str(sent).casefold() == str(actual).casefold()
