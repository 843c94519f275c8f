"""The KV cache of the running engine: its blocks and bytes, its number format, and what later requests find in it."""

import pytest

from .conftest import Engines
from .fixtures_engine import Running, cache_blocks, cache_bytes, core, runner, running
from .fixtures_running import generate, memory_bytes, platform, tokens

PROMPT = tuple(range(5, 305))
MIB = 1 << 20
# Of one token in a cache of 32-bit numbers: keys and values of two layers with two heads of 64.
TOKEN_BYTES = 2 * 2 * 2 * 64 * 4


@pytest.fixture
def run(engines: Engines) -> Running:
    return running(engines)


@pytest.mark.field("enable_prefix_caching", "observed")
@pytest.mark.parametrize(("cached", "found"), [(True, 256), (False, 0)])
def test_a_prompt_s_whole_blocks_are_found_again_within_a_pass(run: Running, cached: bool, found: int) -> None:
    backend = run({"enable_prefix_caching": cached, "block_size": 64})

    def hits() -> int:
        (request,) = generate(backend, PROMPT)
        return int(request.num_cached_tokens)

    assert hits() == 0
    assert hits() == found
    backend.seed()
    assert hits() == 0


@pytest.mark.field("kv_cache_memory_bytes", "observed")
@pytest.mark.parametrize("size", [32 * MIB, 64 * MIB])
def test_cache_takes_the_bytes_it_is_given(run: Running, size: int) -> None:
    assert cache_bytes(run({"kv_cache_memory_bytes": size})) == size


@pytest.mark.field("num_gpu_blocks_override", "observed")
@pytest.mark.parametrize("count", [16, 48])
def test_cache_has_the_blocks_it_is_given(run: Running, count: int) -> None:
    backend = run({"num_gpu_blocks_override": count, "block_size": 64})
    assert cache_blocks(backend) == count
    assert cache_bytes(backend) == count * 64 * TOKEN_BYTES


@pytest.mark.field("block_size", "observed")
@pytest.mark.parametrize("size", [64, 128])
def test_the_same_memory_is_cut_into_blocks_of_the_size(run: Running, size: int) -> None:
    backend = run({"block_size": size, "kv_cache_memory_bytes": 64 * MIB})
    assert cache_blocks(backend) == 64 * MIB // TOKEN_BYTES // size
    before = generate(backend, PROMPT)
    assert [request.num_cached_tokens for request in before] == [0]
    assert [request.num_cached_tokens for request in generate(backend, PROMPT)] == [256]


@pytest.mark.field("gpu_memory_utilization", "observed")
def test_cache_takes_what_the_share_of_the_memory_leaves(run: Running) -> None:
    # On a CPU all that this process holds already, the tests before included, counts towards the share.
    shares = (0.2, 0.3) if platform() == "cpu" else (0.06, 0.1)
    small, large = (
        cache_bytes(run({"kv_cache_memory_bytes": None, "gpu_memory_utilization": share})) for share in shares
    )
    # Far less than the shares differ by: a host's memory may be in several parts, of which an engine takes one.
    assert large - small > 0.01 * memory_bytes()


@pytest.mark.field("kv_cache_dtype", "observed")
def test_cache_holds_numbers_of_the_format(run: Running) -> None:
    section = {"dtype": "bfloat16", "num_gpu_blocks_override": 16, "max_model_len": 128}

    def widths(**more: str) -> set[int]:
        return {cache.element_size() for cache in runner(run({**section, **more})).kv_caches}

    assert widths(kv_cache_dtype="fp8") == {1}
    assert widths() == {2}


@pytest.mark.field("max_model_len", "observed")
def test_answer_ends_where_the_longest_request_does(run: Running) -> None:
    prompt = tuple(range(5, 65))
    assert [len(ids) for ids in tokens(run({"max_model_len": 64}), prompt)] == [4]
    assert [len(ids) for ids in tokens(run(), prompt)] == [16]


@pytest.mark.field("max_model_len", "observed")
def test_prompt_longer_than_a_request_may_be_is_refused(run: Running) -> None:
    assert generate(run(), PROMPT)
    with pytest.raises(Exception, match=r"maximum (context|model) length|max_model_len"):
        generate(run({"max_model_len": 64}), PROMPT)
    assert core(run({"max_model_len": 64})).scheduler.max_model_len == 64
