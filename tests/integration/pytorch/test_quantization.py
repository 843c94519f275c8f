"""Quantization on the real API: the modules are the quantized classes, and each option is in their weights."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.audit.tiny import make_tiny_llama
from llenergymeasure.core.api import RealApi
from llenergymeasure.core.batching import Prompt
from llenergymeasure.core.inference_backends.pytorch_loaded import truly_missing
from llenergymeasure.errors import LlemError

HIDDEN = 64
Load = Callable[..., Any]
MOVED = "torchao 0.18.0 converts the scales to the tensor's own dtype when the weight is moved to another device"


def requires(module: str, method: str) -> pytest.MarkDecorator:
    found = find_spec(module.split(".", maxsplit=1)[0]) is not None and find_spec(module) is not None
    return pytest.mark.skipif(not found, reason=f"needs {module}, which is not installed: {method}")


def query(backend: Any) -> Any:
    """The projection whose weights the tests look at."""
    return backend.model.model.layers[0].self_attn.q_proj


def generate(backend: Any) -> tuple[int, ...]:
    """Tokens of one real call, so that the quantized kernels run."""
    ids = tuple(backend.encode(["The energy of a token"], chat=False)[0])
    (group,) = backend.count(backend.generate(backend.prepare([Prompt(0, ids)])[0])).sequences
    return group[0]


bitsandbytes = requires("bitsandbytes", "bitsandbytes")


@bitsandbytes
class TestBitsandbytes4Bit:
    def load(self, load: Load, **options: Any) -> Any:
        return load({"quantization": {"method": "bitsandbytes_4bit", **options}})

    @pytest.mark.field("quantization", "observed")
    def test_the_linear_layers_are_quantized(self, load: Load) -> None:
        backend = self.load(load)
        assert type(query(backend)).__name__ == "Linear4bit"
        assert query(backend).weight.numel() == HIDDEN * HIDDEN // 2  # two weights a byte
        assert type(backend.model.lm_head).__name__ == "Linear"
        assert len(generate(backend)) >= 1

    @pytest.mark.field("quantization[bitsandbytes_4bit].bnb_4bit_quant_type", "observed")
    @pytest.mark.parametrize("grid", ["fp4", "nf4"])
    def test_grid_of_the_values(self, load: Load, grid: str) -> None:
        assert query(self.load(load, bnb_4bit_quant_type=grid)).weight.quant_state.quant_type == grid

    @pytest.mark.field("quantization[bitsandbytes_4bit].bnb_4bit_compute_dtype", "effective")
    def test_format_of_the_products(self, load: Load) -> None:
        import torch

        assert query(self.load(load, bnb_4bit_compute_dtype="bfloat16")).compute_dtype == torch.bfloat16
        assert query(self.load(load)).compute_dtype != torch.bfloat16

    @pytest.mark.field("quantization[bitsandbytes_4bit].bnb_4bit_use_double_quant", "observed")
    @pytest.mark.parametrize("nested", [True, False])
    def test_scales_are_quantized_as_well(self, load: Load, nested: bool) -> None:
        assert query(self.load(load, bnb_4bit_use_double_quant=nested)).weight.quant_state.nested is nested

    @pytest.mark.field("quantization[bitsandbytes_4bit].bnb_4bit_quant_storage", "observed")
    def test_format_of_the_storage(self, load: Load) -> None:
        import torch

        weight = query(self.load(load, bnb_4bit_quant_storage="bfloat16")).weight
        assert weight.dtype == torch.bfloat16
        assert weight.numel() == HIDDEN * HIDDEN // 4  # four weights in 16 bits

    @pytest.mark.field("quantization[bitsandbytes_4bit].llm_int8_skip_modules", "observed")
    def test_skipped_modules_stay_as_they_are(self, load: Load) -> None:
        backend = self.load(load, llm_int8_skip_modules=["q_proj"])
        assert type(query(backend)).__name__ == "Linear"
        assert type(backend.model.model.layers[0].self_attn.k_proj).__name__ == "Linear4bit"

    @pytest.mark.field("quantization[bitsandbytes_4bit].llm_int8_enable_fp32_cpu_offload", "observed")
    def test_offload_is_refused_without_and_unquantized_with(self, load: Load, tmp_path: Path) -> None:
        check_offload(load, tmp_path, "bitsandbytes_4bit")


@bitsandbytes
class TestBitsandbytes8Bit:
    def load(self, load: Load, **options: Any) -> Any:
        return load({"quantization": {"method": "bitsandbytes_8bit", **options}})

    @pytest.mark.field("quantization", "observed")
    def test_the_linear_layers_are_quantized(self, load: Load) -> None:
        import torch

        backend = self.load(load)
        assert type(query(backend)).__name__ == "Linear8bitLt"
        assert query(backend).weight.dtype == torch.int8
        assert len(generate(backend)) >= 1

    @pytest.mark.field("quantization[bitsandbytes_8bit].llm_int8_threshold", "effective")
    def test_threshold_of_outliers(self, load: Load) -> None:
        assert query(self.load(load, llm_int8_threshold=4.5)).state.threshold == 4.5

    @pytest.mark.field("quantization[bitsandbytes_8bit].llm_int8_skip_modules", "observed")
    def test_skipped_modules_stay_as_they_are(self, load: Load) -> None:
        backend = self.load(load, llm_int8_skip_modules=["q_proj"])
        assert type(query(backend)).__name__ == "Linear"
        assert type(backend.model.model.layers[0].self_attn.k_proj).__name__ == "Linear8bitLt"

    @pytest.mark.field("quantization[bitsandbytes_8bit].llm_int8_has_fp16_weight", "observed")
    def test_wide_weights_are_kept(self, load: Load) -> None:
        import torch

        kept = query(self.load(load, llm_int8_has_fp16_weight=True))
        assert kept.state.has_fp16_weights is True
        assert kept.weight.dtype != torch.int8

    @pytest.mark.field("quantization[bitsandbytes_8bit].llm_int8_enable_fp32_cpu_offload", "observed")
    def test_offload_is_refused_without_and_unquantized_with(self, load: Load, tmp_path: Path) -> None:
        check_offload(load, tmp_path, "bitsandbytes_8bit")


def check_offload(load: Load, folder: Path, method: str) -> None:
    """On a CPU every module that may be offloaded stays unquantized, which the tool refuses to call quantized."""
    places = {
        "model.embed_tokens": "cpu",
        "model.rotary_emb": "cpu",
        "model.layers.0": "cpu",
        "model.layers.1": "disk",
        "model.norm": "cpu",
        "lm_head": "cpu",
    }
    section = {"device_map": places, "offload_folder": str(folder)}
    with pytest.raises(ValueError, match="llm_int8_enable_fp32_cpu_offload"):
        load({**section, "quantization": {"method": method}})
    with pytest.raises(LlemError, match="without one quantized layer"):
        load({**section, "quantization": {"method": method, "llm_int8_enable_fp32_cpu_offload": True}})


@requires("torchao.quantization", "torchao")
class TestTorchAO:
    def load(self, load: Load, kind: dict[str, Any], **options: Any) -> Any:
        return load({"quantization": {"method": "torchao", "quant_type": kind, **options}})

    def weight(self, load: Load, name: str, **options: Any) -> Any:
        """The quantized weight after a real call."""
        backend = self.load(load, {"name": name, **options})
        generate(backend)
        return query(backend).weight

    @pytest.mark.field("quantization[torchao].quant_type", "observed")
    @pytest.mark.parametrize(
        ("name", "tensor"),
        [
            ("int8_weight_only", "Int8Tensor"),
            ("int8_dynamic_activation_int8_weight", "Int8Tensor"),
            ("intx_weight_only", "IntxUnpackedToInt8Tensor"),
            ("int8_dynamic_activation_intx_weight", "IntxUnpackedToInt8Tensor"),
            ("float8_weight_only", "Float8Tensor"),
        ],
    )
    def test_weights_are_the_kind(self, load: Load, name: str, tensor: str) -> None:
        assert type(self.weight(load, name)).__name__ == tensor

    @pytest.mark.field("quantization[torchao].quant_type[int8_weight_only].granularity", "observed")
    @pytest.mark.field(
        "quantization[torchao].quant_type[int8_weight_only].granularity[per_group].group_size", "observed"
    )
    @pytest.mark.parametrize(
        ("granularity", "scales"),
        [
            ({"kind": "per_group", "group_size": 16}, (HIDDEN, HIDDEN // 16)),
            ({"kind": "per_row"}, (HIDDEN, 1)),
            ({"kind": "per_tensor"}, (1, 1)),
        ],
    )
    def test_scales_of_8_bit_weights(self, load: Load, granularity: Any, scales: tuple[int, int]) -> None:
        assert tuple(self.weight(load, "int8_weight_only", granularity=granularity).scale.shape) == scales

    @pytest.mark.field("quantization[torchao].quant_type[int8_dynamic_activation_int8_weight].granularity", "observed")
    def test_scales_of_8_bit_products(self, load: Load) -> None:
        weight = self.weight(load, "int8_dynamic_activation_int8_weight", granularity={"kind": "per_tensor"})
        assert weight.scale.numel() == 1
        assert type(weight.act_quant_kwargs.granularity).__name__ == "PerTensor"

    @pytest.mark.field(
        "quantization[torchao].quant_type[int8_dynamic_activation_int8_weight].act_mapping_type", "effective"
    )
    def test_grid_of_8_bit_activations(self, load: Load) -> None:
        weight = self.weight(load, "int8_dynamic_activation_int8_weight", act_mapping_type="asymmetric")
        assert weight.act_quant_kwargs.mapping_type.name == "ASYMMETRIC"

    @pytest.mark.field("quantization[torchao].quant_type[int8_dynamic_activation_int8_weight].reduce_range", "observed")
    @pytest.mark.parametrize(("reduced", "largest"), [(True, 63), (False, 127)])
    def test_range_of_8_bit_weights(self, load: Load, reduced: bool, largest: int) -> None:
        weight = self.weight(load, "int8_dynamic_activation_int8_weight", reduce_range=reduced)
        assert abs(weight.qdata).max().item() in (largest, largest + 1)

    @pytest.mark.field("quantization[torchao].quant_type[intx_weight_only].weight_dtype", "observed")
    def test_bits_of_narrow_weights(self, load: Load) -> None:
        import torch

        weight = self.weight(load, "intx_weight_only", weight_dtype="int3")
        assert weight.target_dtype == torch.int3
        assert len(weight.qdata.unique()) <= 2**3

    @pytest.mark.field("quantization[torchao].quant_type[intx_weight_only].granularity", "observed")
    @pytest.mark.field("quantization[torchao].quant_type[intx_weight_only].granularity[per_axis].axis", "observed")
    @pytest.mark.field(
        "quantization[torchao].quant_type[intx_weight_only].granularity[per_group].group_size", "observed"
    )
    @pytest.mark.parametrize(
        ("granularity", "scales"), [({"kind": "per_group", "group_size": 32}, 2), ({"kind": "per_axis", "axis": 0}, 1)]
    )
    def test_scales_of_narrow_weights(self, load: Load, granularity: Any, scales: int) -> None:
        weight = self.weight(load, "intx_weight_only", granularity=granularity)
        assert tuple(weight.scale.shape) == (HIDDEN, scales)

    @pytest.mark.xfail_upstream(MOVED, on="cuda")
    @pytest.mark.field("quantization[torchao].quant_type[intx_weight_only].scale_dtype", "observed")
    def test_format_of_narrow_weights_scales(self, load: Load) -> None:
        import torch

        assert self.weight(load, "intx_weight_only", scale_dtype="bfloat16").scale.dtype == torch.bfloat16

    @pytest.mark.field("quantization[torchao].quant_type[intx_weight_only].mapping_type", "observed")
    @pytest.mark.parametrize(("mapping", "has_zeros"), [("asymmetric", True), ("symmetric", False)])
    def test_grid_of_narrow_weights(self, load: Load, mapping: str, has_zeros: bool) -> None:
        weight = self.weight(load, "intx_weight_only", mapping_type=mapping)
        assert bool(weight.zero_point.any()) is has_zeros

    @pytest.mark.field("quantization[torchao].quant_type[intx_weight_only].intx_choose_qparams_algorithm", "observed")
    def test_search_of_narrow_weights_scales(self, load: Load) -> None:
        usual = self.weight(load, "intx_weight_only", weight_dtype="int4")
        searched = self.weight(
            load, "intx_weight_only", weight_dtype="int4", intx_choose_qparams_algorithm="hqq_scale_only"
        )
        assert not usual.scale.equal(searched.scale)

    @pytest.mark.field("quantization[torchao].quant_type[int8_dynamic_activation_intx_weight].weight_dtype", "observed")
    @pytest.mark.field(
        "quantization[torchao].quant_type[int8_dynamic_activation_intx_weight].weight_granularity", "observed"
    )
    @pytest.mark.field(
        "quantization[torchao].quant_type[int8_dynamic_activation_intx_weight].weight_granularity[per_group].group_size",
        "observed",
    )
    def test_narrow_weights_with_8_bit_activations(self, load: Load) -> None:
        import torch

        granularity = {"kind": "per_group", "group_size": 16}
        weight = self.weight(
            load, "int8_dynamic_activation_intx_weight", weight_dtype="int4", weight_granularity=granularity
        )
        assert weight.target_dtype == torch.int4
        assert tuple(weight.scale.shape) == (HIDDEN, HIDDEN // 16)

    @pytest.mark.xfail_upstream(MOVED, on="cuda")
    @pytest.mark.field(
        "quantization[torchao].quant_type[int8_dynamic_activation_intx_weight].weight_scale_dtype", "observed"
    )
    def test_format_of_the_scales_beside_8_bit_activations(self, load: Load) -> None:
        import torch

        weight = self.weight(load, "int8_dynamic_activation_intx_weight", weight_scale_dtype="bfloat16")
        assert weight.scale.dtype == torch.bfloat16

    @pytest.mark.field(
        "quantization[torchao].quant_type[int8_dynamic_activation_intx_weight].weight_granularity[per_axis].axis",
        "observed",
    )
    def test_one_scale_per_row_of_narrow_weights(self, load: Load) -> None:
        granularity = {"kind": "per_axis", "axis": 0}
        weight = self.weight(load, "int8_dynamic_activation_intx_weight", weight_granularity=granularity)
        assert tuple(weight.scale.shape) == (HIDDEN, 1)

    @pytest.mark.field(
        "quantization[torchao].quant_type[int8_dynamic_activation_intx_weight].weight_mapping_type", "observed"
    )
    @pytest.mark.parametrize(("mapping", "has_zeros"), [("asymmetric", True), ("symmetric", False)])
    def test_grid_of_narrow_weights_with_8_bit_activations(self, load: Load, mapping: str, has_zeros: bool) -> None:
        weight = self.weight(load, "int8_dynamic_activation_intx_weight", weight_mapping_type=mapping)
        assert bool(weight.zero_point.any()) is has_zeros

    @pytest.mark.field(
        "quantization[torchao].quant_type[int8_dynamic_activation_intx_weight].intx_choose_qparams_algorithm",
        "observed",
    )
    def test_search_of_scales_beside_8_bit_activations(self, load: Load) -> None:
        kind = {"weight_dtype": "int4"}
        usual = self.weight(load, "int8_dynamic_activation_intx_weight", **kind)
        kind["intx_choose_qparams_algorithm"] = "hqq_scale_only"
        assert not usual.scale.equal(self.weight(load, "int8_dynamic_activation_intx_weight", **kind).scale)

    @pytest.mark.field("quantization[torchao].quant_type[float8_weight_only].weight_dtype", "observed")
    def test_format_of_float8_weights(self, load: Load) -> None:
        import torch

        assert self.weight(load, "float8_weight_only", weight_dtype="float8_e5m2").qdata.dtype == torch.float8_e5m2

    @pytest.mark.field("quantization[torchao].quant_type[float8_weight_only].granularity", "observed")
    @pytest.mark.field(
        "quantization[torchao].quant_type[float8_weight_only].granularity[per_group].group_size", "observed"
    )
    @pytest.mark.parametrize(
        ("granularity", "scales"), [({"kind": "per_tensor"}, 1), ({"kind": "per_group", "group_size": 32}, HIDDEN * 2)]
    )
    def test_scales_of_float8_weights(self, load: Load, granularity: Any, scales: int) -> None:
        assert self.weight(load, "float8_weight_only", granularity=granularity).scale.numel() == scales

    @pytest.mark.field("quantization[torchao].quant_type[int8_weight_only].set_inductor_config", "observed")
    @pytest.mark.field(
        "quantization[torchao].quant_type[int8_dynamic_activation_int8_weight].set_inductor_config", "observed"
    )
    @pytest.mark.field("quantization[torchao].quant_type[float8_weight_only].set_inductor_config", "observed")
    @pytest.mark.parametrize("name", ["int8_weight_only", "int8_dynamic_activation_int8_weight", "float8_weight_only"])
    @pytest.mark.parametrize("wanted", [True, False])
    def test_settings_of_the_compiler(self, load: Load, untouched_compiler: Any, name: str, wanted: bool) -> None:
        self.load(load, {"name": name, "set_inductor_config": wanted})
        assert untouched_compiler.coordinate_descent_tuning is wanted

    @pytest.mark.field("quantization[torchao].modules_to_not_convert", "observed")
    def test_kept_modules_stay_as_they_are(self, load: Load) -> None:
        kept = ["model.layers.0.self_attn.q_proj"]
        backend = self.load(load, {"name": "int8_weight_only"}, modules_to_not_convert=kept)
        assert type(query(backend).weight).__name__ == "Parameter"
        assert type(backend.model.model.layers[0].self_attn.k_proj.weight).__name__ == "Int8Tensor"

    @pytest.mark.field("quantization[torchao].include_input_output_embeddings", "observed")
    @pytest.mark.parametrize("included", [True, False])
    def test_output_layer_is_quantized_as_well(self, load: Load, included: bool) -> None:
        backend = self.load(load, {"name": "int8_weight_only"}, include_input_output_embeddings=included)
        assert (type(backend.model.lm_head.weight).__name__ == "Int8Tensor") is included

    @pytest.mark.field("quantization[torchao].untie_embedding_weights", "effective")
    def test_shared_embeddings_are_separated(self, load: Load, tmp_path: Path) -> None:
        tied = make_tiny_llama(tmp_path, tie_word_embeddings=True)
        options = {"include_input_output_embeddings": True, "untie_embedding_weights": True}
        section = {"method": "torchao", "quant_type": {"name": "int8_weight_only"}, **options}
        assert load({"quantization": section}, model=tied).model.config.tie_word_embeddings is False


@pytest.fixture
def untouched_compiler() -> Iterator[Any]:
    """The compiler's settings as a fresh process has them, put back afterwards."""
    from torch._inductor import config

    with config.patch(coordinate_descent_tuning=False):
        yield config


