"""What the manager of continuous batching says it runs with, held against what was sent to it."""

import contextlib
import copy
import dataclasses
import gc
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Build, plain
from llenergymeasure.config.pytorch.continuous import CONFIG, unpaged
from llenergymeasure.config.pytorch.entry_points import FROM_PRETRAINED, GENERATE_BATCH, GENERATION_CONFIG
from llenergymeasure.core.batching import Batch
from llenergymeasure.core.inference_backends import pytorch_readback
from llenergymeasure.core.inference_backends.base import Difference, Effective, NotAsRequestedError
from llenergymeasure.core.inference_backends.pytorch_continuous import MODE, call, close
from llenergymeasure.core.inference_backends.pytorch_readback import jsonable, same
from llenergymeasure.errors import EnvironmentLacksError, RequestError

if TYPE_CHECKING:
    from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend

_CACHE = ("num_blocks", "block_size", "page_size", "max_batch_tokens", "allow_block_sharing", "use_prefix_sharing")


class _BuiltError(BaseException):
    """Leaves `generate_batch` when its manager is complete and nothing has been generated."""


def read_back(backend: "PyTorchBackend", batch: Batch) -> Effective:
    """What `generate_batch` runs the batch with, and every sent value that it changed.

    Raises:
        NotAsRequestedError: another attention kernel runs, or what should be compiled is not.
        RequestError: the model's own generation config asks for what does not work in continuous batching.
    """
    with _manager(backend, batch) as manager:
        config = _configuration(manager)
        attention = backend.model.config._attn_implementation  # noqa: SLF001 - there is no public name for it
        processors = _names(getattr(manager, "logit_processor", ()))
        generation = jsonable(manager.generation_config.to_dict())
        _check_pages(manager, attention)
    _check_attention(backend, attention)
    differences = list(_differences(backend, config))
    warnings = [
        f"{MODE}: {name}, which the model's own generation config asks for, is left out"
        for name in _lost(backend, batch, processors)
    ]
    values = {**jsonable(config), "attn_implementation": attention, "logits_processors": processors}
    effective = pytorch_readback.compared(backend, generation, {"continuous_batching": values})
    if unpaged(attention) != unpaged(effective.values["model"]["attn_implementation"]):
        warnings.append(f"{MODE}: runs with the attention implementation {attention}")
    return dataclasses.replace(
        effective,
        differences=(*effective.differences, *differences),
        warnings=(*effective.warnings, *warnings),
    )


@contextlib.contextmanager
def _manager(backend: "PyTorchBackend", batch: Batch) -> Iterator[Any]:
    """The manager that `generate_batch` makes for the batch, with its cache where the version makes it first.

    Nothing is generated and no thread is started. When the block ends, the cache's memory is free again: the next
    manager sizes its own by what is free.
    """
    model = backend.model
    close(model)  # a manager that was kept would come back as it is
    made: list[Any] = []
    attention = model.config._attn_implementation  # noqa: SLF001

    def build(*positional: Any, **named: Any) -> Any:
        manager = type(model).init_continuous_batching(model, *positional, **named)
        made.append(manager)
        if hasattr(manager, "_create_batch_processor"):
            manager.batch_processor = manager._create_batch_processor()  # noqa: SLF001 - `warmup` would record graphs
        raise _BuiltError

    model.init_continuous_batching = build
    try:
        with call(backend, batch) as arguments, contextlib.suppress(_BuiltError):
            model.generate_batch(**arguments)
        if not made:
            raise EnvironmentLacksError(
                f"{MODE}: this version of transformers does not say what it runs with", "use a pinned version"
            )
        yield made[0]
    finally:
        del model.init_continuous_batching
        for manager in made:
            manager.batch_processor = None
            if hasattr(manager, "destroy"):
                manager.destroy()
        made.clear()
        if model.config._attn_implementation != attention:  # noqa: SLF001
            model.set_attn_implementation(attention)
        gc.collect()
        if backend.device is not None:
            backend.api.resolve("torch.cuda.empty_cache")()


def _configuration(manager: Any) -> dict[str, Any]:
    """The options that the manager has settled on, and what its cache and scheduler are like."""
    found = getattr(manager, "continuous_batching_config", None)
    if found is None:  # older versions keep each option beside the manager's other attributes
        simple = {name.removeprefix("_"): value for name, value in vars(manager).items()}
        return {name: value for name, value in simple.items() if isinstance(value, bool | int | float | str)}
    config = dict(vars(found))
    processor = getattr(manager, "batch_processor", None)
    if processor is None:
        return config
    cache = processor.cache
    config["cache"] = {name: getattr(cache, name) for name in _CACHE if hasattr(cache, name)}
    config["scheduler"] = type(processor.scheduler).__name__
    # What the cache was built with is what runs.
    config |= {name: value for name, value in config["cache"].items() if name in config}
    offloading = getattr(processor, "offloading_manager", None)
    blocks = [getattr(offloading, name, None) for name in ("_num_cpu_sectors", "_num_cpu_blocks")]
    if 0 in blocks and config.get("cpu_offload_space"):
        config["cpu_offload_space"] = 0.0
    return config


