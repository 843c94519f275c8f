"""torchao: the weights become tensor subclasses, by a configuration object of the quantization itself."""

from typing import Annotated, Literal

from pydantic import Field

from llenergymeasure.config.bindings import Section, binds, equals
from llenergymeasure.config.pytorch.quantization.modules import Modules

_AO = "torchao.quantization"

Float8 = Literal["float8_e4m3fn", "float8_e5m2"]
IntX = Literal["int1", "int2", "int3", "int4", "int5", "int6", "int7", "int8"]
WeightMapping = Literal["symmetric", "symmetric_no_clipping_err", "asymmetric"]
ActivationMapping = Literal["symmetric", "asymmetric"]
IntxPacking = Literal[
    "unpacked_to_int8",
    "opaque_aten_kleidiai",
    "opaque_torchao_auto",
    "opaque_torchao_kleidiai",
    "opaque_torchao_lowbit",
]
IntxAlgorithm = Literal["affine", "hqq_scale_only"]

_INDUCTOR = "Compiled models only: recommended settings of the compiler."
_GROUPS = "Small groups lose less accuracy and store more scales."


class PerTensor(Section):
    """One scale for the whole tensor."""

    entry_point = f"{_AO}.PerTensor"

    kind: Literal["per_tensor"]


class PerRow(Section):
    """One scale per row."""

    entry_point = f"{_AO}.PerRow"

    kind: Literal["per_row"]


class PerGroup(Section):
    """One scale per group of a row."""

    entry_point = f"{_AO}.PerGroup"

    kind: Literal["per_group"]

    group_size: int = binds(default=..., ge=1, sample=64, effect=_GROUPS)
    """Weights that share a scale."""


class PerAxis(Section):
    """One scale per index of an axis."""

    entry_point = f"{_AO}.PerAxis"

    kind: Literal["per_axis"]

    axis: Literal[0] = binds(default=..., sample=0, effect="None: there is one choice.")
    """Axis that keeps its own scales; torchao takes 0 only."""


RowOrTensor = Annotated[PerRow | PerTensor, Field(discriminator="kind")]
RowTensorOrGroup = Annotated[PerRow | PerTensor | PerGroup, Field(discriminator="kind")]
AxisOrGroup = Annotated[PerAxis | PerGroup, Field(discriminator="kind")]


class Int4WeightOnly(Section):
    """4-bit weights in groups, 16-bit activations."""

    entry_point = f"{_AO}.Int4WeightOnlyConfig"

    name: Literal["int4_weight_only"]

    group_size: Literal[32, 64, 128, 256] | None = binds(sample=32, effect=_GROUPS)
    """Weights that share a scale."""

    int4_packing_format: Literal["plain", "preshuffled", "plain_int32", "tile_packed_to_4d"] | None = binds(
        sample="tile_packed_to_4d", effect="Decides the kernel, and the devices that have one."
    )
    """Layout of the packed weights."""

    int4_choose_qparams_algorithm: Literal["tinygemm", "hqq"] | None = binds(
        needs=equals("int4_packing_format", "tile_packed_to_4d"),
        sample="hqq",
        context={"int4_packing_format": "tile_packed_to_4d"},
        effect="hqq takes longer to load and loses less accuracy.",
    )
    """How scales and zeros are found."""

    int4_tile_packed_ntile: Literal[8, 16] | None = binds(
        needs=equals("int4_packing_format", "tile_packed_to_4d"),
        sample=16,
        context={"int4_packing_format": "tile_packed_to_4d"},
        effect="Decides the kernel's tile; which is faster depends on the device.",
    )
    """Columns of a tile in the tiled layout."""

    set_inductor_config: bool | None = binds(sample=False, effect=_INDUCTOR)
    """Whether the compiler gets torchao's recommended settings."""


class Int8WeightOnly(Section):
    """8-bit weights, 16-bit activations."""

    entry_point = f"{_AO}.Int8WeightOnlyConfig"

    name: Literal["int8_weight_only"]

    granularity: RowTensorOrGroup | None = binds(sample={"kind": "per_group", "group_size": 32}, effect=_GROUPS)
    """Which weights share a scale."""

    set_inductor_config: bool | None = binds(sample=False, effect=_INDUCTOR)
    """Whether the compiler gets torchao's recommended settings."""


