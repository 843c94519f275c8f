"""Quantization of the weights while loading, in more detail than a method's name gives."""

from llenergymeasure.config.bindings import Section, binds, is_set


class QuantSpec(Section):
    """Number formats of one kind of layer, by vLLM's names, such as fp8_per_channel_static or mxfp8."""

    entry_point = "vllm.config.quantization.QuantSpec"

    weight: str | None = binds(
        sample="fp8_per_tensor_static",
        effect="Fewer bits mean less memory traffic per token; finer scales cost time and keep the output closer.",
    )
    """Format of the weights and of their scales."""

    activation: str | None = binds(
        sample="fp8_per_token",
        context={"weight": "fp8_per_channel_static"},
        effect="Decides whether products run in few bits, too, or only the weights are read so.",
    )
    """Format of the activations and of their scales; without it that of the method."""


class OnlineQuantization(Section):
    """Which layers are quantized to which format; what is left out comes from the method."""

    entry_point = "vllm.config.quantization.QuantizationConfigArgs"

    linear: QuantSpec | None = binds(effect="Most of a dense model's weights: memory, time and energy per token.")
    """Formats of the linear layers."""

    moe: QuantSpec | None = binds(effect="Most of a mixture of experts' weights; dense models have none.")
    """Formats of the experts."""

    targets: dict[str, str] | None = binds(
        min_length=1,
        sample={"re:.*o_proj": "fp8_per_tensor"},
        excludes=(is_set("linear"), is_set("moe")),
        effect="Layers that no pattern names stay as they are: slower, and closer to the model.",
    )
    """Online quantization method by layer: exact names, patterns, or `re:` and a regular expression."""

    ignore: list[str] | None = binds(
        min_length=1,
        sample=["lm_head"],
        context={"linear": {"weight": "fp8_per_tensor_static"}},
        effect="Layers left out stay as they are: slower, and closer to the model.",
    )
    """Layers that are not quantized."""
