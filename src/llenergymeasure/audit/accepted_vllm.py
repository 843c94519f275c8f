"""Rung `accepted` for vLLM: the real `LLM` is called up to where it would start an engine, and its configuration read.

Each value is the field's own sample, untouched; without it the same reading must give something else.
"""

import atexit
import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from llenergymeasure.audit.samples import sample_config
from llenergymeasure.audit.tiny import make_tiny_llama, make_tiny_mixtral
from llenergymeasure.config.bindings import BoundField, Target
from llenergymeasure.config.lowering import Calls, plain
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.vllm.entry_points import (
    BEAM_SEARCH,
    GENERATE,
    LLM,
)
from llenergymeasure.core.api import RealApi, materialise
from llenergymeasure.core.failures import first_line
from llenergymeasure.core.inference_backends.vllm_json import as_json
from llenergymeasure.core.inference_backends.vllm_readback import MISSING, confirms, follow, leaves, locate
from llenergymeasure.core.session import version_calls
from llenergymeasure.surface.model import Surface

# What the engine's kernels on a CPU ask of a model: heads of 32 numbers or more.
SHAPE = {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 64}
# Kinds of model that an option may be for: any, one with experts, one whose heads share one key.
MODELS = ("model", "experts", "one-head")
_FROM_ARGS = "vllm.v1.engine.llm_engine.LLMEngine.from_engine_args"


class _ConfiguredError(Exception):
    """Ends the constructor of `LLM` where it would start its engine; carries what it was to start with."""

    def __init__(self, config: Any) -> None:
        super().__init__("configured")
        self.config = config


def vllm_acceptor() -> Callable[[BoundField, Surface], str]:
    """A check of one field against the installed vLLM: why it is not accepted, or "" for a value it confirms.

    Raises:
        EnvironmentLacksError: vLLM is not installed.
    """
    # Read while vLLM is imported: a probe downloads nothing, tells nobody, and its log lines are not the report's.
    for name, value in {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}.items():
        os.environ.setdefault(name, value)
    api = RealApi()
    with contextlib.redirect_stdout(sys.stderr):
        api.resolve(LLM)
    logging.getLogger("vllm").setLevel(logging.CRITICAL)
    folder = tempfile.TemporaryDirectory(prefix="llem-accepted-")
    atexit.register(folder.cleanup)
    probe = _Probe(api, make_stand(Path(folder.name)))

    def accept(field: BoundField, surface: Surface) -> str:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            return probe.check(field, surface)

    return accept


def make_stand(root: Path) -> Path:
    """A folder to be in, with every model that a sample names."""
    from llenergymeasure.audit.tiny import write_adapter

    make_tiny_llama(root / "model", **SHAPE)
    make_tiny_llama(root / "elsewhere", seed=1, **SHAPE)
    make_tiny_llama(root / "one-head", **{**SHAPE, "num_key_value_heads": 1})
    make_tiny_mixtral(root / "experts")
    make_tiny_llama(root / "assistant", seed=2, **{**SHAPE, "num_hidden_layers": 1})
    # One that drafts several tokens at once fills their places with a token of its own.
    make_tiny_llama(root / "parallel-assistant", seed=2, pard_token=2, **{**SHAPE, "num_hidden_layers": 1})
    adapter = root / "adapter"
    adapter.mkdir()
    write_adapter(adapter, "model", width=SHAPE["hidden_size"])
    return root


