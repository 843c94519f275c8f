"""Every field of the engine at its sample, as many in one engine as go together, and what the engine then reads."""

import contextlib
import copy
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from pydantic import ValidationError

from llenergymeasure.audit.accepted_vllm import sent_by
from llenergymeasure.audit.samples import sample_config, value_at
from llenergymeasure.config.bindings import BoundField, walk
from llenergymeasure.config.lowering import Calls, plain
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.vllm.entry_points import LLM
from llenergymeasure.core.api import RealApi
from llenergymeasure.core.failures import first_line
from llenergymeasure.core.inference_backends.base import Difference
from llenergymeasure.core.inference_backends.vllm_json import as_json
from llenergymeasure.core.inference_backends.vllm_readback import MISSING, confirms, locate
from llenergymeasure.core.session import calls_on
from llenergymeasure.errors import RequestError
from llenergymeasure.surface.model import Surface

from .conftest import QUICK, Engines

# Kinds of model that a field may be for; the first is tried with all.
MODELS = ("model", "windowed", "experts", "one-head")
TOGETHER = 16  # more in one engine are harder to part where some of them are refused
SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size", "data_parallel_size")
COMPILED, MEASURED, UNSHARED = (
    {name: value for name, value in QUICK.items() if name != left}
    for left in ("enforce_eager", "kv_cache_memory_bytes", "gpu_memory_utilization")
)
COMPILING = (
    "enforce_eager",
    *(f"compilation_config.{name}" for name in ("mode", "custom_ops", "cudagraph_mode")),
)
# What an engine is loaded with beside a field, where that is not what makes it load fastest.
BESIDE: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys((*COMPILING, "cudagraph_capture_sizes", "max_cudagraph_capture_size"), COMPILED),
    "kv_cache_memory_bytes": MEASURED,
    "gpu_memory_utilization": UNSHARED,
}
# What is loaded instead, to see what stands there without the field.
WITHOUT: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(COMPILING, COMPILED),
    "kv_cache_memory_bytes": {**MEASURED, "gpu_memory_utilization": 0.05},
}

Section = dict[str, Any]
Values = list[tuple[tuple[str, ...], Any]]


@functools.cache
def surface() -> Surface:
    return RealApi().surface("vllm")


@functools.cache
def engine_fields() -> Mapping[str, BoundField]:
    """Fields of the engine's constructor and of its configuration objects, by their path below `vllm.`."""
    return {
        item.path.removeprefix("vllm."): item
        for item in walk(ExperimentConfig, "vllm")
        if item.keys[0] == "vllm" and any(_is_engines(target.entry_point) for target in item.targets("vllm"))
    }


def _is_engines(entry_point: str) -> bool:
    return entry_point == LLM or entry_point.startswith("vllm.config.")


def lacking(name: str) -> str:
    """The parameters that the installed version would need to have one of, "" where it has."""
    targets = engine_fields()[name].targets("vllm")
    if any(surface().find(target.entry_point, target.name) for target in targets):
        return ""
    return ", ".join(map(str, targets))


@dataclass(frozen=True)
class Reading:
    """What an engine was sent, and what its workers said of it once it had loaded.

    Attributes:
        model: the kind of model it was loaded with.
        arguments: what the real `LLM` made its engine from, before the engine changed anything of it.
        refused: the engine's own words where it did not load.
    """

    calls: Calls
    model: str = MODELS[0]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    differences: Sequence[Difference] = ()
    refused: str = ""

    def sent(self, name: str) -> Values:
        """Every single value that the field sent, with the names that lead to it."""
        return _sent(self.calls, name)

    def reads(self, values: Values) -> bool:
        """Whether the engine's configuration confirms every one of some sent values."""
        return all(_confirmed(self.engine, *value) for value in values)

    def arrived(self, values: Values) -> bool:
        """Whether the real API got every one of some sent values, whatever the engine then made of it."""
        return all(_confirmed(self.arguments, *value) for value in values)

    def changed_by_its_class(self, name: str, values: Values) -> bool:
        """Whether the configuration class of the real API makes something else of the values it is given."""
        api = RealApi()
        for target in engine_fields()[name].targets("vllm"):
            if target.entry_point != LLM and surface().find(target.entry_point, target.name):
                made = as_json(api.resolve(target.entry_point)(**{target.name: plain(values[0][1])}))
                return not confirms(target.name, plain(values[0][1]), made[target.name])
        return False

    def keeps(self, values: Values) -> bool:
        """Whether the engine's configuration has a place for every one of some sent values."""
        return all(locate(self.engine, names) is not MISSING for names, _ in values)

    def told(self, name: str) -> list[str]:
        """The differences that the tool tells of the field."""
        path = f"vllm.{name}"
        return [str(item) for item in self.differences if f"{item.field}.".startswith(f"{path}.")]


def _sent(calls: Calls, name: str) -> Values:
    return [(names, value) for _, names, value in sent_by(calls, engine_fields()[name])]


def _confirmed(engine: Mapping[str, Any], names: tuple[str, ...], value: Any) -> bool:
    found = locate(engine, names)
    return found is not MISSING and confirms(names[-1], plain(value), found)