class Int8DynamicActivationInt8Weight(Section):
    """8-bit weights, activations quantized to 8 bits in every step."""

    entry_point = f"{_AO}.Int8DynamicActivationInt8WeightConfig"

    name: Literal["int8_dynamic_activation_int8_weight"]

    granularity: RowOrTensor | None = binds(
        sample={"kind": "per_tensor"}, effect="One scale per tensor is the cheapest."
    )
    """Which values share a scale, in weights and activations."""

    act_mapping_type: ActivationMapping | None = binds(
        convert="mapping_type", sample="asymmetric", effect="Asymmetric activations need a correction per product."
    )
    """Whether the activations' grid is symmetric around zero."""

    reduce_range: bool | None = binds(effect="Avoids overflow on processors without 8-bit dot products, at some loss.")
    """Whether 7 bits of the range are used."""

    set_inductor_config: bool | None = binds(sample=False, effect=_INDUCTOR)
    """Whether the compiler gets torchao's recommended settings."""


class Int8DynamicActivationIntxWeight(Section):
    """Weights of 1 to 8 bits, activations quantized to 8 bits in every step; made for CPUs."""

    entry_point = f"{_AO}.Int8DynamicActivationIntxWeightConfig"

    name: Literal["int8_dynamic_activation_intx_weight"]

    weight_dtype: IntX | None = binds(
        convert="torch_dtype", sample="int4", effect="Fewer bits mean less memory traffic."
    )
    """Number format of the weights."""

    weight_granularity: AxisOrGroup | None = binds(sample={"kind": "per_group", "group_size": 64}, effect=_GROUPS)
    """Which weights share a scale."""

    weight_mapping_type: WeightMapping | None = binds(
        convert="mapping_type",
        sample="asymmetric",
        effect="Asymmetric grids store zero points and subtract them in every product.",
    )
    """Whether the weights' grid is symmetric around zero."""

    weight_scale_dtype: Literal["float32", "float16", "bfloat16"] | None = binds(
        convert="torch_dtype", sample="bfloat16", effect="Narrow scales need less memory, a small share of the whole."
    )
    """Number format of the weights' scales."""

    intx_packing_format: IntxPacking | None = binds(
        sample="opaque_torchao_auto", effect="Opaque layouts are packed for the processor's own kernels: much faster."
    )
    """Layout of the weights in memory."""

    intx_choose_qparams_algorithm: IntxAlgorithm | None = binds(
        sample="hqq_scale_only", effect="hqq_scale_only takes longer to load and loses less accuracy."
    )
    """How scales are found."""


class IntxWeightOnly(Section):
    """Weights of 1 to 8 bits, activations untouched."""

    entry_point = f"{_AO}.IntxWeightOnlyConfig"

    name: Literal["intx_weight_only"]

    weight_dtype: IntX | None = binds(
        convert="torch_dtype", sample="int4", effect="Fewer bits mean less memory traffic."
    )
    """Number format of the weights."""

    granularity: AxisOrGroup | None = binds(sample={"kind": "per_group", "group_size": 32}, effect=_GROUPS)
    """Which weights share a scale."""

    mapping_type: WeightMapping | None = binds(
        convert="mapping_type",
        sample="asymmetric",
        effect="Asymmetric grids store zero points and subtract them in every product.",
    )
    """Whether the grid is symmetric around zero."""

    scale_dtype: Literal["float32", "float16", "bfloat16"] | None = binds(
        convert="torch_dtype", sample="bfloat16", effect="Narrow scales need less memory, a small share of the whole."
    )
    """Number format of the scales."""

    intx_packing_format: IntxPacking | None = binds(
        sample="opaque_torchao_auto", effect="Decides the kernel, and the processors that have one."
    )
    """Layout of the weights in memory."""

    intx_choose_qparams_algorithm: IntxAlgorithm | None = binds(
        sample="hqq_scale_only", effect="hqq_scale_only takes longer to load and loses less accuracy."
    )
    """How scales are found."""


class Float8WeightOnly(Section):
    """float8 weights, products in the activations' format."""

    entry_point = f"{_AO}.Float8WeightOnlyConfig"

    name: Literal["float8_weight_only"]

    weight_dtype: Float8 | None = binds(
        convert="torch_dtype", sample="float8_e5m2", effect="None on cost: e4m3 has finer steps, e5m2 a wider range."
    )
    """Number format of the weights."""

    granularity: RowTensorOrGroup | None = binds(sample={"kind": "per_tensor"}, effect=_GROUPS)
    """Which weights share a scale."""

    set_inductor_config: bool | None = binds(sample=False, effect=_INDUCTOR)
    """Whether the compiler gets torchao's recommended settings."""


