"""Layers that carry a state instead of a cache of keys and values: Mamba, gated delta nets and their kin."""

from typing import Literal

from llenergymeasure.config.bindings import Section, binds, equals, is_set
from llenergymeasure.config.vllm.entry_points import LLM


class StateSpace(Section):
    """Kernels of layers with a state; models without such layers are not touched."""

    entry_point = LLM

    mamba_backend: Literal["triton", "flashinfer", "cpu"] | None = binds(
        sample="flashinfer", effect="Decides the time per decoding step of Mamba layers."
    )
    """Kernels that update the state of Mamba layers; cpu from 0.32 on."""

    mamba_ssu_algorithm: Literal["auto", "simple", "vertical", "horizontal"] | None = binds(
        sample="simple",
        needs=equals("mamba_backend", "flashinfer"),
        context={"mamba_backend": "flashinfer"},
        effect="Decides the time per decoding step of Mamba layers, by batch size.",
    )
    """How FlashInfer's kernel spreads the update of the state over the device."""

    enable_mamba_cache_stochastic_rounding: bool | None = binds(
        context={"mamba_backend": "flashinfer", "mamba_ssm_cache_dtype": "float16"},
        effect="A little arithmetic per step; answers differ from those of plain rounding.",
    )
    """Whether states are rounded at random when stored in 16 bits; needs `mamba_ssm_cache_dtype: float16`."""

    mamba_cache_philox_rounds: int | None = binds(
        ge=0,
        sample=4,
        needs=is_set("enable_mamba_cache_stochastic_rounding"),
        context={
            "enable_mamba_cache_stochastic_rounding": True,
            "mamba_backend": "flashinfer",
            "mamba_ssm_cache_dtype": "float16",
        },
        effect="More rounds cost arithmetic per step.",
    )
    """Rounds of the random number generator for that rounding; 0 takes the kernel's own number."""

    enable_mamba_shared_prefix_checkpoint: bool | None = binds(
        effect="Requests with a common beginning compute less of it again, with speculation and prefix caching only."
    )
    """Whether states are also kept where requests were seen to share their beginning."""

    use_replayssm: bool | None = binds(
        effect="Less memory traffic per decoding step: states are written every few steps instead of in each."
    )
    """Whether Mamba2 layers keep their latest inputs and write their state only now and then."""

    replayssm_buffer_len: int | None = binds(
        ge=1,
        sample=8,
        needs=is_set("use_replayssm"),
        context={"use_replayssm": True},
        effect="Longer buffers write states less often and take more memory and work per step.",
    )
    """Inputs that those layers keep before they write their state."""

    gdn_prefill_backend: str | None = binds(
        sample="triton", effect="Decides how fast models with gated delta nets process prompts."
    )
    """Kernel of gated delta nets for prompts, such as triton, flashinfer or cutedsl."""

    kda_prefill_backend: str | None = binds(
        sample="triton", effect="Decides how fast models with Kimi delta attention process prompts."
    )
    """Kernel of Kimi delta attention for prompts, such as triton, flashkda or flashinfer."""

    kda_decode_backend: Literal["auto", "native", "flashinfer", "triton"] | None = binds(
        sample="triton", effect="Decides how fast models with Kimi delta attention decode."
    )
    """Kernel of Kimi delta attention for decoding."""

    swa_bounded_replay: bool | None = binds(
        sample=False,
        effect="Saves cache memory and computes one window again after a prefix hit, in DeepSeek-V4.1 only.",
    )
    """Whether sliding-window layers are left out of prefix caching and computed again from the last window."""