def _differences(backend: "PyTorchBackend", config: Mapping[str, Any]) -> Iterator[Difference]:
    calls = backend.calls
    for name, sent in calls[GENERATE_BATCH].items():
        path = calls.origins[Target(GENERATE_BATCH, name)]
        if isinstance(sent, Build) and sent.entry_point == CONFIG:
            yield from _changed(sent, config, path)
        else:  # 5.0 calls num_q_padding_intervals q_padding_intervals inside
            inside = name if name in config else name.removeprefix("num_")
            if inside in config and not _equal(plain(sent), config[inside]):
                yield Difference(path, plain(sent), jsonable(config[inside]))


def _changed(build: Build, held: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for name, sent in build.arguments.items():
        actual, inside = held.get(name), f"{path}.{name}"
        if isinstance(sent, Build):
            if actual is None:
                raise NotAsRequestedError(
                    f"{inside}: compilation was asked for, and continuous batching does not compile these steps here",
                    f"remove {inside}, or run where transformers has this path: decoding by itself needs flash "
                    "attention on a GPU",
                )
            yield from _changed(sent, vars(actual), inside)
        elif not _equal(plain(sent), actual):
            yield Difference(inside, plain(sent), jsonable(actual))


def _equal(sent: Any, actual: Any) -> bool:
    """Whether a value runs as sent; one value for several places (such as graphs of both paths) becomes a tuple."""
    return same(sent, actual) or (isinstance(actual, tuple) and bool(actual) and all(item == sent for item in actual))


def _check_pages(manager: Any, attention: str) -> None:
    """Versions that do not switch the kernel themselves say which can read the cache's pages; others see one step."""
    if not hasattr(manager, "supported_attention_implementations"):
        return
    supported = sorted(manager.supported_attention_implementations())
    if attention not in supported:
        raise RequestError(
            f"{MODE}: the attention implementation {attention!r} does not read this version's paged cache, and would "
            "generate something else",
            f"set pytorch.attn_implementation to one of {', '.join(supported)}",
        )


def _check_attention(backend: "PyTorchBackend", attention: str) -> None:
    calls = backend.calls
    sent = calls[FROM_PRETRAINED].get("attn_implementation")
    if sent is None or unpaged(sent) == unpaged(attention):
        return
    path = calls.origins[Target(FROM_PRETRAINED, "attn_implementation")]
    switch = backend.api.surface("pytorch").find(CONFIG, "auto_switch_to_flash")
    raise NotAsRequestedError(
        f"{path}: {sent!r} was asked for, continuous batching runs {attention!r}",
        f"set {MODE}.auto_switch_to_flash: false" if switch else f"set {path}: paged|{sent}",
    )


def _lost(backend: "PyTorchBackend", batch: Batch, kept: list[str]) -> list[str]:
    """Processors that the model's own generation config makes in `generate` and that continuous batching drops.

    Raises:
        RequestError: one is kept that sees only each sequence's last token, and so computes something else.
    """
    surface = backend.api.surface("pytorch")
    acts_on = surface.entry_points[GENERATE_BATCH].acts_on.get(GENERATION_CONFIG, ())
    first = Batch(batch.prompts[:1], backend._pad(batch.prompts[:1]))  # noqa: SLF001
    asked = pytorch_readback.inside_generate(backend, first)[1]["logits_processors"]
    own = backend.model.generation_config
    backend.model.generation_config = reduced = copy.deepcopy(own)
    for name, parameter in surface.entry_points[GENERATION_CONFIG].parameters.items():
        default = parameter.effective_default
        plain_default = default is None or isinstance(default, bool | int | float | str)
        if name not in acts_on and getattr(own, name, None) is not None and plain_default:
            setattr(reduced, name, default)
    try:
        usable = pytorch_readback.inside_generate(backend, first)[1]["logits_processors"]
    finally:
        backend.model.generation_config = own
    lost = [name for name in asked if name not in usable]
    if wrong := [name for name in lost if name in kept]:
        raise RequestError(
            f"{MODE}: the model's own generation config asks for {', '.join(wrong)}, which needs the whole sequence; "
            "continuous batching shows it each sequence's last token",
            f"remove {MODE}, or what asks for it from the model's generation_config.json",
        )
    return lost


def _names(processors: Any) -> list[str]:
    return [type(item).__name__ for item in getattr(processors, "logits_processor", processors)]
