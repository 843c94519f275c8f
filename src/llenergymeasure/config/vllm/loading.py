"""Fields that decide what is loaded, in which number format, and what comes with the model."""

from typing import Annotated, Any, Literal

from llenergymeasure.config.bindings import Local, Section, binds, equals, is_set
from llenergymeasure.config.vllm.entry_points import LLM
from llenergymeasure.config.vllm.quantization import OnlineQuantization


class Weights(Section):
    """Where the weights come from and how they are read; the running model is the same, but for dummy ones."""

    entry_point = LLM

    load_format: str | None = binds(
        sample="safetensors",
        effect="Load time only; dummy makes weights up, so that answers mean nothing and cost the same per token.",
    )
    """Kind of weight files or loader: auto, safetensors, pt, dummy, sharded_state, runai_streamer and others."""

    model_loader_extra_config: dict[str, Any] | None = binds(
        min_length=1,
        sample={"enable_multithread_load": True, "num_threads": 2},
        effect="Load time only.",
    )
    """Options of the loader that load_format chooses."""

    safetensors_load_strategy: Literal["lazy", "eager", "prefetch", "torchao"] | None = binds(
        sample="eager", effect="Load time and host memory only."
    )
    """How safetensors files are read: mapped, whole, mapped after a read ahead, or with torchao's tensors rebuilt."""

    safetensors_prefetch_num_threads: int | None = binds(
        ge=1,
        sample=3,
        needs=equals("safetensors_load_strategy", "prefetch"),
        context={"safetensors_load_strategy": "prefetch"},
        effect="Load time only.",
    )
    """Threads that read ahead."""

    safetensors_prefetch_block_size: int | None = binds(
        ge=1,
        sample=4096,
        needs=equals("safetensors_load_strategy", "prefetch"),
        context={"safetensors_load_strategy": "prefetch"},
        effect="Load time only.",
    )
    """Bytes that one read ahead takes."""

    pt_load_map_location: str | dict[str, str] | None = binds(sample="cpu:0", effect="Load time only.")
    """Device to which PyTorch's own weight files are read, or a map from the devices that they were saved on."""

    download_dir: Annotated[str | None, Local()] = binds(sample="downloads", effect="Load time only.")
    """Folder for downloaded weights, instead of the hub's cache."""

    ignore_patterns: str | list[str] | None = binds(
        sample=["*.bin"], effect="None, as long as the files left out are not needed."
    )
    """Files of a repository that are not downloaded, as patterns."""


class Loading(Weights):
    entry_point = LLM

    dtype: Literal["auto", "float32", "float16", "bfloat16"] | None = binds(
        sample="float32",
        unoffered={"half": "the same as float16", "float": "the same as float32"},
        effect="Halving the bits about halves the memory traffic of decoding, and with it time and energy per token.",
    )
    """Number format of the weights and activations; `auto` takes the checkpoint's, and 16 bits for a 32-bit one."""

    quantization: str | None = binds(
        sample="fp8",
        effect="Less memory traffic per token; FP8 against BF16 pays off at large batches and hardly at small ones.",
    )
    """Quantization method: the checkpoint's own, or one that quantizes while loading, such as fp8."""

    quantization_config: OnlineQuantization | None = binds(
        needs=is_set("quantization"),
        context={"quantization": "online"},
        effect="Decides per kind of layer what quantization saves and what it costs in exactness.",
    )
    """Number formats by kind of layer, in more detail than the method's name gives."""

    allow_deprecated_quantization: bool | None = binds(
        effect="None of its own: it admits methods that vLLM is about to drop."
    )
    """Whether deprecated quantization methods are allowed instead of refused."""

    model_impl: Literal["auto", "vllm", "transformers", "terratorch"] | None = binds(
        sample="transformers",
        effect="The layers of transformers are fused less; attention and cache are vLLM's either way.",
    )
    """Whose implementation of the model runs: vLLM's own, that of transformers, or TerraTorch's."""

    trust_remote_code: bool | None = binds(
        effect="None of its own; the model's own code may be slower or faster than vLLM's."
    )
    """Whether code that comes with the model may run."""

    code_revision: str | None = binds(
        needs=equals("trust_remote_code", value=True),
        context={"trust_remote_code": True},
        sample="side",
        effect="None of its own: it decides which code is measured.",
    )
    """Revision of the model's own code, where it differs from the revision of its weights."""

    config_format: str | None = binds(sample="hf", effect="None: where the same settings are read from.")
    """Form of the model's configuration: auto, hf, mistral, or one that a plugin brings."""

    hf_config_path: Annotated[str | None, Local(hub=True)] = binds(
        sample="elsewhere", effect="None of its own: it decides which model is built."
    )
    """Folder or repository of the model's configuration, where it is not beside the weights."""

    hf_overrides: dict[str, Any] | None = binds(
        min_length=1,
        sample={"max_position_embeddings": 256},
        effect="Depends on the setting: context length, position encoding or even layers change with it.",
    )
    """Settings that replace those of the model's configuration; names that it does not have are ignored."""

    tokenizer_mode: str | None = binds(
        sample="mistral", effect="Cuts the same text into more or fewer tokens, where the tokenizers differ."
    )
    """Which tokenizer code runs: auto, hf or slow (depending on the version), mistral, and some models' own."""

    generation_config: Annotated[str | None, Local(hub=True)] = binds(
        sample="vllm",
        effect="None per token: it decides how tokens are sampled, and so where answers end.",
    )
    """Where sampling defaults come from: auto (beside the model), vllm (its own), or a folder or repository."""

    override_generation_config: dict[str, Any] | None = binds(
        min_length=1,
        sample={"temperature": 0.5},
        effect="None per token: it decides how tokens are sampled, and so where answers end.",
    )
    """Sampling defaults that replace the checkpoint's; vLLM reads a few names, such as temperature and top_k."""

    logits_processors: list[str] | None = binds(
        min_length=1,
        sample=["vllm.v1.sample.logits_processor:MinPLogitsProcessor"],
        effect="Runs code of its own on the scores of every step: time per step, and another output.",
    )
    """Classes that change the scores before sampling, as `module:class`; not together with speculative_config."""

    max_logprobs: int | None = binds(
        ge=-1, sample=7, effect="None of its own: a limit on what a request may ask for, which costs time per token."
    )
    """Most log-probabilities that a request may ask for per token; -1 sets no limit."""

    logprobs_mode: Literal["raw_logprobs", "raw_logits", "processed_logprobs", "processed_logits"] | None = binds(
        sample="processed_logprobs",
        effect="processed_* rules out FlashInfer's sampling kernel; else it acts where log-probabilities are wanted.",
    )
    """Whether requests get log-probabilities or logits, before (raw) or after sampling parameters acted."""
