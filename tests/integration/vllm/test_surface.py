"""What a snapshot says and what the installed vLLM accepts are one, whichever build of it is installed."""

import importlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

vllm = pytest.importorskip("vllm", reason="needs vLLM, which is not installed")

from pydantic import ValidationError  # noqa: E402

from llenergymeasure.surface import snapshots  # noqa: E402
from llenergymeasure.surface.extract import from_source  # noqa: E402
from llenergymeasure.surface.live import compare, from_installed  # noqa: E402
from llenergymeasure.surface.model import IGNORED, EntryPoint, Parameter, Surface  # noqa: E402
from llenergymeasure.surface.objects import jsonable  # noqa: E402

LLM = "vllm.LLM"
SAMPLING = "vllm.SamplingParams"


@pytest.fixture(scope="module")
def live() -> Surface:
    return from_installed("vllm")


@pytest.fixture(scope="module")
def surface() -> Surface:
    return snapshots.installed("vllm")


def test_static_and_live_agree_on_names_and_defaults(surface: Surface, live: Surface) -> None:
    assert compare(surface, live) == []


def test_hardly_a_default_is_left_open(surface: Surface, live: Surface) -> None:
    """The comparison passes over what one side cannot know: that is objects that are entry points themselves."""
    open_ones = {
        name
        for name, parameter in surface.parameters()
        if not parameter.required
        and (isinstance(parameter.default, dict) and "expr" in parameter.default)
        and not str(parameter.default["expr"]).endswith("()")
        and not parameter.decided_by
    }
    assert open_ones == set()
    assert len(live.parameters()) == len(surface.parameters()) > 300


def test_the_installed_source_gives_the_snapshot(live: Surface) -> None:
    if live.version not in snapshots.versions("vllm"):
        pytest.skip(f"vLLM {live.version} has no snapshot")
    read = from_source("vllm", Path(vllm.__file__).parent)
    assert read.entry_points == snapshots.load("vllm", live.version, "vllm").entry_points


def test_a_surface_says_which_build_it_was_read_from(live: Surface) -> None:
    build = snapshots.installed_as("vllm")
    assert build is not None
    assert importlib.metadata.version(build.distribution).partition("+")[0] == live.version
    assert live.provenance.get("distribution", "vllm") == build.distribution


def test_a_name_or_default_that_one_side_lacks_is_found(live: Surface) -> None:
    """The comparison can fail: shown on a parameter of the engine, of a config class and of the sampling."""
    for point, name in ((LLM, "seed"), ("vllm.config.CompilationConfig", "backend"), (SAMPLING, "temperature")):
        parameters = live.entry_points[point].parameters
        without = {key: parameter for key, parameter in parameters.items() if key != name}
        other = parameters | {name: replace(parameters[name], default="another")}
        assert compare(live, _changed(live, point, without)) == [f"{point} {name}: only static"]
        assert compare(live, _changed(live, point, other)) == [
            f"{point} {name}: default static {parameters[name].default!r}, live 'another'"
        ]


def _changed(surface: Surface, name: str, parameters: dict[str, Parameter]) -> Surface:
    return replace(surface, entry_points=surface.entry_points | {name: EntryPoint(name, parameters)})


def _config_classes(surface: Surface) -> Iterator[tuple[type, dict[str, Parameter]]]:
    for name, point in surface.entry_points.items():
        if name.startswith("vllm.config."):
            module, _, cls = name.rpartition(".")
            yield getattr(importlib.import_module(module), cls), point.parameters


def test_every_choice_is_taken_by_the_class_itself(surface: Surface) -> None:
    refused, taken = [], 0
    for cls, parameters in _config_classes(surface):
        for parameter in parameters.values():
            for choice in parameter.choices:
                taken += 1
                if _refuses(cls, parameter.name, choice):
                    refused.append(f"{cls.__name__}.{parameter.name}={choice!r}")
    assert refused == []
    assert taken > 100


def test_what_is_no_choice_or_beyond_a_bound_is_refused(surface: Surface) -> None:
    accepted, asked = [], 0
    for cls, parameters in _config_classes(surface):
        for parameter in parameters.values():
            for value in _wrong(parameter):
                asked += 1
                if not _refuses(cls, parameter.name, value):
                    accepted.append(f"{cls.__name__}.{parameter.name}={value!r}")
    assert accepted == []
    assert asked > 40


def _refuses(cls: type, name: str, value: Any) -> bool:
    """Whether the value itself is refused, and not what is missing beside it."""
    try:
        cls(**{name: value})
    except ValidationError as error:
        return any(name in problem["loc"] for problem in error.errors())
    except KeyError:  # of an enumeration's member, which pydantic does not catch
        return True
    except Exception:  # noqa: BLE001 - the value was taken; something else is missing
        return False
    return False


def _wrong(parameter: Parameter) -> list[Any]:
    step = 1 if "int" in parameter.type and "float" not in parameter.type else 0.001
    low = [] if parameter.minimum is None else [parameter.minimum - step]
    high = [] if parameter.maximum is None else [parameter.maximum + step]
    return [*low, *high, *(["surely not"] if parameter.choices else [])]


def test_bounds_of_the_sampling_are_where_it_refuses(surface: Surface) -> None:
    bounded = [p for p in surface.entry_points[SAMPLING].parameters.values() if _wrong(p) and not p.choices]
    assert len(bounded) > 8
    for parameter in bounded:
        for value in _wrong(parameter):
            with pytest.raises(Exception, match=parameter.name):  # vLLM's own kind, later than ValueError
                vllm.SamplingParams(**{parameter.name: value})


def test_a_default_that_the_engine_changes_says_who_decides_it(surface: Surface, tiny_llama: Path) -> None:
    """Of what is found again by its name in the configuration of an engine for which nothing was set."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext

    made = list(_parts(EngineArgs(model=str(tiny_llama)).create_engine_config(UsageContext.LLM_CLASS)))
    unmarked, marked = [], []
    for name, parameter in surface.entry_points[LLM].parameters.items():
        for part in made:
            held = {field.name for field in fields(part)}
            if name in held and _is_other(parameter, getattr(part, name)):
                # None may stand for what the config class itself has.
                own = surface.find(f"vllm.config.{type(part).__name__}", name)
                (marked if parameter.decided_by or (own and own.decided_by) else unmarked).append(name)
    assert unmarked == []
    assert {"block_size", "max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill", "max_model_len"} <= {
        *marked
    }


def _parts(config: Any) -> Iterator[Any]:
    yield config
    for field in fields(config):
        value = getattr(config, field.name, None)
        if is_dataclass(value) and type(value).__module__.startswith("vllm.config"):
            yield from _parts(value)


def _is_other(parameter: Parameter, value: Any) -> bool:
    """Whether another value runs than the default; an object for None, and nothing in a list, is none."""
    if parameter.required or parameter.status == IGNORED or not value:
        return False
    if is_dataclass(value) or "expr" in (parameter.default if isinstance(parameter.default, dict) else ()):
        return False
    return bool(jsonable(value) != parameter.effective_default)