class Readings:
    """Loads each engine once and reads it once, however many tests ask of it."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._loaded: dict[str, Reading] = {}
        self._groups: dict[str, tuple[str, list[str]]] = {}
        self._together: dict[str, Reading] = {}

    def with_field(self, name: str) -> Reading:
        """An engine that has the field's sample; one with the field alone where others might be in its way."""
        if not self._groups:
            self._group(other for other in engine_fields() if not lacking(other))
        if name not in self._together:
            model, group = self._groups[name]
            self._together |= self._read(group, model)
        reading = self._together[name]
        if reading.refused or reading.reads(reading.sent(name)):
            return reading
        return self._load(self.section([name]), reading.model)

    def without_field(self, name: str) -> Reading:
        return self._load(dict(WITHOUT.get(name, QUICK)))

    def _group(self, names: Iterable[str]) -> None:
        """Find who goes with whom; what the engine refuses by itself is told at once."""
        groups: list[tuple[str, list[str]]] = []
        for name in names:
            model, refused = self._model(name)
            if refused:
                self._together[name] = Reading(_calls(self.section([name])), refused=refused)
            else:
                self._groups[name] = self._join(groups, name, model)

    def _model(self, name: str) -> tuple[str, str]:
        """The first model whose engine takes the field's sample, or why the engine of the first of all does not."""
        reasons = []
        for model in MODELS:
            if not (refused := self._refuses([name], model)):
                return model, ""
            reasons.append(refused)
        return MODELS[0], reasons[0]

    def _join(self, groups: list[tuple[str, list[str]]], name: str, model: str) -> tuple[str, list[str]]:
        """Put the field beside others that the engine takes with it; its group, which grows."""
        for joined in groups:
            if joined[0] == model and len(joined[1]) < TOGETHER and self._go_together([*joined[1], name], model):
                joined[1].append(name)
                return joined
        groups.append((model, [name]))
        return groups[-1]

    def _go_together(self, names: Sequence[str], model: str) -> bool:
        return _valid(lambda: self.section(names)) and not self._refuses(names, model)

    def _refuses(self, names: Sequence[str], model: str) -> str:
        """The engine's words where it makes no configuration of the samples; it loads nothing for it."""
        try:
            self._engines.configure(self.section(names), model=model)
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the engine raises are its words
            return words(error)
        return ""

    def _read(self, group: Sequence[str], model: str) -> dict[str, Reading]:
        """One engine for the group; one that does not load is parted, until those that it refuses stand alone."""
        reading = self._load(self.section(group), model)
        if not reading.refused:
            return dict.fromkeys(group, reading)
        if len(group) == 1:
            others = (self._load(self.section(group), other) for other in MODELS if other != model)
            return {group[0]: next((other for other in others if not other.refused), reading)}
        half = len(group) // 2
        return {**self._read(group[:half], model), **self._read(group[half:], model)}

    def section(self, names: Sequence[str]) -> Section:
        """The `vllm:` section with the fields at their samples, as a user would write it.

        Raises:
            ContradictionError: they need different engines.
        """
        made: Section = {}
        for name in names:
            merge(made, self._sample(name))
        if len({_processes(self._sample(name)) for name in names}) > 1:
            raise ContradictionError("engines of several processes start slowly: they are for those that need them")
        ExperimentConfig.model_validate({"model": "model", "prompts": ["x"], "vllm": made})
        return made

    @functools.cache  # noqa: B019 - one object for all tests of a module
    def _sample(self, name: str) -> Section:
        """The least section with the field: at its sample, or where that is what stands there anyway, its contrary."""
        item = engine_fields()[name]
        sample = {**BESIDE.get(name, QUICK), **sample_config(item, surface())[0]["vllm"]}
        values = _sent(_calls(sample), name)
        if not isinstance(value_at({"vllm": sample}, item), bool) or not self.without_field(name).reads(values):
            return sample
        contrary = copy.deepcopy(sample)
        place = functools.reduce(lambda section, key: section[key], item.keys[1:-1], contrary)
        place[item.name] = not place[item.name]
        return contrary if _valid(lambda: _calls(contrary)) else sample

    def _load(self, section: Section, model: str = MODELS[0]) -> Reading:
        key = f"{model} {sorted(section.items())}"
        if key not in self._loaded:
            self._loaded[key] = self._load_anew(section, model)
        return self._loaded[key]

    def _load_anew(self, section: Section, model: str) -> Reading:
        calls = _calls(section)
        try:
            with _arguments() as arguments:
                backend = self._engines.fresh(section, model=model)
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the engine raises are its words
            return Reading(calls, model, refused=words(error))
        found = backend.effective(None)
        return Reading(backend.calls, model, arguments, found.values["engine"], found.differences)


@contextlib.contextmanager
def _arguments() -> Iterator[dict[str, Any]]:
    """What the real `LLM` hands on to make its engine from."""
    from vllm.v1.engine.llm_engine import LLMEngine

    made: dict[str, Any] = {}
    real = LLMEngine.from_engine_args

    def noted(engine_args: Any, *positional: Any, **named: Any) -> Any:
        made.update(as_json(vars(engine_args)))
        return real(engine_args, *positional, **named)

    with patch.object(LLMEngine, "from_engine_args", noted):
        yield made


class ContradictionError(Exception):
    """Fields that no engine can have together."""


def _processes(section: Section) -> tuple[Any, ...]:
    return tuple(section.get(name) for name in SIZES)


def merge(into: Section, other: Mapping[str, Any]) -> None:
    """Add what another section says."""
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        elif into.setdefault(name, copy.deepcopy(value)) != value:
            raise ContradictionError(f"{name}: {into[name]!r} and {value!r}")


def _valid(make: Any) -> bool:
    try:
        make()
    except (ValidationError, ContradictionError):
        return False
    return True


def _calls(section: Section) -> Calls:
    config = ExperimentConfig.model_validate({"model": "model", "prompts": ["x"], "vllm": section})
    return calls_on(config, surface())


def words(error: BaseException) -> str:
    """What the engine said when it refused, without the frame that pydantic puts around it."""
    errors = getattr(error, "errors", None)
    if callable(errors):
        return "; ".join(str(line["msg"]).removeprefix("Value error, ") for line in errors())
    return f"{type(error).__name__}: {first_line(error)}"