class Float8MatmulConfig(Section):
    """How float8 products are computed."""

    entry_point = "torchao.float8.inference.Float8MMConfig"

    emulate: bool | None = binds(effect="Products are computed in float32: slow.")
    """Whether products are only imitated, in float32."""

    use_fast_accum: bool | None = binds(sample=True, effect="Faster products, less exact sums.")
    """Whether sums are kept in fewer bits."""

    pad_inner_dim: bool | None = binds(effect="Odd sizes can run at all, at the cost of the padding.")
    """Whether sizes are padded to a multiple of 16."""


class Float8DynamicActivationFloat8Weight(Section):
    """float8 weights, activations quantized to float8 in every step."""

    entry_point = f"{_AO}.Float8DynamicActivationFloat8WeightConfig"

    name: Literal["float8_dynamic_activation_float8_weight"]

    activation_dtype: Float8 | None = binds(
        convert="torch_dtype", sample="float8_e5m2", effect="None on cost: e4m3 has finer steps, e5m2 a wider range."
    )
    """Number format of the activations."""

    weight_dtype: Float8 | None = binds(
        convert="torch_dtype", sample="float8_e5m2", effect="None on cost: e4m3 has finer steps, e5m2 a wider range."
    )
    """Number format of the weights."""

    granularity: RowOrTensor | None = binds(sample={"kind": "per_row"}, effect="One scale per tensor is the cheapest.")
    """Which values share a scale, in weights and activations."""

    packing_format: Literal["plain", "sparse_2d_data_2d_metadata", "sparse_1d_data_1d_metadata"] | None = binds(
        sample="sparse_2d_data_2d_metadata", effect="Sparse layouts skip half of the products, for 2:4 sparse weights."
    )
    """Layout of the weights in memory."""

    mm_config: Float8MatmulConfig | None = binds(sample={"use_fast_accum": False})
    """How products are computed."""

    activation_value_lb: float | None = binds(ge=0, sample=1e-6, effect="None on cost: it bounds the scale.")
    """Lower bound of the activations' largest value."""

    activation_value_ub: float | None = binds(gt=0, sample=1200.0, effect="None on cost: it bounds the scale.")
    """Upper bound of the activations' largest value."""

    kernel_preference: Literal["auto", "torch", "mslk", "emulated", "triton"] | None = binds(
        sample="torch", effect="Decides the kernel of every product."
    )
    """Kernel of the matrix products."""

    set_inductor_config: bool | None = binds(sample=False, effect=_INDUCTOR)
    """Whether the compiler gets torchao's recommended settings."""


class Float8DynamicActivationInt4Weight(Section):
    """4-bit weights, activations quantized to float8 in every step."""

    entry_point = f"{_AO}.Float8DynamicActivationInt4WeightConfig"

    name: Literal["float8_dynamic_activation_int4_weight"]

    int4_packing_format: Literal["preshuffled", "plain"] | None = binds(
        sample="plain", effect="Decides the kernel, and the devices that have one."
    )
    """Layout of the packed weights."""


QuantType = Annotated[
    Int4WeightOnly
    | Int8WeightOnly
    | Int8DynamicActivationInt8Weight
    | Int8DynamicActivationIntxWeight
    | IntxWeightOnly
    | Float8WeightOnly
    | Float8DynamicActivationFloat8Weight
    | Float8DynamicActivationInt4Weight,
    Field(discriminator="name"),
]

_ANY = {"quant_type": {"name": "int8_weight_only"}}


class TorchAO(Section):
    """Quantization by torchao, at the kind and options of `quant_type`."""

    entry_point = "transformers.TorchAoConfig"

    method: Literal["torchao"]

    quant_type: QuantType = binds(
        default=...,
        sample={"name": "int8_weight_only"},
        effect="Weight-only kinds cut memory traffic; kinds with activations cut the time of large batches as well.",
    )
    """Kind of the quantization, with its options."""

    modules_to_not_convert: Modules = binds(
        sample=["model.layers.0.self_attn.q_proj", "lm_head"],
        context=_ANY,
        effect="Each module that is kept keeps its memory traffic.",
    )
    """Modules that keep their number format, by full name or pattern; version 5 does not match a bare last part."""

    include_input_output_embeddings: bool | None = binds(
        context=_ANY, effect="Embeddings and output layer shrink as well, much of a small model."
    )
    """Whether the embeddings and the output layer are quantized as well."""

    untie_embedding_weights: bool | None = binds(
        context={**_ANY, "include_input_output_embeddings": True},
        needs=equals("include_input_output_embeddings", value=True),
        effect="Embeddings and output layer no longer share memory.",
    )
    """Whether shared embeddings are separated before they are quantized."""
