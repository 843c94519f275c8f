"""Parallelism over several devices inside one model: the fields of transformers' distributed configuration."""

from typing import Literal

from llenergymeasure.config.bindings import Section, above, binds, equals, is_set


class Distributed(Section):
    """Tensor, pipeline and expert parallelism, one process per device."""

    entry_point = "transformers.distributed.DistributedConfig"

    tp_size: int | None = binds(
        ge=1,
        sample=2,
        effect="Splits every matrix over the devices: latency falls, total power and the energy of communication rise.",
    )
    """Number of devices that share each tensor."""

    tp_plan: Literal["auto"] | dict[str, str] | None = binds(
        sample="auto", effect="Decides which matrices are split and which are kept whole on every device."
    )
    """Tensor-parallel plan: auto takes the model's own, a map replaces single rules by module name."""

    pp_size: int | None = binds(
        ge=1, sample=2, effect="Splits the layers over the devices: more memory, no lower latency for a single request."
    )
    """Number of devices that share the layers, one stage each."""

    enable_expert_parallel: bool | None = binds(
        excludes=is_set("ep_size"),
        context={"tp_size": 2},
        effect="Experts are spread over the devices instead of being split.",
    )
    """Whether the experts of a mixture-of-experts model are spread over the devices; newer versions call it ep_size."""

    ep_size: int | None = binds(
        ge=1, sample=2, context={"tp_size": 2}, effect="Fewer experts per device, more tokens sent between devices."
    )
    """Number of devices that own distinct experts; a multiple of tp_size."""

    ep_plan: dict[str, str] | None = binds(
        needs=(above("ep_size", 1), equals("enable_expert_parallel", value=True)),
        sample={"layers.*.mlp.experts": "ep_dispatch_experts"},
        context={"tp_size": 2, "ep_size": 2},
        effect="Decides how each expert layer is split, and with it the communication per token.",
    )
    """Expert-parallel plan by module name, on top of the model's own."""

    ep_implementation: str | None = binds(
        needs=(above("ep_size", 1), equals("enable_expert_parallel", value=True)),
        sample="all_to_all",
        context={"tp_size": 2, "ep_size": 2},
        effect="all_to_all moves only the routed tokens; all_reduce moves every token and suits small batches.",
    )
    """How tokens reach the experts: auto, all_to_all, all_reduce or deepgemm_megamoe."""