@requires("optimum.quanto", "quanto")
class TestQuanto:
    @pytest.mark.field("quantization[quanto].weights", "observed")
    @pytest.mark.parametrize("weights", ["int8", "float8"])
    def test_format_of_the_weights(self, load: Load, weights: str) -> None:
        backend = load({"quantization": {"method": "quanto", "weights": weights}})
        assert type(query(backend)).__name__ == "QLinear"
        assert str(query(backend).weight._data.dtype).removeprefix("torch.").startswith(weights)
        assert len(generate(backend)) >= 1

    @pytest.mark.field("quantization[quanto].modules_to_not_convert", "observed")
    def test_kept_modules_stay_as_they_are(self, load: Load) -> None:
        backend = load({"quantization": {"method": "quanto", "modules_to_not_convert": ["q_proj", "lm_head"]}})
        assert type(query(backend)).__name__ == "Linear"
        assert type(backend.model.model.layers[0].self_attn.k_proj).__name__ == "QLinear"


def hqq_is_missing() -> str:
    """Why hqq cannot be shown here, "" where it can."""
    if find_spec("hqq") is None:
        return "needs hqq, which is not installed: hqq"
    from importlib.metadata import version

    # transformers 5 rewrote how checkpoints are loaded, and its loader raises NotImplementedError for hqq.
    return "" if version("transformers").startswith("4.") else "needs transformers 4, whose loader supports it: hqq"


