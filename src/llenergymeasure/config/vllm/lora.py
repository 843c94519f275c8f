"""LoRA: low-rank adapters beside the model's own weights, and the adapter that every request uses."""

from types import MappingProxyType
from typing import Annotated, Literal

from llenergymeasure.config.bindings import Local, Section, binds, equals
from llenergymeasure.config.vllm.entry_points import BEAM_SEARCH, GENERATE, LLM, LORA_REQUEST

ENABLED = equals("enable_lora", value=True)
ON = {"enable_lora": True}


class LoraAdapter(Section):
    """The adapter of every request; its name and number only tell adapters apart, and there is one."""

    entry_point = LORA_REQUEST
    always = MappingProxyType({"lora_name": "adapter", "lora_int_id": 1})

    lora_path: Annotated[str, Local(hub=True)] = binds(
        default=...,
        min_length=1,
        sample="adapter",
        effect="Each adapted layer adds two thin products to every token's work.",
    )
    """Folder or repository of the adapter; its rank must not be above max_lora_rank."""


class Lora(Section):
    entry_point = LLM

    enable_lora: bool | None = binds(
        effect="Prepares adapted layers and room for adapters: memory, and a little time per step without any."
    )
    """Whether the engine can run adapters."""

    lora_adapter: LoraAdapter | None = binds(
        f"{GENERATE}:lora_request",
        f"{BEAM_SEARCH}:lora_request",
        needs=ENABLED,
        context=ON,
        effect="Each adapted layer adds two thin products to every token's work.",
    )
    """The LoRA adapter that every request uses."""

    max_loras: int | None = binds(
        ge=1,
        sample=2,
        needs=ENABLED,
        context=ON,
        effect="Room for more adapters takes memory from the cache; the tool uses one.",
    )
    """Adapters that one batch may use."""

    max_lora_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] | None = binds(
        sample=8,
        needs=ENABLED,
        context=ON,
        effect="Adapters are padded to this rank: memory and time per token grow with it.",
    )
    """Largest rank that an adapter may have."""

    max_cpu_loras: int | None = binds(
        ge=1, sample=3, needs=ENABLED, context=ON, effect="None with one adapter: it decides how many stay at hand."
    )
    """Adapters that are kept in the host's memory, at least max_loras."""

    lora_dtype: Literal["auto", "float16", "bfloat16"] | None = binds(
        sample="float16", needs=ENABLED, context=ON, effect="Hardly any: both formats have the same size."
    )
    """Number format of the adapters; auto takes the model's."""

    lora_target_modules: list[str] | None = binds(
        min_length=1,
        sample=["o_proj"],
        needs=ENABLED,
        context=ON,
        effect="Fewer adapted layers add fewer products to every token's work, and change the output.",
    )
    """Names of the layers that are adapted, by the ends of their paths; others go without their adapter."""

    fully_sharded_loras: bool | None = binds(
        needs=ENABLED,
        context=ON,
        effect="With tensor parallelism, less work per device and more exchange; pays off at high ranks.",
    )
    """Whether devices share both of an adapter's products instead of one."""

    specialize_active_lora: bool | None = binds(
        needs=ENABLED,
        context=ON,
        effect="Steps with few adapters run faster; recording takes longer and more memory.",
    )
    """Whether CUDA graphs are recorded for different numbers of adapters in a batch."""

    lora_extra_vocab_size: Literal[256, 512] | None = binds(
        sample=512,
        needs=ENABLED,
        context=ON,
        effect="Each token's scores are computed for that many more entries.",
    )
    """Tokens that adapters may add to the vocabulary, in 0.11; later versions take none."""

    enable_moe_shared_loras: bool | None = binds(
        needs=ENABLED,
        context=ON,
        effect="Less memory for adapters of mixtures of experts; other models are not touched.",
    )
    """Whether one half of an expert's adapter is shared by all experts, for adapters that are stored so."""

    enable_mixed_moe_lora_format: bool | None = binds(
        needs=ENABLED,
        context=ON,
        effect="Mixtures of experts run on the layer that takes both formats, which may be slower.",
    )
    """Whether adapters that store experts in one tensor and such as store them apart may be used together."""
