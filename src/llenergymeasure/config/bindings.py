"""How a field says which backend parameters it sets: one declaration, from which everything else derives.

A section's attribute is a field. `binds(...)` is its declaration: the parameters it sets, its bounds, what is expected
of it, and which other fields it needs to act; its one-sentence description is the docstring under it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

BACKENDS = ("pytorch", "vllm", "tensorrt")
_PACKAGES = {
    "transformers": "pytorch", "torch": "pytorch", "torchao": "pytorch", "vllm": "vllm", "tensorrt_llm": "tensorrt",
}  # fmt: skip
OWN_PACKAGE = "llenergymeasure"


class Model(BaseModel):
    """Base of every config model: immutable, no unknown keys, descriptions from attribute docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _kinds_are_not_mixed(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Refuse `true` or `"2"` where a number is meant: read as 1 or 2 it would run, and not be what was written."""
        found = {}
        for name, value in data.items() if isinstance(data, Mapping) else ():
            info = cls.model_fields.get(str(name))
            kinds = alternatives(info.annotation) if info is not None and isinstance(value, bool | str) else []
            if type(value) in kinds or any(value in get_args(kind) for kind in kinds):
                continue
            if any(kind in (int, float) for kind in kinds):
                found[name] = "takes a number (given: {given})"
            elif isinstance(value, str) and bool in kinds:
                found[name] = "takes true or false (given: {given})"
        ours = [problem("kind", says, name, data[name], given=repr(data[name])) for name, says in found.items()]
        try:
            made = handler(data)
        except ValidationError as error:
            theirs = [
                _again(line) for line in error.errors(include_url=False) if found.keys().isdisjoint(line["loc"][:1])
            ]
            raise ValidationError.from_exception_data(cls.__name__, [*ours, *theirs]) from None
        if ours:
            raise ValidationError.from_exception_data(cls.__name__, ours)
        return made


def problem(kind: str, says: str, name: str | int, value: Any, **context: Any) -> InitErrorDetails:
    """One thing that is wrong with a field; several are raised together, as pydantic's own are."""
    return InitErrorDetails(type=PydanticCustomError(kind, says, context), loc=(name,), input=value)


def _again(line: ErrorDetails) -> InitErrorDetails:
    """A problem that was told, to be told beside others."""
    says = line["msg"].replace("{", "\u007b")
    kind = PydanticCustomError(line["type"], says, line.get("ctx"))
    return InitErrorDetails(type=kind, loc=line["loc"], input=line["input"])


@dataclass(frozen=True)
class Local:
    """Marks a field that names a file or folder.

    Attributes:
        hub: whether it may name a repository on the model hub instead.
    """

    hub: bool = False


@dataclass(frozen=True)
class PartsOfModel:
    """Marks a field whose values name parts of a model, which only the loaded one can confirm.

    Attributes:
        kind: ids of the vocabulary's tokens, or names of modules.
    """

    kind: Literal["tokens", "modules"]


class Section(Model):
    """A group of fields of one backend.

    Attributes:
        entry_point: where a field goes whose declaration names no target.
        always: arguments that the section sends because it is there, such as the switch of its method.
        enables: an entry point that is called because the section is there, even when it sets nothing.
        replaces: entry points that are then not called any more; what is set for them would be ignored.
        form: what the parent's parameter gets: an `object` of the entry point, or a plain `mapping`.
    """

    entry_point: ClassVar[str] = ""
    always: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    enables: ClassVar[str] = ""
    replaces: ClassVar[tuple[str, ...]] = ()
    form: ClassVar[Literal["object", "mapping"]] = "object"

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        """Refuse a field that the backend would accept and then ignore, or that contradicts another."""
        found = []
        for name, info in type(self).model_fields.items():
            binding, value = binding_of(info), getattr(self, name)
            if binding is None or value is None:
                continue
            if binding.needs and not any(need.holds(self) for need in binding.needs):
                says = "would be ignored: it acts only with {wanted}"
                found.append(problem("ignored", says, name, value, wanted=" or ".join(map(str, binding.needs))))
            says = "contradicts {other}: set only one of them"
            found += [
                problem("contradiction", says, name, value, other=str(other))
                for other in binding.excludes
                if other.holds(self)
            ]
        if found:
            raise ValidationError.from_exception_data(type(self).__name__, found)
        return self


@dataclass(frozen=True)
class Target:
    """One parameter of one entry point."""

    entry_point: str
    name: str

    @property
    def backend(self) -> str:
        """The backend whose API this is; "" for this package's own callables, which every backend may use."""
        return _PACKAGES.get(self.entry_point.partition(".")[0], "")

    def __str__(self) -> str:
        return f"{self.entry_point}:{self.name}"


@dataclass(frozen=True)
class Need:
    """A condition on a sibling field without which the backend would ignore this one."""

    field: str
    test: Literal["set", "equals", "above", "in"]
    value: Any = None

    def holds(self, section: BaseModel) -> bool:
        actual = getattr(section, self.field)
        if actual is None:
            return False
        if self.test == "equals":
            return bool(actual == self.value)
        if self.test == "above":
            return bool(actual > self.value)
        if self.test == "in":
            return actual in self.value
        return actual is not False

    def __str__(self) -> str:
        if self.test == "equals":
            return f"{self.field}: {_yaml(self.value)}"
        if self.test == "above":
            return f"{self.field} above {self.value}"
        return self.field if self.test == "set" else f"{self.field} one of {', '.join(map(_yaml, self.value))}"


def equals(field: str, value: Any) -> Need:
    return Need(field, "equals", value)


def above(field: str, value: float) -> Need:
    return Need(field, "above", value)


def among(field: str, *values: Any) -> Need:
    return Need(field, "in", values)


def is_set(field: str) -> Need:
    return Need(field, "set")


@dataclass(frozen=True)
class Binding:
    """A field's declaration, beside its type and bounds.

    Attributes:
        targets: the parameters it sets; a target without a name means the field's own name.
        effect: what is expected of it on energy, throughput or latency; "" where nothing is known.
        convert: the name of the conversion that makes a real object of the value (`config/lowering.py`).
        needs: alternatives, one of which must hold or the backend would ignore the field.
        excludes: conditions on siblings, each of which contradicts the field.
        sample: a valid value that is no backend's default, for the proofs; None derives one from the type.
        context: sibling fields that a sample needs to be valid at all.
        unoffered: choices of the parameter that the field leaves out on purpose, each with its reason.
        clears: parameters beside it that are sent as None with it, because their default contradicts it.
    """

    targets: tuple[Target, ...] = ()
    effect: str = ""
    convert: str = ""
    needs: tuple[Need, ...] = ()
    excludes: tuple[Need, ...] = ()
    sample: Any = None
    context: Mapping[str, Any] = field(default_factory=dict)
    unoffered: Mapping[str, str] = field(default_factory=dict)
    clears: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declared:
    """Carries a binding on pydantic's field, and adds to the JSON Schema what an editor can show."""

    binding: Binding

    def __call__(self, schema: dict[str, Any]) -> None:
        if self.binding.effect:
            schema["x-expected-effect"] = self.binding.effect


def binds(
    *targets: str,
    effect: str = "",
    convert: str = "",
    needs: Need | tuple[Need, ...] = (),
    excludes: Need | tuple[Need, ...] = (),
    sample: Any = None,
    context: Mapping[str, Any] | None = None,
    unoffered: Mapping[str, str] | None = None,
    clears: tuple[str, ...] = (),
    default: Any = None,
    **bounds: Any,
) -> Any:
    """Declare a field; `targets` are `entry.point:name`, or nothing for the section's own entry point.

    Args:
        bounds: what pydantic's Field takes: ge, gt, le, lt, min_length, max_length, pattern, discriminator.
    """
    binding = Binding(
        targets=tuple(Target(*target.rsplit(":", 1)) if ":" in target else Target(target, "") for target in targets),
        effect=effect,
        convert=convert,
        needs=(needs,) if isinstance(needs, Need) else needs,
        excludes=(excludes,) if isinstance(excludes, Need) else excludes,
        sample=sample,
        context=dict(context or {}),
        unoffered=dict(unoffered or {}),
        clears=clears,
    )
    return Field(default=default, json_schema_extra=Declared(binding), **bounds)


@dataclass(frozen=True)
class BoundField:
    """A declared field at its place in the configuration.

    Attributes:
        path: as a user would write it, a variant of a union in brackets: `pytorch.quantization[hqq].nbits`.
        keys: the mapping keys that lead to it.
        variant: values that select the variants on the way (discriminators).
    """

    path: str
    keys: tuple[str, ...]
    variant: Mapping[tuple[str, ...], str]
    section: type[Model]
    name: str
    info: FieldInfo
    binding: Binding

    @property
    def description(self) -> str:
        return self.info.description or ""

    @property
    def nested(self) -> tuple[type[Section], ...]:
        """The sections that the field may hold, empty for a plain value."""
        return tuple(section_types(self.info.annotation))

    def targets(self, backend: str) -> tuple[Target, ...]:
        """The parameters it sets on a backend, names filled in."""
        own = self.section.entry_point if issubclass(self.section, Section) else ""
        found = self.binding.targets or ((Target(own, ""),) if own and not _calls_only(self) else ())
        return tuple(
            Target(target.entry_point, target.name or self.name) for target in found if target.backend in ("", backend)
        )


def binding_of(info: FieldInfo) -> Binding | None:
    """A field's declaration, None where it has none (a discriminator, the tool's own settings)."""
    extra = info.json_schema_extra
    return extra.binding if isinstance(extra, Declared) else None


def alternatives(annotation: Any) -> list[Any]:
    """The kinds of value that an annotation allows beside None."""
    if get_origin(annotation) in (Union, UnionType):
        return [kind for kind in get_args(annotation) if kind is not type(None)]
    return [annotation]


def section_types(annotation: Any) -> Iterator[type[Section]]:
    """Every Section class that a (possibly annotated, optional or union) annotation can hold."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif get_args(annotation):
        for argument in get_args(annotation):
            yield from section_types(argument)


def discriminator(section: type[Section]) -> tuple[str, str] | None:
    """The (field, value) that selects this variant of a union: its required single-choice Literal."""
    for name, info in section.model_fields.items():
        if binding_of(info) is None and len(choices := get_args(info.annotation)) == 1 and isinstance(choices[0], str):
            return name, choices[0]
    return None


def walk(model: type[Model], backend: str, keys: tuple[str, ...] = ()) -> Iterator[BoundField]:
    """Every declared field below a model that concerns the backend, in order of declaration."""
    yield from _walk(model, backend, keys, {}, ".".join(keys))


def _walk(
    model: type[Model], backend: str, keys: tuple[str, ...], variant: Mapping[tuple[str, ...], str], path: str
) -> Iterator[BoundField]:
    for name, info in model.model_fields.items():
        here, spelled = (*keys, name), f"{path}.{name}" if path else name
        if not keys and name in BACKENDS and name != backend:
            continue
        binding = binding_of(info)
        nested = tuple(section_types(info.annotation))
        if binding is not None:
            yield BoundField(spelled, here, variant, declaring_class(model, name), name, info, binding)
        elif not nested and (inner := _model_type(info.annotation)) is not None:
            yield from _walk(inner, backend, here, variant, spelled)
        for section in nested:
            choice = discriminator(section) if len(nested) > 1 else None
            inside = {**variant, (*here, choice[0]): choice[1]} if choice else variant
            yield from _walk(section, backend, here, inside, f"{spelled}[{choice[1]}]" if choice else spelled)


def declaring_class(model: type[Model], name: str) -> type[Model]:
    """The class that declares the field, whose entry point applies, not the one that inherits it."""
    return next(base for base in model.__mro__ if name in vars(base).get("__annotations__", {}))


def _model_type(annotation: Any) -> type[Model] | None:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_type(argument))), None)


def _calls_only(field: BoundField) -> bool:
    """A nested section that enables a call of its own, instead of being handed to its parent's entry point."""
    return any(section.enables for section in section_types(field.info.annotation))


def _yaml(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
