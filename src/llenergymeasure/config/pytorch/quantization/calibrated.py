"""Formats that are calibrated or arrive quantized: what can still be chosen when such a checkpoint is loaded."""

from typing import Any, Literal

from llenergymeasure.config.bindings import Section, above, binds, equals, is_set

_GPTQ = "transformers.GPTQConfig"


class GPTQ(Section):
    """Weights quantized column by column against calibration data, while loading an ordinary checkpoint."""

    entry_point = _GPTQ

    method: Literal["gptq"]

    bits: Literal[2, 3, 4, 8] = binds(
        default=..., sample=8, effect="Fewer bits mean less memory traffic, and more work to unpack."
    )
    """Bits per weight."""

    dataset: Literal["wikitext2", "c4", "c4-new"] | list[str] | None = binds(
        sample=["a short calibration text"], effect="None on cost; it decides the weights, and so the output."
    )
    """Calibration data: the name of a data set, or the texts themselves."""

    tokenizer: str | None = binds(
        sample="tokenizer", effect="None on cost; it decides the calibration, and so the weights."
    )
    """Tokenizer of the calibration, where it is not the model's own."""

    group_size: int | None = binds(ge=-1, sample=64, effect="Small groups lose less accuracy and store more scales.")
    """Weights that share a scale; -1 means a whole column."""

    damp_percent: float | None = binds(gt=0, lt=1, sample=0.05, effect="None on cost; it decides the weights.")
    """Damping of the calibration's Hessian, as a share of its mean diagonal."""

    desc_act: bool | None = binds(effect="Columns in order of activation size: slower products, less loss.")
    """Whether columns are quantized in order of activation size."""

    act_group_aware: bool | None = binds(
        excludes=equals("desc_act", value=True), sample=False, effect="None on cost; it decides the weights."
    )
    """Whether the order of activation size is kept within groups."""

    sym: bool | None = binds(sample=False, effect="Symmetric weights need no zero points.")
    """Whether the grid is symmetric around zero."""

    true_sequential: bool | None = binds(sample=False, effect="Quantization takes longer; inference is not touched.")
    """Whether the layers of a block are quantized one after another."""

    format: str | None = binds(
        _GPTQ, f"{_GPTQ}:checkpoint_format", sample="gptq_v2", effect="Decides which kernels can read the weights."
    )
    """Layout of the packed weights: gptq or gptq_v2."""

    backend: str | None = binds(sample="torch", effect="Decides the kernel of every product.")
    """Kernel of the matrix products; auto picks one for the device."""

    use_cuda_fp16: bool | None = binds(effect="A faster kernel for 16-bit activations, in versions that have it.")
    """Whether the kernel for 16-bit activations is used."""

    use_exllama: bool | None = binds(sample=False, effect="The exllama kernels are faster at 4 bits.")
    """Whether the exllama kernels are used, in versions that ask."""

    exllama_config: dict[str, int] | None = binds(
        excludes=equals("use_exllama", value=False), sample={"version": 2}, effect="Version 2 is faster."
    )
    """Version of the exllama kernels, in versions that ask."""

    model_seqlen: int | None = binds(ge=1, sample=32, effect="Quantization takes longer; inference is not touched.")
    """Tokens per calibration text."""

    block_name_to_quantize: str | None = binds(
        sample="model.layers", effect="Blocks elsewhere keep their memory traffic."
    )
    """Module that holds the blocks to quantize."""

    module_name_preceding_first_block: list[str] | None = binds(
        sample=["model.embed_tokens"], effect="Quantization only; inference is not touched."
    )
    """Modules that run before the first block."""

    modules_in_block_to_quantize: list[list[str]] | None = binds(
        sample=[["self_attn.q_proj"], ["mlp.down_proj"]], effect="Modules that are left out keep their memory traffic."
    )
    """Modules of a block that are quantized, in order; each inner list at once."""

    batch_size: int | None = binds(
        ge=1, sample=2, context={"pad_token_id": 0}, effect="Quantization time and memory only."
    )
    """Calibration texts that are processed at once."""

    pad_token_id: int | None = binds(
        needs=above("batch_size", 1),
        ge=0,
        sample=3,
        context={"batch_size": 2},
        effect="Quantization only; inference is not touched.",
    )
    """Token that fills up calibration texts."""

    max_input_length: int | None = binds(ge=1, sample=4096, effect="Memory of the exllama kernels' buffer.")
    """Longest input that the exllama kernels' buffer must hold."""

    cache_block_outputs: bool | None = binds(sample=False, effect="Quantization time and memory only.")
    """Whether a block's outputs are kept as the next block's inputs."""


