"""Methods that quantize an ordinary checkpoint while loading, without data, to integers or a fitted grid."""

from typing import Any, Literal

from llenergymeasure.config.bindings import Section, binds, is_set
from llenergymeasure.config.pytorch.quantization.modules import Modules

_KEPT = "Each module that is kept keeps its memory traffic."


class HQQ(Section):
    """Half-quadratic quantization: the scales and zeros of each group are fitted to its weights."""

    entry_point = "transformers.HqqConfig"

    method: Literal["hqq"]

    nbits: Literal[1, 2, 3, 4, 8] | None = binds(
        sample=8, effect="Fewer bits mean less memory traffic, and more work to unpack."
    )
    """Bits per weight."""

    group_size: int | None = binds(ge=1, sample=32, effect="Small groups lose less accuracy and store more scales.")
    """Weights that share a scale and a zero."""

    view_as_float: bool | None = binds(effect="One more view per dequantization.")
    """Whether the packed weights are stored as a float type, for sharding."""

    axis: Literal[0, 1] | None = binds(
        sample=0, effect="Fast kernels exist for axis 1 only; axis 0 loses less accuracy."
    )
    """Axis along which weights are grouped."""

    dynamic_config: dict[str, dict[str, Any]] | None = binds(
        excludes=(is_set("nbits"), is_set("group_size"), is_set("axis"), is_set("view_as_float")),
        sample={
            **{f"self_attn.{name}_proj": {"nbits": 8, "group_size": 32} for name in "qkvo"},
            **{f"mlp.{name}_proj": {"nbits": 4, "group_size": 32} for name in ("gate", "up", "down")},
        },
        effect="Lets the layers that lose most keep more bits.",
    )
    """Options per layer in place of the common ones, by the last two parts of its name; every layer needs an entry."""

    skip_modules: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""


class Quanto(Section):
    """optimum-quanto: weights in 2 to 8 bits, integer or float8."""

    entry_point = "transformers.QuantoConfig"

    method: Literal["quanto"]

    weights: Literal["float8", "int8", "int4", "int2"] | None = binds(
        sample="int4", effect="Fewer bits mean less memory traffic, and more work to unpack."
    )
    """Number format of the weights."""

    modules_to_not_convert: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""


class EETQ(Section):
    """8-bit weights with CUDA kernels that dequantize inside the matrix product."""

    entry_point = "transformers.EetqConfig"

    method: Literal["eetq"]

    modules_to_not_convert: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""


class HIGGS(Section):
    """Weights rotated by a Hadamard transform and rounded to an optimal grid."""

    entry_point = "transformers.HiggsConfig"

    method: Literal["higgs"]

    bits: Literal[2, 3, 4] | None = binds(sample=3, effect="Fewer bits mean less memory traffic.")
    """Bits per weight."""

    p: Literal[1, 2] | None = binds(sample=1, effect="Two dimensions lose less accuracy at equal size.")
    """Dimensions of the grid."""

    modules_to_not_convert: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""

    hadamard_size: int | None = binds(
        ge=64, sample=1024, effect="Each product first transforms its input in blocks of this size."
    )
    """Width of the transform; inputs are padded to a multiple of it, and it is a multiple of group_size."""

    group_size: Literal[64, 128, 256] | None = binds(sample=128, effect="Small groups store more scales.")
    """Weights that share a scale."""


class SINQ(Section):
    """Weights with one scale per row and one per column, fitted by Sinkhorn iterations."""

    entry_point = "transformers.SinqConfig"

    method: Literal["sinq"]

    nbits: int | None = binds(ge=1, le=8, sample=8, effect="Fewer bits mean less memory traffic.")
    """Bits per weight."""

    group_size: int | None = binds(ge=8, multiple_of=8, sample=32, effect="Small groups store more scales.")
    """Weights that share a scale."""

    tiling_mode: Literal["1D", "2D"] | None = binds(sample="2D", effect="Decides how many scales a product applies.")
    """Shape of the tiles that share scales."""

    modules_to_not_convert: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""
