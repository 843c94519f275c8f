"""Fields of the key-value cache and of compilation inside `generate`."""

from typing import Literal

from llenergymeasure.config.bindings import Section, among, binds, equals
from llenergymeasure.config.pytorch.compilation import CompileOptions
from llenergymeasure.config.pytorch.entry_points import GENERATION_CONFIG

STATIC = among("cache_implementation", "static", "offloaded_static")


class CacheConfig(Section):
    """Options of the quantized cache; the other caches take none."""

    entry_point = "transformers.QuantizedCache"
    form = "mapping"

    backend: Literal["quanto", "hqq", "fp8"] | None = binds(
        sample="hqq", effect="Decides the kernels that quantize and unpack the cache in every step."
    )
    """Library that quantizes the cache."""

    nbits: Literal[1, 2, 3, 4, 8] | None = binds(sample=2, effect="Fewer bits shrink the cache and add work per step.")
    """Bits per cached value."""

    axis_key: Literal[0, 1, -1] | None = binds(sample=-1)
    """Axis along which keys are grouped."""

    axis_value: Literal[0, 1, -1] | None = binds(sample=-1)
    """Axis along which values are grouped."""

    q_group_size: int | None = binds(ge=1, sample=32, effect="Small groups lose less accuracy and store more scales.")
    """Values that share one scale."""

    residual_length: int | None = binds(
        ge=0, sample=16, effect="More recent tokens stay unquantized: more memory, less work."
    )
    """Most recent tokens that stay in full precision."""


class Cache(Section):
    entry_point = GENERATION_CONFIG

    use_cache: bool | None = binds(
        sample=False,
        effect="Without the cache every step recomputes the whole sequence: energy per token grows with its length.",
    )
    """Whether keys and values of past tokens are kept."""

    cache_implementation: (
        Literal[
            "dynamic",
            "static",
            "offloaded",
            "offloaded_static",
            "quantized",
            "hybrid",
            "hybrid_chunked",
            "offloaded_hybrid",
            "offloaded_hybrid_chunked",
            "sliding_window",
            "dynamic_full",
        ]
        | None
    ) = binds(
        sample="static",
        excludes=equals("use_cache", value=False),
        unoffered={"paged": "generate would switch to continuous batching; set continuous_batching instead"},
        effect="static allocates once and lets generate compile the step; offloaded saves GPU memory for transfers; "
        "quantized saves memory for work.",
    )
    """Kind of key-value cache."""

    cache_config: CacheConfig | None = binds(
        needs=equals("cache_implementation", "quantized"), context={"cache_implementation": "quantized"}
    )
    """Options of the quantized cache."""

    max_cache_len: int | None = binds(
        ge=1,
        sample=512,
        needs=STATIC,
        context={"cache_implementation": "static"},
        effect="A larger static cache costs attention time in every step.",
    )
    """Tokens for which a static cache is sized at least."""

    compile_config: CompileOptions | None = binds(needs=STATIC, context={"cache_implementation": "static"})
    """How generate compiles the decoding step of a static cache."""

    disable_compile: bool | None = binds(
        needs=STATIC,
        context={"cache_implementation": "static"},
        effect="Without compilation a static cache's step costs more launches.",
    )
    """Whether generate leaves the decoding step uncompiled."""
