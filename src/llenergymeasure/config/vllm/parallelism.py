"""Fields that spread one model, or replicas of it, over several devices, and say how these talk to each other."""

from typing import Literal

from llenergymeasure.config.bindings import Section, above, binds, equals
from llenergymeasure.config.pytorch.entry_points import PLAN_REPLICAS
from llenergymeasure.config.vllm.entry_points import LLM

EPLB_CONFIG = "vllm.config.EPLBConfig"

EXPERTS = equals("enable_expert_parallel", value=True)
MICROBATCHES = (equals("enable_dbo", value=True), above("ubatch_size", 1))
SPLIT_CACHE = above("decode_context_parallel_size", 1)
SEVERAL_RANKS = above("data_parallel_size", 1)


class ExpertBalancing(Section):
    """Moving experts between devices while the model runs, so that each device has the same load.

    0.11.2 has each value a second time, as an argument of its own whose default overwrites the one in the object:
    there both are sent.
    """

    entry_point = EPLB_CONFIG

    window_size: int | None = binds(
        EPLB_CONFIG,
        f"{LLM}:eplb_window_size",
        gt=0,
        sample=500,
        effect="Longer windows follow a shifting load later and move fewer experts for nothing.",
    )
    """Steps over which the load of each expert is counted."""

    step_interval: int | None = binds(
        EPLB_CONFIG,
        f"{LLM}:eplb_step_interval",
        gt=0,
        sample=1500,
        effect="Shorter intervals balance sooner and copy weights between devices more often.",
    )
    """Steps from one rearrangement of the experts to the next."""

    num_redundant_experts: int | None = binds(
        EPLB_CONFIG,
        f"{LLM}:num_redundant_experts",
        ge=0,
        sample=2,
        effect="Copies of busy experts even out the load, and take memory from the cache.",
    )
    """Experts that are kept twice, over all devices together."""

    use_async: bool | None = binds(
        effect="In the background, rearranging takes no step's time but competes for bandwidth."
    )
    """Whether experts are moved while steps go on, instead of between two steps."""

    communicator: str | None = binds(
        sample="torch_gloo",
        effect="Decides whether moved weights go from device to device or by way of the host.",
    )
    """What moves the weights of experts: torch_gloo, torch_nccl, torch_xccl, nixl or pynccl."""

    enable_migration_batching: bool | None = binds(
        excludes=equals("use_async", value=False),
        effect="Less contention on the network while experts move, in exchange for more rounds.",
    )
    """Whether each device exchanges experts with one other at a time; with use_async only."""