class _Probe:
    """Has the real API make its configuration from a configuration's calls."""

    def __init__(self, api: RealApi, stand: Path) -> None:
        self.api = api
        self.stand = stand
        self._configured: dict[str, Any] = {}  # by what was sent: many samples are compared with the same bare call

    def check(self, field: BoundField, surface: Surface) -> str:
        targets = [target for target in field.targets("vllm") if surface.find(target.entry_point, target.name)]
        if not targets and not field.nested:
            return "the tool's own: no object of the API takes it"
        data, without = sample_config(field, surface)
        models = [data["model"]] if field.keys == ("model",) else MODELS
        reasons = [self._on(model, field, data, without) for model in models]
        return "" if "" in reasons else reasons[0]

    def _on(self, model: str, field: BoundField, data: dict[str, Any], without: dict[str, Any]) -> str:
        """Why the value is not accepted with a model of some kind; other kinds may be what it is for."""
        with contextlib.chdir(self.stand):
            try:
                calls = self._calls({**data, "model": model})
                bare = self._calls(without if field.keys == ("model",) else {**without, "model": model})
                found = list(sent_by(calls, field))
                if not found:
                    return "nothing of it is sent to an object that can be read"
                return next(filter(None, (self._check(*item, calls, bare) for item in found)), "")
            except Exception as error:  # noqa: BLE001 - whatever the API raises is the reason, in its own words
                return f"{type(error).__name__}: {_message(error)}"

    def _calls(self, data: dict[str, Any]) -> Calls:
        return version_calls(ExperimentConfig.model_validate(data), self.api)

    def _check(self, target: Target, names: tuple[str, ...], sent: Any, calls: Calls, bare: Calls) -> str:
        actual = self._read(target, names, calls)
        if actual is MISSING:
            return f"taken, and shown by nothing that {target.entry_point} makes"
        if not confirms(names[-1], plain(sent), actual):
            return f"reads back {actual!r}, not {plain(sent)!r}"
        with contextlib.suppress(Exception):  # refused without the value, which is a difference, too
            if confirms(names[-1], plain(sent), self._read(target, names, bare)):
                return f"reads back {actual!r} without the field, too"
        return ""

    def _read(self, target: Target, names: tuple[str, ...], calls: Calls) -> Any:
        values = self._made(target.entry_point, calls)
        return locate(values, names) if target.entry_point == LLM else follow(values, names)

    def _made(self, entry_point: str, calls: Calls) -> Any:
        key = f"{entry_point} {plain(calls[entry_point])}"
        if key not in self._configured:
            self._configured[key] = as_json(self._make(entry_point, calls))
        return self._configured[key]

    def _make(self, entry_point: str, calls: Calls) -> Any:
        arguments = materialise(calls[entry_point], self.api)
        if entry_point == LLM:
            return configured(arguments, self.api)
        if entry_point in (GENERATE, BEAM_SEARCH):
            return arguments  # the objects that the call gets, made by the real classes
        return self.api.resolve(entry_point)(**arguments)


def configured(arguments: dict[str, Any], api: RealApi) -> Any:
    """The whole configuration that the real `LLM` would start its engine with."""

    def stop(engine_args: Any, usage_context: Any, **_: Any) -> Any:
        raise _ConfiguredError(engine_args.create_engine_config(usage_context))

    with patch(_FROM_ARGS, stop):
        try:
            api.resolve(LLM)(**arguments)
        except _ConfiguredError as made:
            return made.config
    raise AssertionError("LLM started no engine")


def sent_by(calls: Calls, field: BoundField) -> Iterator[tuple[Target, tuple[str, ...], Any]]:
    """Where the field's value goes: its entry point, the names that lead to it there, and what is sent."""
    path = ".".join(field.keys)
    around = path.rpartition(".")[0]
    paths = {path, *(f"{around}.{target.name}" for target in field.targets("vllm"))}  # a field may have its own name
    for target, origin in calls.origins.items():
        for names, value in leaves((target.name,), calls[target.entry_point][target.name]):
            place = ".".join((origin, *names[1:]))
            if any(
                place == own or place.startswith(f"{own}.") for own in paths
            ):  # the field's, or inside what it holds
                yield target, names, value


def _message(error: BaseException) -> str:
    errors = getattr(error, "errors", None)
    if callable(errors) and type(error).__name__ == "ValidationError":
        return "; ".join(str(line["msg"]).removeprefix("Value error, ") for line in errors())
    return first_line(error)
