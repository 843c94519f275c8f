"""From a configuration to the keyword arguments of every entry point, by walking the declarations.

Nothing of a backend is imported: what needs a real object is named (`Ref`, `Build`, `Loaded`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from llenergymeasure.config.bindings import (
    OWN_PACKAGE,
    BoundField,
    Model,
    Section,
    Target,
    binding_of,
    declaring_class,
    walk,
)
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import TOKENIZER


@dataclass(frozen=True)
class Ref:
    """An attribute of the backend's package, such as `torch.bfloat16`, named before it is imported."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Build:
    """An object of the backend's package, named before it is built."""

    entry_point: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        inside = (f"{name}={_as_argument(value)}" for name, value in self.arguments.items())
        return f"{self.entry_point}({', '.join(inside)})"


@dataclass(frozen=True)
class Loaded:
    """A second model that the backend loads and passes on, such as an assistant."""

    source: str

    def __str__(self) -> str:
        return f"model({self.source})"


def _as_argument(value: Any) -> str:
    """What is an object of the backend's stands without quotes, also inside another one."""
    return str(value) if isinstance(value, Build | Loaded | Ref) else repr(plain(value))


CONVERSIONS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "torch_dtype": lambda value: value if value == "auto" else Ref(f"torch.{value}"),
        "tf32": lambda value: "high" if value else "highest",
        "kernel_config": lambda value: Build("transformers.KernelConfig", {"kernel_mapping": value}),
        "assistant": Loaded,
        "mapping_type": lambda value: Ref(f"torchao.quantization.MappingType.{value.upper()}"),
    }
)


NOTHING = object()
Has = Callable[[Target], bool]


@dataclass
class Calls:
    """Keyword arguments per entry point, and which field each came from.

    Attributes:
        enabled: entry points that are called because a section is there.
        mappings: entry points that take what is sent as a plain mapping, by the path of its section.
    """

    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: dict[Target, str] = field(default_factory=dict)
    enabled: set[str] = field(default_factory=set)
    mappings: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, entry_point: str) -> dict[str, Any]:
        """The arguments of an entry point, empty where nothing is set."""
        return self.arguments.get(entry_point, {})

    def __contains__(self, entry_point: str) -> bool:
        return entry_point in self.arguments

    def enable(self, entry_point: str) -> None:
        self.arguments.setdefault(entry_point, {})
        self.enabled.add(entry_point)

    def put(self, target: Target, value: Any, path: str) -> None:
        self.arguments.setdefault(target.entry_point, {})[target.name] = value
        self.origins[target] = path

    def drop(self, target: Target) -> None:
        """Leave one parameter out again, and its entry point where nothing else is sent to it."""
        del self.origins[target]
        del self.arguments[target.entry_point][target.name]
        if not self.arguments[target.entry_point]:
            del self.arguments[target.entry_point]


def lower(config: ExperimentConfig, has: Has | None = None) -> Calls:
    """What the configuration sends: only what was set, each value at the parameters that its field binds.

    Args:
        has: whether a version has a parameter. A field may bind places that the parameter had in different versions;
            those that this version lacks are left out where it has another. A field that it lacks altogether stays, to
            be refused.
    """
    calls = Calls()
    _lower(config, "", config.backend, calls, has)
    _lower(config.section, config.backend, config.backend, calls, has)
    _keep_to_the_mode(config, calls)
    if config.tokenizer is not None:
        _leave_tokenizer_alone(config, calls)
    for entry_point, arguments in config.passthrough.items():
        for name, value in arguments.items():
            calls.put(Target(entry_point, name), value, f"passthrough.{entry_point}.{name}")
    return calls


def _keep_to_the_mode(config: ExperimentConfig, calls: Calls) -> None:
    """A field that binds the calls of several modes, such as a token limit, goes to those that are made."""
    idle: set[str] = set()
    for section, own in _modes(type(config.section), config.backend):
        idle |= set(section.replaces) if section.enables in calls.enabled else own
    for target in [target for target in calls.origins if target.entry_point in idle]:
        path = calls.origins[target]
        if any(other.entry_point not in idle for other, origin in calls.origins.items() if origin == path):
            calls.drop(target)


@lru_cache(maxsize=8)
def _modes(section: type[Section], backend: str) -> tuple[tuple[type[Section], frozenset[str]], ...]:
    """The sections that are a call of their own by being there, each with what is called only then."""
    return tuple(
        (nested, frozenset({nested.enables, *_entry_points(nested, backend)}))
        for field in walk(section, backend)
        for nested in field.nested
        if nested.enables
    )


def _entry_points(section: type[Section], backend: str) -> set[str]:
    return {target.entry_point for field in walk(section, backend) for target in field.targets(backend)}


def _leave_tokenizer_alone(config: ExperimentConfig, calls: Calls) -> None:
    """A tokenizer of its own has its own revision, and none of the places inside the model's repository."""
    if TOKENIZER not in calls:
        return
    foreign = ["subfolder", "gguf_file", *(["revision"] if config.tokenizer_revision is None else [])]
    for name in foreign:
        calls.arguments[TOKENIZER].pop(name, None)
        calls.origins.pop(Target(TOKENIZER, name), None)


def _lower(
    model: Model, path: str, backend: str, calls: Calls, has: Has | None, parent: dict[str, Any] | None = None
) -> None:
    """Lower a section's fields into the calls, or into the parent's object where the section describes one."""
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        spelled = f"{path}.{name}" if path else name
        binding = binding_of(info)
        if binding is None:
            if isinstance(value, Model) and not isinstance(value, Section):
                _lower(value, spelled, backend, calls, has)
            continue
        if value is None:
            continue
        targets = BoundField(spelled, (), {}, declaring_class(type(model), name), name, info, binding).targets(backend)
        if isinstance(value, Section):
            value = _section(value, spelled, backend, calls, has)
        elif binding.convert:
            value = CONVERSIONS[binding.convert](value)
        if value is NOTHING:
            continue
        present = [target for target in targets if has is None or has(target)]
        for target in present or targets:
            for given, sent in ((target.name, value), *((cleared, None) for cleared in binding.clears)):
                if parent is not None and isinstance(model, Section) and target.entry_point == model.entry_point:
                    parent[given] = sent
                else:
                    calls.put(Target(target.entry_point, given), sent, spelled)


def _section(section: Section, path: str, backend: str, calls: Calls, has: Has | None) -> Any:
    """What a nested section is for its parent's parameter, NOTHING where it makes a call of its own."""
    if section.enables:
        calls.enable(section.enables)
    if section.enables == section.entry_point != "":
        _lower(section, path, backend, calls, has)
        return NOTHING
    own = dict(section.always)
    _lower(section, path, backend, calls, has, own)
    if section.enables and not own:
        return NOTHING
    if section.form == "mapping":
        calls.mappings[path] = section.entry_point
        return own
    return Build(section.entry_point, MappingProxyType(own))


def plain(value: Any) -> Any:
    """A lowered value as JSON can hold it and a person can read it."""
    if isinstance(value, Ref | Build | Loaded):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def as_document(calls: Calls) -> dict[str, dict[str, Any]]:
    """The calls as JSON, this package's own callables left out."""
    return {
        entry_point: {name: plain(value) for name, value in arguments.items()}
        for entry_point, arguments in calls.arguments.items()
        if not entry_point.startswith(OWN_PACKAGE)
    }