class AWQ(Section):
    """Activation-aware 4-bit checkpoints: the kernel can be chosen, the weights come with the checkpoint."""

    entry_point = "transformers.AwqConfig"

    method: Literal["awq"]

    backend: str | None = binds(sample="torch_awq", effect="Decides the kernel of every product.")
    """Kernel of the matrix products: auto, marlin, machete, exllama_v2, gemm, gemv, torch_awq and others."""

    version: Literal["gemm", "gemv", "exllama", "ipex"] | None = binds(
        sample="gemv", effect="gemv is faster at batch 1, gemm from about 8 on."
    )
    """Kernel of the matrix products, in versions that name it so."""

    do_fuse: bool | None = binds(sample=True, effect="Fused attention and MLP modules run fewer kernels per step.")
    """Whether modules are fused, in versions that can."""

    fuse_max_seq_len: int | None = binds(
        ge=1,
        sample=512,
        needs=(equals("do_fuse", value=True), is_set("modules_to_fuse")),
        context={"do_fuse": True},
        effect="Memory of the fused modules' cache, which is allocated once.",
    )
    """Longest sequence that fused modules must hold."""

    modules_to_fuse: dict[str, Any] | None = binds(
        excludes=equals("do_fuse", value=False),
        sample={
            "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
            "layernorm": [],
            "mlp": [],
            "use_alibi": False,
            "hidden_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        context={"fuse_max_seq_len": 512},
        effect="Fused modules run fewer kernels per step.",
    )
    """Names and sizes of the modules that are fused, for models without a built-in map."""

    exllama_config: dict[str, int] | None = binds(
        needs=equals("version", "exllama"),
        sample={"version": 1},
        context={"version": "exllama"},
        effect="Version 2 is faster.",
    )
    """Version and buffers of the exllama kernels."""


class AutoRound(Section):
    """AutoRound checkpoints: the kernel can be chosen, the weights come with the checkpoint."""

    entry_point = "transformers.AutoRoundConfig"

    method: Literal["autoround"]

    backend: str | None = binds(sample="torch", effect="Decides the kernel of every product.")
    """Kernel of the matrix products; auto picks one for the device."""


class CompressedTensors(Section):
    """compressed-tensors checkpoints: whether they stay compressed; the scheme comes with the checkpoint."""

    entry_point = "transformers.CompressedTensorsConfig"

    method: Literal["compressed_tensors"]

    run_compressed: bool | None = binds(
        excludes=is_set("dequantize"),
        sample=False,
        effect="Compressed weights need less memory and are unpacked for use.",
    )
    """Whether weights stay compressed in memory; newer versions ask for the opposite, dequantize."""

    dequantize: bool | None = binds(
        effect="The model runs in its original format: more memory traffic, nothing to unpack."
    )
    """Whether weights are brought back to the model's number format while loading."""

    use_optimized_inference: bool | None = binds(
        excludes=equals("dequantize", value=True), effect="float8 products run in float8 instead of 16 bits."
    )
    """Whether layers with a float8 scheme use float8 kernels."""


class GGUF(Section):
    """GGUF files: whether their blocks stay packed."""

    entry_point = "transformers.GgufConfig"

    method: Literal["gguf"]

    dequantize: bool | None = binds(effect="The model runs in its full format: several times the memory traffic.")
    """Whether every weight is unpacked while loading."""