@pytest.mark.skipif(bool(hqq_is_missing()), reason=hqq_is_missing())
class TestHQQ:
    def layer(self, load: Load, **options: Any) -> Any:
        backend = load({"quantization": {"method": "hqq", **options}})
        generate(backend)
        return query(backend)

    @pytest.mark.field("quantization[hqq].nbits", "observed")
    @pytest.mark.parametrize(("bits", "per_byte"), [(8, 1), (4, 2), (2, 4)])
    def test_bits_per_weight(self, load: Load, bits: int, per_byte: int) -> None:
        layer = self.layer(load, nbits=bits, group_size=32)
        assert type(layer).__name__ == "HQQLinear"
        assert layer.W_q.numel() == HIDDEN * HIDDEN // per_byte

    @pytest.mark.field("quantization[hqq].group_size", "observed")
    @pytest.mark.parametrize("size", [16, 32])
    def test_weights_per_scale(self, load: Load, size: int) -> None:
        assert self.layer(load, group_size=size).meta["scale"].numel() == HIDDEN * HIDDEN // size

    @pytest.mark.field("quantization[hqq].axis", "observed")
    @pytest.mark.parametrize("axis", [0, 1])
    def test_axis_of_the_groups(self, load: Load, axis: int) -> None:
        scale = self.layer(load, axis=axis, group_size=32).meta["scale"]
        assert (scale.shape[axis], scale.shape[1 - axis]) == (1, HIDDEN * HIDDEN // 32)

    @pytest.mark.field("quantization[hqq].view_as_float", "observed")
    def test_packed_weights_look_like_floats(self, load: Load) -> None:
        assert self.layer(load, view_as_float=True, group_size=32).W_q.dtype.is_floating_point

    @pytest.mark.field("quantization[hqq].skip_modules", "observed")
    def test_skipped_modules_stay_as_they_are(self, load: Load) -> None:
        assert type(self.layer(load, skip_modules=["q_proj"])).__name__ == "Linear"

    @pytest.mark.field("quantization[hqq].dynamic_config", "observed")
    def test_options_per_layer(self, load: Load) -> None:
        layers = {f"self_attn.{name}_proj": {"nbits": 4, "group_size": 32} for name in "kvo"}
        layers |= {f"mlp.{name}_proj": {"nbits": 4, "group_size": 32} for name in ("gate", "up", "down")}
        layers["self_attn.q_proj"] = {"nbits": 8, "group_size": 16}
        assert self.layer(load, dynamic_config=layers).meta["group_size"] == 16


def test_what_a_method_adds_to_the_model_is_not_missing_from_the_checkpoint(load: Load) -> None:
    model = load({"quantization": {"method": "torchao", "quant_type": {"name": "int8_weight_only"}}}).model
    weight, scale = "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.down_proj.weight_scale_inv"
    assert truly_missing(model, [weight, scale], RealApi()) == [weight]
    assert truly_missing(load({}).model, [scale], RealApi()) == [scale]


# Method: what it needs beside CUDA (a package, a compute capability), and what the quantized layer's class is called.
ON_THE_FLY = {
    "fp8": ("", (8, 9), "FP8Linear"),
    "fbgemm_fp8": ("fbgemm_gpu", (9, 0), "FbgemmFp8Linear"),
    "eetq": ("kernels", (8, 0), "EetqLinear"),
    "higgs": ("flute", (8, 0), "HiggsLinear"),
    "fp_quant": ("fp_quant", (10, 0), "fp_quant."),
    "nvfp4": ("kernels", (10, 0), "NVFP4Linear"),
    "four_over_six": ("fouroversix", (10, 0), "fouroversix."),
    "sinq": ("sinq", (8, 0), "sinq."),
}


@pytest.mark.field("quantization", "observed")
@pytest.mark.parametrize("method", ON_THE_FLY)
def test_methods_for_cuda(load: Load, method: str) -> None:
    package, capability, layer = ON_THE_FLY[method]
    skip_without_cuda(method, capability)
    if package:
        pytest.importorskip(package, reason=f"needs {package}, which is not installed: {method}")
    backend = load({"quantization": {"method": method}, "device_map": "cuda", "dtype": "bfloat16"})
    kind = type(query(backend))
    assert layer in f"{kind.__module__}.{kind.__name__}"


@pytest.mark.field("quantization", "observed")
@pytest.mark.parametrize("method", ON_THE_FLY)
def test_methods_for_cuda_generate(load: Load, method: str) -> None:
    package, capability, _ = ON_THE_FLY[method]
    skip_without_cuda(method, capability)
    for name in filter(None, (package, "kernels" if method == "fp8" else "")):
        pytest.importorskip(name, reason=f"needs {name}, which is not installed: {method}")
    backend = load({"quantization": {"method": method}, "device_map": "cuda", "dtype": "bfloat16"})
    assert len(generate(backend)) >= 1


def skip_without_cuda(method: str, capability: tuple[int, int]) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip(f"needs CUDA: {method}")
    if torch.cuda.get_device_capability() < capability:
        pytest.skip(f"needs a CUDA device of compute capability {'.'.join(map(str, capability))}: {method}")


FROM_A_CHECKPOINT = {
    "autoround": "an AutoRound checkpoint and auto-round",
    "awq": "an AWQ checkpoint and gptqmodel",
    "gptq": "gptqmodel, which has no wheel",
    "mxfp4": "a mixture-of-experts model and the package kernels",
}


@pytest.mark.parametrize("method", FROM_A_CHECKPOINT)
def test_methods_without_a_model_here(method: str) -> None:
    pytest.skip(f"needs {FROM_A_CHECKPOINT[method]}: {method}")