class Parallelism(Section):
    entry_point = LLM

    tensor_parallel_size: int | None = binds(
        ge=1,
        sample=2,
        effect="Splits every matrix over the devices: latency falls, total power and the energy of communication rise.",
    )
    """Number of devices that share each tensor."""

    pipeline_parallel_size: int | None = binds(
        ge=1,
        sample=2,
        effect="Splits the layers over the devices: more room for the cache, no lower latency for a single request.",
    )
    """Number of devices that share the layers, one stage each."""

    data_parallel_size: int | None = binds(
        f"{PLAN_REPLICAS}:num_processes",
        ge=1,
        le=1024,
        sample=2,
        effect="Replicas multiply throughput, power and memory with the devices they use.",
    )
    """Replicas of the model, each in a process of its own with a share of the prompts."""

    prefill_context_parallel_size: int | None = binds(
        ge=1, sample=2, effect="Long prompts are read faster; decoding gains nothing from the added devices."
    )
    """Number of devices that share each prompt while it is read; they come on top of the tensor-parallel ones."""

    decode_context_parallel_size: int | None = binds(
        ge=1,
        sample=2,
        context={"tensor_parallel_size": 2},
        effect="The cache is stored once instead of in copies: larger batches, more communication in every step.",
    )
    """Number of devices, of those that share a tensor, over which each request's KV cache is spread."""

    dcp_comm_backend: Literal["ag_rs", "a2a"] | None = binds(
        needs=SPLIT_CACHE,
        sample="a2a",
        context={"tensor_parallel_size": 2, "decode_context_parallel_size": 2},
        effect="a2a needs fewer collective calls per layer than ag_rs.",
    )
    """How devices combine their parts of attention: gather and reduce-scatter, or one exchange of all with all."""

    dcp_q_replicate: bool | None = binds(
        needs=SPLIT_CACHE,
        context={"tensor_parallel_size": 2, "decode_context_parallel_size": 2},
        effect="Saves a collective call per step, at the price of the same product computed on every device.",
    )
    """Whether each device computes the queries of its whole group; models with latent attention only."""

    # Both, because attention kernels read one or the other in the versions that have both.
    cp_kv_cache_interleave_size: int | None = binds(
        f"{LLM}:cp_kv_cache_interleave_size",
        f"{LLM}:dcp_kv_cache_interleave_size",
        needs=SPLIT_CACHE,
        ge=1,
        sample=16,
        context={"tensor_parallel_size": 2, "decode_context_parallel_size": 2},
        effect="Coarser interleaving leaves short requests on fewer devices.",
    )
    """Neighbouring tokens that stay on one device where the cache is spread; a divisor of the block size."""

    distributed_executor_backend: str | None = binds(
        sample="mp", effect="More processes per engine cost the host time in every step."
    )
    """What runs the workers: uni (in the engine's process), mp, ray, external_launcher, or the path of a class."""

    disable_custom_all_reduce: bool | None = binds(
        needs=above("tensor_parallel_size", 1),
        context={"tensor_parallel_size": 2},
        effect="NCCL sums are slower on small messages, most between devices that see each other's memory.",
    )
    """Whether NCCL, or another kernel that applies, sums over the devices in place of vLLM's own kernel."""

    enable_batch_sharded_sampling: bool | None = binds(
        context={"tensor_parallel_size": 2},
        effect="Sampling takes less time at large batches, and one exchange more.",
    )
    """Whether each device samples a part of the batch instead of all of it."""

    enable_hc_sp: bool | None = binds(
        needs=above("tensor_parallel_size", 1),
        context={"tensor_parallel_size": 2},
        effect="Hyper-connections are computed once instead of on every device; few models have them.",
    )
    """Whether the devices share the tokens where a model computes hyper-connections."""

    enable_expert_parallel: bool | None = binds(
        context={"tensor_parallel_size": 2},
        effect="Experts are spread over the devices instead of being split: tokens travel in place of partial sums.",
    )
    """Whether the experts of a mixture-of-experts model are spread over the devices; dense models are not touched."""

    enable_ep_weight_filter: bool | None = binds(
        needs=EXPERTS,
        context={"tensor_parallel_size": 2, "enable_expert_parallel": True},
        effect="Load time only.",
    )
    """Whether each device reads only its own experts from the files."""

    expert_placement_strategy: Literal["linear", "round_robin"] | None = binds(
        needs=EXPERTS,
        sample="round_robin",
        context={"tensor_parallel_size": 2, "enable_expert_parallel": True},
        effect="Decides which experts share a device, and so how even the load is.",
    )
    """Whether a device gets neighbouring experts, or every n-th one; vLLM falls back where round_robin cannot be."""

    all2all_backend: str | None = binds(
        needs=(SEVERAL_RANKS, above("prefill_context_parallel_size", 1), *MICROBATCHES),
        sample="deepep_low_latency",
        context={"data_parallel_size": 2},
        effect="Decides how tokens reach their experts: some kernels suit small batches, others large ones.",
    )
    """Kernel that sends tokens to their experts, such as allgather_reducescatter or deepep_low_latency."""

    enable_eplb: bool | None = binds(
        context={"tensor_parallel_size": 2, "enable_expert_parallel": True},
        effect="Evens out the load of the experts, and costs counting and moving weights.",
    )
    """Whether experts move between devices according to their load."""

    eplb_config: ExpertBalancing | None = binds(
        needs=equals("enable_eplb", value=True),
        context={"tensor_parallel_size": 2, "enable_expert_parallel": True, "enable_eplb": True},
        effect="Decides how often experts move, and how many have a copy.",
    )
    """How the load of the experts is balanced."""

    enable_dbo: bool | None = binds(
        context={"data_parallel_size": 2, "all2all_backend": "deepep_low_latency"},
        effect="Hides communication behind computation at large batches; small ones only get the overhead.",
    )
    """Whether two halves of a batch take turns in computing and communicating."""

    ubatch_size: int | None = binds(
        ge=0,
        sample=2,
        context={"data_parallel_size": 2, "all2all_backend": "deepep_low_latency"},
        excludes=equals("enable_dbo", value=True),
        effect="More parts overlap better and leave each kernel less work.",
    )
    """Parts of a batch that take turns in computing and communicating; enable_dbo means two."""

    dbo_decode_token_threshold: int | None = binds(
        ge=0,
        needs=MICROBATCHES,
        sample=64,
        context={"data_parallel_size": 2, "all2all_backend": "deepep_low_latency", "enable_dbo": True},
        effect="A lower threshold divides smaller batches, which may cost more than it hides.",
    )
    """Tokens from which a step that only decodes is divided."""

    dbo_prefill_token_threshold: int | None = binds(
        ge=0,
        needs=MICROBATCHES,
        sample=256,
        context={"data_parallel_size": 2, "all2all_backend": "deepep_low_latency", "enable_dbo": True},
        effect="A lower threshold divides smaller batches, which may cost more than it hides.",
    )
    """Tokens from which a step that reads prompts is divided."""

    dp_sync_interval: int | None = binds(
        ge=1,
        needs=SEVERAL_RANKS,
        sample=8,
        context={"data_parallel_size": 2},
        effect="Rare synchronisation costs less per step; replicas that are done run idle steps for longer.",
    )
    """Steps after which replicas of a mixture-of-experts model ask each other whether all are done."""

    disable_nccl_for_dp_synchronization: bool | None = binds(
        needs=SEVERAL_RANKS,
        context={"data_parallel_size": 2},
        effect="On the host, synchronisation takes the processor's time and leaves the device's queue alone.",
    )
    """Whether replicas agree on the size of their batches over the host instead of the devices."""

    numa_bind: bool | None = binds(
        effect="Memory near the device's own processor shortens what the host does in each step."
    )
    """Whether workers are bound to the processor and memory nearest to their GPU."""

    numa_bind_nodes: list[int] | None = binds(
        min_length=1,
        sample=[0],
        context={"numa_bind": True},
        effect="A distant node lengthens what the host does in each step.",
    )
    """NUMA node of each visible GPU's worker; found by itself where unset."""

    numa_bind_cpus: list[str] | None = binds(
        min_length=1,
        sample=["0-1"],
        context={"numa_bind": True},
        effect="Faster or undisturbed cores shorten what the host does in each step.",
    )
    """Cores of each visible GPU's worker, such as 0-3 or 0,2,4-7."""
