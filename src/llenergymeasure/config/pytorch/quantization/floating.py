"""Methods that quantize to 8-bit and 4-bit floating-point formats, made for recent CUDA devices."""

from typing import Any, Literal

from llenergymeasure.config.bindings import Section, binds, equals
from llenergymeasure.config.pytorch.quantization.modules import Modules

_KEPT = "Each module that is kept keeps its memory traffic."

ScaleRule = Literal["mse", "mae", "abs_max", "static_6", "static_4"]
BlockFormat = Literal["nvfp4", "mxfp4"]


class FineGrainedFP8(Section):
    """float8 weights with one scale per block, activations quantized in every step."""

    entry_point = "transformers.FineGrainedFP8Config"

    method: Literal["fp8"]

    activation_scheme: Literal["dynamic", "static"] | None = binds(
        sample="static", effect="Static scales save a pass over the activations; they must come with the checkpoint."
    )
    """Whether the activations' scales are computed in every step or read from the checkpoint."""

    weight_block_size: tuple[int, int] | None = binds(
        sample=(64, 64), effect="Small blocks lose less accuracy; fast kernels exist for 128 x 128."
    )
    """Rows and columns that share a scale."""

    dequantize: bool | None = binds(effect="The model runs in 16 bits: twice the memory traffic of the weights.")
    """Whether a float8 checkpoint is turned into 16 bits while loading."""

    modules_to_not_convert: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""

    scale_fmt: Literal["float", "ue8m0"] | None = binds(
        sample="ue8m0", effect="8-bit scales suit the block-scaled units of Blackwell devices."
    )
    """Number format of the scales."""

    expert_dtype: Literal["fp8", "fp4"] | None = binds(
        sample="fp4", effect="4 bits halve the memory traffic of a mixture's experts; a dense model has none."
    )
    """Number format of the experts' weights."""


class FbgemmFP8(Section):
    """float8 weights and activations with one scale per row."""

    entry_point = "transformers.FbgemmFp8Config"

    method: Literal["fbgemm_fp8"]

    activation_scale_ub: float | None = binds(gt=0, sample=800.0, effect="None on cost: larger activations are cut.")
    """Upper bound of the activations' scales."""

    modules_to_not_convert: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""


class Mxfp4(Section):
    """4-bit floats in blocks of 32, for mixture-of-experts models that bring them."""

    entry_point = "transformers.Mxfp4Config"

    method: Literal["mxfp4"]

    modules_to_not_convert: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""

    dequantize: bool | None = binds(
        effect="The model runs in 16 bits: about four times the memory traffic of the experts."
    )
    """Whether a 4-bit checkpoint is turned into 16 bits while loading."""


class NVFP4(Section):
    """4-bit floats in blocks of 16 with two levels of scales, for Blackwell devices."""

    entry_point = "transformers.NVFP4Config"

    method: Literal["nvfp4"]

    modules_to_not_convert: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""


class FPQuant(Section):
    """4-bit floats after a rotation, for weights and activations."""

    entry_point = "transformers.FPQuantConfig"

    method: Literal["fp_quant"]

    forward_dtype: BlockFormat | None = binds(
        sample="mxfp4", effect="Decides which units of the device do the products."
    )
    """Number format of weights and activations."""

    forward_method: Literal["abs_max", "quest"] | None = binds(
        needs=equals("forward_dtype", "mxfp4"),
        sample="quest",
        context={"forward_dtype": "mxfp4"},
        effect="quest searches the scale in every step.",
    )
    """How a block's scale is found."""

    store_master_weights: bool | None = binds(
        effect="The unquantized weights are kept and quantized in every step: more memory and time."
    )
    """Whether the unquantized weights stay in memory."""

    hadamard_group_size: Literal[16, 32, 64, 128] | None = binds(
        sample=64, effect="Larger groups cost more per product and lose less accuracy."
    )
    """Width of the rotation."""

    pseudoquantization: bool | None = binds(effect="Rounds the values and computes in 16 bits: no gain in speed.")
    """Whether the quantization is only imitated, for devices without the format."""

    transform_init: Literal["hadamard", "identity", "gsr"] | None = binds(
        sample="identity", effect="identity rotates nothing and saves its time."
    )
    """Matrix of the rotation."""

    modules_to_not_convert: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""


class FourOverSix(Section):
    """4-bit floats whose blocks pick the better of two largest values."""

    entry_point = "transformers.FourOverSixConfig"

    method: Literal["four_over_six"]

    dtype: BlockFormat | None = binds(sample="mxfp4", effect="Decides which units of the device do the products.")
    """Number format of weights and activations."""

    weight_dtype: BlockFormat | None = binds(sample="mxfp4", effect="As dtype, for the weights alone.")
    """Number format of the weights, where it differs."""

    activation_dtype: BlockFormat | None = binds(sample="mxfp4", effect="As dtype, for the activations alone.")
    """Number format of the activations, where it differs."""

    scale_rule: ScaleRule | None = binds(
        sample="mae", effect="Rules that compare two scales quantize every block twice."
    )
    """How a block's scale is chosen."""

    weight_scale_rule: ScaleRule | None = binds(
        sample="mae", effect="Load time only, unless the unquantized weights are kept."
    )
    """How a weight block's scale is chosen, where it differs."""

    activation_scale_rule: ScaleRule | None = binds(
        sample="static_6", effect="Applied in every step: static rules are the cheapest."
    )
    """How an activation block's scale is chosen, where it differs."""

    weight_scale_2d: bool | None = binds(effect="Fewer scales to read, at some loss of accuracy.")
    """Whether weights share scales in two dimensions."""

    keep_master_weights: bool | None = binds(
        effect="The unquantized weights are kept and quantized in every step: more memory and time."
    )
    """Whether the unquantized weights stay in memory."""

    matmul_backend: Literal["cutlass", "pytorch"] | None = binds(
        sample="pytorch", effect="pytorch imitates the product in a wider format: slow."
    )
    """Kernel of the matrix products."""

    quantize_backend: Literal["cuda", "triton", "pytorch"] | None = binds(
        sample="pytorch", effect="Quantizes the activations of every step: cuda is the fastest."
    )
    """Kernel that quantizes."""

    output_dtype: Literal["bfloat16", "float16"] | None = binds(
        sample="float16", effect="None on cost: both formats have 16 bits."
    )
    """Number format of the products' results."""

    module_config_overrides: dict[str, dict[str, Any]] | None = binds(
        sample={"q_proj": {"scale_rule": "static_6"}}, effect="That of the options it names, for the modules it names."
    )
    """Options per module name, in place of the common ones."""

    modules_to_not_convert: Modules = binds(sample=["q_proj", "lm_head"], effect=_KEPT)
    """Modules that keep their number format."""
