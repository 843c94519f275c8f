"""The key-value cache on the real API: what the forward passes get, which cache runs, and its size."""

from collections.abc import Callable
from typing import Any

import pytest

from llenergymeasure.core.batching import Prompt

from .fixtures_running import require_package, require_parameter, run_ids, watched

Load = Callable[..., Any]
PROMPT = tuple(range(5, 16))


@pytest.mark.field("use_cache", "observed")
@pytest.mark.parametrize(("used", "widths"), [(True, [11, 1, 1, 1]), (False, [11, 12, 13, 14])])
def test_past_tokens_are_kept_or_computed_again(load: Load, used: bool, widths: list[int]) -> None:
    backend = load({"use_cache": used})
    with watched(backend.model) as seen:
        run_ids(backend, PROMPT)
    assert seen.widths == widths


def cache_of(load: Load, section: dict[str, Any], max_tokens: int = 4) -> Any:
    backend = load(section, max_tokens=max_tokens)
    with watched(backend.model) as seen:
        run_ids(backend, PROMPT)
    return seen.caches[-1]


@pytest.mark.field("cache_implementation", "observed")
@pytest.mark.parametrize(
    ("kind", "name", "layer"),
    [("dynamic", "DynamicCache", "DynamicLayer"), ("static", "StaticCache", "StaticLayer")],
)
def test_cache_is_of_the_kind(load: Load, kind: str, name: str, layer: str) -> None:
    cache = cache_of(load, {"cache_implementation": kind})
    assert type(cache).__name__ == name
    assert {type(item).__name__ for item in cache.layers} == {layer}


@pytest.mark.filterwarnings("ignore")  # the library's advice on an old name
@pytest.mark.parametrize("kind", ["sliding_window", "hybrid_chunked"])
def test_a_window_that_the_model_has_not_is_told(load: Load, kind: str) -> None:
    backend = load({"cache_implementation": kind})
    found = backend.effective(backend.prepare([Prompt(0, (5, 6, 7))])[0])
    layers = found.values["cache_layers"]
    assert any("Sliding" in layer for layer in layers) or [item.field for item in found.differences] == [
        "pytorch.cache_implementation"
    ]


@pytest.mark.field("cache_implementation", "observed")
@pytest.mark.parametrize("kind", ["offloaded", "offloaded_static"])
def test_cache_is_offloaded(load: Load, kind: str) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs CUDA: an offloaded cache copies on a stream of its own")
    assert cache_of(load, {"cache_implementation": kind}).offloading is True


@pytest.mark.field("max_cache_len", "observed")
@pytest.mark.parametrize("length", [64, 300])
def test_static_cache_has_the_length(load: Load, length: int) -> None:
    require_parameter(("transformers.GenerationConfig", "max_cache_len"))
    cache = cache_of(load, {"cache_implementation": "static", "max_cache_len": length})
    assert cache.layers[0].keys.shape[-2] == length


@pytest.mark.field("cache_implementation", "observed")
@pytest.mark.field("cache_config", "observed")
@pytest.mark.field("cache_config.backend", "observed")
@pytest.mark.parametrize(
    ("backend", "package", "layer", "axis"),
    [("quanto", "optimum", "QuantoQuantizedLayer", 0), ("hqq", "hqq", "HQQQuantizedLayer", 1)],
)
def test_cache_is_quantized_by_the_library(load: Load, backend: str, package: str, layer: str, axis: int) -> None:
    require_package(package, f"the quantized cache's library {backend}")
    options = {"backend": backend, "axis_key": axis, "axis_value": axis, "q_group_size": 16}
    cache = cache_of(load, {"cache_implementation": "quantized", "cache_config": options})
    assert {type(item).__name__ for item in cache.layers} == {layer}


@pytest.mark.field("cache_config.nbits", "observed")
@pytest.mark.field("cache_config.axis_key", "observed")
@pytest.mark.field("cache_config.axis_value", "observed")
@pytest.mark.field("cache_config.q_group_size", "observed")
@pytest.mark.field("cache_config.residual_length", "observed")
def test_quantized_cache_has_the_options(load: Load) -> None:
    require_package("optimum", "the quantized cache's library quanto")
    options = {"nbits": 2, "axis_key": -1, "axis_value": -1, "q_group_size": 2, "residual_length": 7}
    section = {"cache_implementation": "quantized", "cache_config": {"backend": "quanto", **options}}
    layer = cache_of(load, section, max_tokens=12).layers[0]
    assert {name: getattr(layer, name) for name in options} == options
    assert layer.keys.shape[-2] <= 7
    assert type(layer._quantized_keys).__name__ == "WeightQBitsTensor"
    assert layer._quantized_keys.qtype.bits == 2
