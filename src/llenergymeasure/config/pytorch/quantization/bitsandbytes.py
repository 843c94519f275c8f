"""bitsandbytes: 8-bit weights with outliers in 16 bits, and 4-bit weights, over one entry point."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from llenergymeasure.config.bindings import Section, binds
from llenergymeasure.config.pytorch.quantization.modules import Modules

BITSANDBYTES = "transformers.BitsAndBytesConfig"


class Bitsandbytes8Bit(Section):
    """8-bit weights; the activations' outliers are computed in 16 bits."""

    entry_point = BITSANDBYTES
    always: ClassVar[Mapping[str, Any]] = {"load_in_8bit": True}

    method: Literal["bitsandbytes_8bit"]

    llm_int8_threshold: float | None = binds(
        ge=0,
        sample=4.5,
        effect="A lower threshold sends more columns through the slower 16-bit path; 0 sends none.",
    )
    """Size of an activation from which its column is computed in 16 bits."""

    llm_int8_skip_modules: Modules = binds(
        sample=["q_proj", "lm_head"], effect="Each skipped module keeps its memory traffic."
    )
    """Modules that keep their number format."""

    llm_int8_enable_fp32_cpu_offload: bool | None = binds(
        effect="Modules on the CPU run unquantized there: latency and energy per token rise."
    )
    """Whether modules that `device_map` places on the CPU stay there, unquantized."""

    llm_int8_has_fp16_weight: bool | None = binds(
        effect="Weights stay in 16 bits and are quantized in every step: more memory and more time."
    )
    """Whether 16-bit weights are kept and quantized on the fly."""


class Bitsandbytes4Bit(Section):
    """4-bit weights in blocks, each with a scale."""

    entry_point = BITSANDBYTES
    always: ClassVar[Mapping[str, Any]] = {"load_in_4bit": True}

    method: Literal["bitsandbytes_4bit"]

    bnb_4bit_compute_dtype: Literal["float32", "float16", "bfloat16"] | None = binds(
        convert="torch_dtype",
        sample="bfloat16",
        effect="16-bit formats halve the time of the matrix products against float32.",
    )
    """Number format of the matrix products."""

    bnb_4bit_quant_type: Literal["fp4", "nf4"] | None = binds(
        sample="nf4", effect="Cost is about equal; nf4 loses less accuracy."
    )
    """Grid of the 4-bit values."""

    bnb_4bit_use_double_quant: bool | None = binds(
        effect="Saves about 0.4 bits per weight and adds one more step of dequantization."
    )
    """Whether the blocks' scales are quantized as well."""

    bnb_4bit_quant_storage: Literal["uint8", "int8", "float16", "float32", "float64", "bfloat16"] | None = binds(
        convert="torch_dtype", sample="bfloat16", effect="None on one device; it decides how weights can be sharded."
    )
    """Number format that the packed weights pretend to have."""

    llm_int8_skip_modules: Modules = binds(
        sample=["q_proj", "lm_head"], effect="Each skipped module keeps its memory traffic."
    )
    """Modules that keep their number format."""

    llm_int8_enable_fp32_cpu_offload: bool | None = binds(
        effect="Modules on the CPU run unquantized there: latency and energy per token rise."
    )
    """Whether modules that `device_map` places on the CPU stay there, unquantized."""
