"""Fields that move weights or KV cache out of the GPU's memory, and back when they are needed."""

from typing import Any, Literal

from llenergymeasure.config.bindings import Section, above, binds, equals, is_set
from llenergymeasure.config.vllm.entry_points import LLM

ON_HOST = above("cpu_offload_gb", 0)
PREFETCHED = above("offload_group_size", 0)
WITH_CONNECTOR = is_set("kv_connector")
ROOM = {"kv_connector_extra_config": {"cpu_bytes_to_use": 268435456}}  # the engine does not start without
OFFLOADING = {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", **ROOM}


class KVTransfer(Section):
    """A connector that stores the KV cache outside the GPU, on the host, on disk or with another engine."""

    entry_point = "vllm.config.KVTransferConfig"

    kv_connector: str | None = binds(
        sample="OffloadingConnector",
        context={"kv_role": "kv_both", **ROOM},
        effect="Stored cache is copied back instead of being computed again; every request pays for the storing.",
    )
    """Name of the connector's class, such as OffloadingConnector."""

    kv_role: Literal["kv_producer", "kv_consumer", "kv_both"] | None = binds(
        needs=WITH_CONNECTOR,
        sample="kv_both",
        context={"kv_connector": "OffloadingConnector", **ROOM},
        effect="A producer only pays for storing, a consumer only gains from it.",
    )
    """Whether the engine stores cache, loads it, or both."""

    kv_connector_extra_config: dict[str, Any] | None = binds(
        needs=WITH_CONNECTOR,
        sample={"cpu_bytes_to_use": 268435456},
        context={"kv_connector": "OffloadingConnector", "kv_role": "kv_both"},
        effect="Depends on the option; see the connector's own list.",
    )
    """Options of the connector, by name."""

    kv_connector_module_path: str | None = binds(
        needs=WITH_CONNECTOR,
        sample="vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector",
        context=OFFLOADING,
        effect="None of its own: it decides which connector runs.",
    )
    """Python module that holds the connector's class."""

    kv_load_failure_policy: Literal["recompute", "fail"] | None = binds(
        needs=WITH_CONNECTOR,
        sample="recompute",
        context=OFFLOADING,
        effect="None as long as loading works.",
    )
    """Whether a request whose stored cache cannot be loaded is computed again, or fails."""


class Engram(Section):
    """Where a model with n-gram embeddings keeps their tables; other models refuse it."""

    entry_point = "vllm.config.EngramConfig"

    cpu_offload: bool | None = binds(
        sample=False, effect="Tables on the host free GPU memory; every step looks them up over the bus."
    )
    """Whether the tables lie in the host's memory."""

    embedding_across_dp: bool | None = binds(
        effect="Frees memory on each device and adds communication between the replicas."
    )
    """Whether the tables are spread over all replicas instead of being kept by each."""

    dp_shared_memory: bool | None = binds(
        excludes=equals("cpu_offload", value=False), effect="Saves memory of the host, nothing per step."
    )
    """Whether replicas on one machine share the tables on the host."""

    use_thp: bool | None = binds(
        excludes=(equals("cpu_offload", value=False), equals("dp_shared_memory", value=True)),
        context={"dp_shared_memory": False},
        effect="Larger pages make look-ups on the host cheaper; loading takes longer.",
    )
    """Whether tables on the host use huge pages."""


class Offloading(Section):
    entry_point = LLM

    offload_backend: Literal["auto", "uva", "prefetch"] | None = binds(
        needs=(ON_HOST, PREFETCHED),
        sample="uva",
        context={"cpu_offload_gb": 0.5},
        effect="uva reads weights over the bus inside each kernel; prefetch copies whole layers ahead of their use.",
    )
    """How weights on the host are used; auto follows from whether cpu_offload_gb or offload_group_size is set."""

    cpu_offload_gb: float | None = binds(
        ge=0,
        sample=0.5,
        excludes=PREFETCHED,
        effect="Weights on the host are read over the bus in every step: latency and energy per token rise.",
    )
    """Weights that stay in the host's memory, in GiB for each GPU."""

    cpu_offload_params: list[str] | None = binds(
        needs=ON_HOST,
        sample=["mlp"],
        context={"cpu_offload_gb": 0.5},
        effect="Weights that are rarely read, such as experts, cost less on the host.",
    )
    """Which weights may stay on the host, by parts of their names; any where unset."""

    offload_group_size: int | None = binds(
        ge=0,
        sample=2,
        excludes=equals("offload_backend", "uva"),
        effect="Smaller groups keep more layers on the host: latency and energy per token rise.",
    )
    """Layers of one group, of which the last ones stay on the host and are fetched ahead; 0 keeps none there."""

    offload_num_in_group: int | None = binds(
        ge=1,
        needs=PREFETCHED,
        sample=2,
        context={"offload_group_size": 2},
        effect="Each layer more on the host is one more copy in every step.",
    )
    """Layers of each group that stay on the host."""

    offload_prefetch_step: int | None = binds(
        ge=0,
        needs=PREFETCHED,
        sample=2,
        context={"offload_group_size": 2},
        effect="Fetching further ahead hides the copy better and holds more layers in GPU memory.",
    )
    """Layers ahead of which a layer is fetched from the host."""

    offload_params: list[str] | None = binds(
        needs=PREFETCHED,
        sample=["mlp"],
        context={"offload_group_size": 2},
        effect="Fewer weights to copy make each step shorter and free less memory.",
    )
    """Which weights of those layers stay on the host, by parts of their names; all where unset."""

    # 0.11.2 ignores a size without a backend; later versions take native by themselves.
    kv_offloading_size: float | None = binds(
        gt=0,
        needs=is_set("kv_offloading_backend"),
        excludes=is_set("kv_transfer_config"),
        sample=0.5,
        context={"kv_offloading_backend": "native"},
        effect="An evicted or repeated prefix is copied back instead of being computed again.",
    )
    """Memory of the host for KV cache that left the GPU, in GiB over all devices."""

    kv_offloading_backend: Literal["native", "lmcache"] | None = binds(
        needs=is_set("kv_offloading_size"),
        sample="lmcache",
        context={"kv_offloading_size": 0.5},
        effect="Decides how copies between GPU and host are made, and what is kept.",
    )
    """What keeps KV cache on the host: vLLM itself, or LMCache where it is installed."""

    kv_transfer_config: KVTransfer | None = binds(
        effect="Stored cache is copied back instead of being computed again; every request pays for the storing."
    )
    """A connector that stores KV cache outside the GPU."""

    engram_config: Engram | None = binds(effect="Decides what each look-up of an n-gram costs.")
    """Where the tables of n-gram embeddings are kept."""
