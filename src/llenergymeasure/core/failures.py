"""A backend's exceptions, turned into an error that names the field and says what to do."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Build, Calls, Loaded, plain
from llenergymeasure.config.origin import one_line
from llenergymeasure.errors import EnvironmentLacksError, LlemError, RequestError

NO_MEMORY = re.compile(r"out of memory|can't allocate memory|DefaultCPUAllocator", re.IGNORECASE)
_MISSING_PACKAGE = re.compile(r"pip install|is not installed|requires? the .* library|No module named", re.IGNORECASE)
_NO_DEVICE = re.compile(
    r"not compiled with \w+ enabled|No CUDA GPUs|no NVIDIA driver|accelerator device when none|invalid device ordinal"
    r"|not linked with support for|No GPU\b.*found|(needs|requires?|required) (a |an |at least one )?(\w+ )?GPU"
    r"|GPU\b[\w ]* (is|are) (needed|required)|CUDA is not available|CUDA driver version|no kernel image is available",
    re.IGNORECASE,
)
_NO_HUB = re.compile(
    r"couldn't connect to|offline ?mode|outgoing traffic has been disabled|Max retries exceeded"
    r"|Name or service not known|name resolution|Network is unreachable|in the cached files",
    re.IGNORECASE,
)
_DEVICE_VALUE = re.compile(r"cuda|gpu|xpu|mps|offload", re.IGNORECASE)
_PLACING = ("device_map", "max_memory")
# Parameters that name a folder or a repository.
SOURCES = ("pretrained_model_name_or_path", "model", "tokenizer")


@dataclass(frozen=True)
class _Known:
    """What a message of the backend means for the files or the name of the model; groups of its pattern fill it."""

    pattern: re.Pattern[str]
    cause: str
    remedy: str


_ABOUT_THE_MODEL = (
    _Known(
        re.compile(r"model type `([^`]*)` but Transformers does not recognize"),
        "config.json: the installed transformers knows no model_type {0}",
        "correct model_type, or install a transformers that knows it",
    ),
    _Known(
        re.compile(r"Should have a `model_type` key"),
        "config.json: says no model_type that the installed transformers knows",
        "copy config.json from where the weights come from",
    ),
    _Known(
        re.compile(r"Unrecognized configuration class .*?(\w+)Config'?>.* AutoModelForCausalLM"),
        "config.json: a model of type {0} generates no text",
        "give a decoder-only language model",
    ),
    _Known(
        re.compile(r"config file at '([^']*)' is not a valid JSON"), "{0}: not valid JSON", "copy or download it again"
    ),
    _Known(
        re.compile(r"Validation error for field '(\w+)':\s*(.*)", re.DOTALL),
        "config.json: {0}: {1}",
        "correct it, or copy config.json from where the weights come from",
    ),
    _Known(
        re.compile(r"Error while deserializing header: (.*)"),
        "a .safetensors file is broken or cut off: {0}",
        "copy or download the weights again",
    ),
    _Known(
        re.compile(r"No such file or directory: '?([^']*\.(?:safetensors|bin|json|model|gguf))"),
        "{0}: no such file",
        "copy or download it, too",
    ),
    _Known(
        re.compile(r"does not appear to have (?:a file|files?) named ([^\s]+)"),
        "it has no file {0}",
        "check the name, the revision and, where one is given, the subfolder",
    ),
    _Known(
        re.compile(r"not a valid model identifier|Repository Not Found|RepositoryNotFound"),
        "the hub shows no such repository",
        "check the name; a private one needs HF_TOKEN in the environment",
    ),
    _Known(
        re.compile(r"gated repo|restricted and you are not in the authorized list"),
        "the hub gives this repository only to those it has authorized",
        "ask for access on its page, and put HF_TOKEN into the environment",
    ),
)


def explain(error: BaseException, calls: Calls, model: str, doing: str) -> LlemError:
    """The error that a user sees for what the backend raised while `doing` something.

    The backend's own message is kept; the fields whose names occur in it are named as the user wrote them.
    """
    if isinstance(error, LlemError):
        return error
    if (found := recognise(error, calls, model, doing)) is not None:
        return found
    message = first_line(error)
    fields = mentioned(str(error), calls.origins)
    if fields:
        return RequestError(
            f"{', '.join(fields)}: refused while {doing} {model}: {message}", f"change or remove {' or '.join(fields)}"
        )
    return RequestError(
        f"{model}: failed while {doing} ({type(error).__name__}): {message}",
        "see the backend's documentation of that message",
    )


def recognise(error: BaseException, calls: Calls, model: str, doing: str) -> LlemError | None:
    """What the message is known to mean, None where it is not known."""
    kinds = (_memory, _device, _hub, _model, _package)
    return next((found for kind in kinds if (found := kind(error, calls, model, doing)) is not None), None)


def _memory(error: BaseException, calls: Calls, model: str, doing: str) -> LlemError | None:  # noqa: ARG001
    if not NO_MEMORY.search(str(error)):
        return None
    return EnvironmentLacksError(
        f"out of memory while {doing} {model}: {first_line(error)}",
        "lower the batch size, the token limits or the number format's width, or free the memory that others hold",
    )


def _device(error: BaseException, calls: Calls, model: str, doing: str) -> LlemError | None:
    if not _NO_DEVICE.search(str(error)):
        return None
    fields = _needing_a_device(str(error), calls)
    named = f"{', '.join(fields)}: " if fields else ""
    return EnvironmentLacksError(
        f"{named}the device is not here, while {doing} {model}: {first_line(error)}",
        f"`llem doctor` says what is here; run where there is such a device{_or_change(fields)}",
    )


def _or_change(fields: Sequence[str]) -> str:
    return f", or change {' or '.join(fields)}" if fields else ""


def _needing_a_device(message: str, calls: Calls) -> list[str]:
    """Fields that place something on a device, by what they sent; else those of what the message speaks of."""
    found = []
    for target, path in calls.origins.items():
        value = plain(calls[target.entry_point].get(target.name))
        named = value.values() if isinstance(value, Mapping) else [value]
        keys = list(value) if isinstance(value, Mapping) else []
        places = [*named, *keys] if target.name == "max_memory" else list(named)
        numbered = target.name in _PLACING and any(str(place).isdecimal() for place in places)
        if numbered or any(isinstance(place, str) and _DEVICE_VALUE.search(place) for place in places):
            found.append(path)
    if not found and "quantiz" in message:
        found = [path for target, path in calls.origins.items() if target.name == "quantization_config"]
    return list(dict.fromkeys(found)) or mentioned(message, calls.origins)


def _hub(error: BaseException, calls: Calls, model: str, doing: str) -> LlemError | None:
    if not _NO_HUB.search(str(error)):
        return None
    remote = [(path, name) for path, name in _sources(calls, model) if not Path(name).exists()]
    meant = [(path, name) for path, name in remote if name in str(error)] or remote
    named = ", ".join(f"{path}: {name}" for path, name in meant)
    return EnvironmentLacksError(
        f"{named or model}: not in the local cache, and the hub cannot be reached while {doing}: {first_line(error)}",
        "give a local folder, or a network; with HF_HUB_OFFLINE=1 only the cache is looked at",
    )


def _sources(calls: Calls, model: str) -> list[tuple[str, str]]:
    """The fields that name a folder or a repository on the hub, with its name."""
    found = []
    for target, path in calls.origins.items():
        value = calls[target.entry_point].get(target.name)
        name = value.source if isinstance(value, Loaded) else value
        if isinstance(value, Loaded) or target.name in SOURCES:
            found.append((path, str(name)))
        elif isinstance(value, Build) and "model" in value.arguments:
            found.append((f"{path}.model", str(value.arguments["model"])))
    return list(dict.fromkeys(found)) or [("model", model)]


def _model(error: BaseException, calls: Calls, model: str, doing: str) -> LlemError | None:  # noqa: ARG001
    sources = _sources(calls, model)
    path, name = next((source for source in sources if source[1] in str(error)), sources[0])
    for known in _ABOUT_THE_MODEL:
        if found := known.pattern.search(str(error)):
            groups = [one_line(" ".join(group.split())) for group in found.groups()]
            return RequestError(f"{path}: {name}: {known.cause.format(*groups)}", known.remedy)
    return None


def _package(error: BaseException, calls: Calls, model: str, doing: str) -> LlemError | None:
    missing = _MISSING_PACKAGE.search(str(error)) and not isinstance(error, TypeError)
    if not (isinstance(error, ImportError) or missing):
        return None
    fields = _needing_a_package(str(error), calls)
    named = f"{', '.join(fields)}: " if fields else ""
    return EnvironmentLacksError(
        f"{named}{doing} {model} needs a package that is not here: {first_line(error)}",
        f"install what the message names{_or_change(fields)}",
    )


def _needing_a_package(message: str, calls: Calls) -> list[str]:
    """Fields whose value, class or name is in what the message calls the package: `HqqConfig` in "a valid HQQ"."""
    said, words = _letters(message), set(re.findall(r"\w+", message.lower()))
    found = []
    for target, path in calls.origins.items():
        value = calls[target.entry_point].get(target.name)
        kind = value.entry_point.rpartition(".")[2].removesuffix("Config") if isinstance(value, Build) else value
        named = isinstance(kind, str) and len(kind) > 2 and _letters(kind) in said
        if target.name not in SOURCES and (named or target.name.removeprefix("use_") in words):
            found.append(path)
    return list(dict.fromkeys(found))


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def mentioned(message: str, origins: Mapping[Target, str]) -> list[str]:
    """The fields whose parameters the message names."""
    words = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]{3,}", message))
    words -= {*SOURCES}  # a message about the model does not speak of the field
    return list(dict.fromkeys(path for target, path in origins.items() if target.name in words))


def first_line(error: BaseException) -> str:
    """The message's first line that says something, or the exception's name; one that only announces goes on."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        return f"{lines[0]} {lines[1]}"
    return lines[0] if lines else type(error).__name__
