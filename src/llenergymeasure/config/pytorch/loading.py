"""Fields that decide what is loaded, in which number format, and where it is placed."""

from typing import Annotated, Any, Literal

from llenergymeasure.config.bindings import Local, Section, among, binds, equals, is_set
from llenergymeasure.config.pytorch.distributed import Distributed
from llenergymeasure.config.pytorch.entry_points import FROM_PRETRAINED, TOKENIZER
from llenergymeasure.config.pytorch.quantization import Quantization

Dtype = Literal["auto", "float32", "float16", "bfloat16", "float64"]
Device = str | int


class Loading(Section):
    entry_point = FROM_PRETRAINED

    trust_remote_code: bool | None = binds(
        f"{FROM_PRETRAINED}:trust_remote_code",
        f"{TOKENIZER}:trust_remote_code",
        effect="None of its own; the model's own code may be slower or faster than the library's.",
    )
    """Whether code that comes with the model may run."""

    code_revision: str | None = binds(
        f"{FROM_PRETRAINED}:code_revision",
        needs=is_set("trust_remote_code"),
        context={"trust_remote_code": True},
        sample="side",
        effect="None of its own: it decides which code is measured.",
    )
    """Revision of the model's own code, where it differs from the revision of its weights."""

    variant: str | None = binds(effect="None beyond the number format that the variant stores.", sample="fp16")
    """Suffix of the weight files to load, such as fp16 in `model.fp16.safetensors`."""

    subfolder: str | None = binds(
        f"{FROM_PRETRAINED}:subfolder",
        f"{TOKENIZER}:subfolder",
        sample="inner",
        effect="None of its own: it decides which model is measured.",
    )
    """Folder inside the model's repository that holds the model."""

    gguf_file: str | None = binds(
        f"{FROM_PRETRAINED}:gguf_file",
        f"{TOKENIZER}:gguf_file",
        effect="Load time rises; in the versions that dequantize on load, inference runs at the dtype's cost.",
        sample="model.gguf",
    )
    """GGUF file in the model's folder to load instead of safetensors."""

    use_safetensors: bool | None = binds(sample=False, effect="Load time only.")
    """Whether weights must (true) or must not (false) come from safetensors files."""

    disable_mmap: bool | None = binds(effect="Load time and host memory only.")
    """Whether weight files are read whole instead of memory-mapped."""

    dtype: Dtype | None = binds(
        convert="torch_dtype",
        sample="float64",
        effect="Halving the bits about halves the memory traffic of decoding, and with it time and energy per token.",
    )
    """Number format of the weights and activations; `auto` takes what the checkpoint says."""

    device_map: str | int | dict[str, Device] | None = binds(
        effect="Decides which devices draw power; a split over devices adds transfers to every step.", sample="meta"
    )
    """Device of each module: one device, a strategy (auto, balanced, balanced_low_0, sequential), or a map by name."""

    max_memory: dict[Device, str | int] | None = binds(
        needs=among("device_map", "auto", "balanced", "balanced_low_0", "sequential"),
        sample={"cpu": "350KB"},
        context={"device_map": "auto", "offload_folder": "offload"},
        effect="Less room on the fast device moves layers to slower memory: latency and energy per token rise.",
    )
    """Memory that each device may use, such as `{0: 10GiB, cpu: 30GiB}`; what does not fit goes to the next."""

    offload_folder: Annotated[str | None, Local()] = binds(
        needs=is_set("device_map"),
        sample="offload",
        context={"device_map": "auto", "max_memory": {"cpu": "350KB"}},
        effect="Layers on disk are read back in every forward pass: latency and energy rise steeply.",
    )
    """Folder for the weights that `device_map` places on disk."""

    offload_buffers: bool | None = binds(
        needs=is_set("device_map"),
        context={"device_map": "auto", "max_memory": {"cpu": "350KB"}, "offload_folder": "offload"},
        effect="Buffers, too, are then fetched in every forward pass.",
    )
    """Whether buffers are offloaded together with the parameters."""

    attn_implementation: str | None = binds(
        sample="eager",
        effect="Fused kernels (sdpa, flash_attention_2) cut time and memory, most on long inputs; eager is slowest.",
    )
    """Attention kernel: eager, sdpa, flash_attention_2, flash_attention_3, flex_attention, or a `paged|` variant."""

    experts_implementation: str | None = binds(
        sample="batched_mm",
        effect="Batched expert kernels cut time on mixture-of-experts models; dense models are not touched.",
    )
    """How a mixture-of-experts layer computes its experts: eager, batched_mm, grouped_mm, deepgemm or sonicmoe."""

    use_kernels: bool | None = binds(effect="Hub kernels replace layers by fused ones, where the device has them.")
    """Whether layers are replaced by kernels from the kernels hub."""

    allow_all_kernels: bool | None = binds(
        needs=equals("use_kernels", value=True),
        context={"use_kernels": True},
        effect="None of its own: it admits kernels that may be faster or slower.",
    )
    """Whether kernels of publishers that are not trusted by default may be used."""

    kernel_config: dict[str, Any] | None = binds(
        needs=equals("use_kernels", value=True),
        context={"use_kernels": True},
        sample={"RMSNorm": "kernels-community/liger_kernels:LigerRMSNorm"},
        convert="kernel_config",
        effect="Decides which kernels run, and so the time and energy of every step.",
    )
    """Which kernel replaces which layer, by layer name."""

    tp_plan: Literal["auto"] | dict[str, str] | None = binds(
        sample="auto",
        excludes=(is_set("device_map"), is_set("distributed")),
        effect="Latency falls and total power rises with the number of devices.",
    )
    """Tensor-parallel plan: auto takes the model's own; one process per device is started."""

    tp_size: int | None = binds(
        needs=is_set("tp_plan"),
        ge=1,
        sample=2,
        context={"tp_plan": "auto"},
        effect="More devices share each product: latency falls, total power and communication rise.",
    )
    """Number of devices that share each tensor."""

    distributed: Distributed | None = binds(f"{FROM_PRETRAINED}:distributed_config")
    """Tensor, pipeline and expert parallelism in one configuration."""

    quantization: Quantization | None = binds(f"{FROM_PRETRAINED}:quantization_config")
    """Quantization of the weights while loading, one method with its options."""

    adapter_kwargs: dict[str, Any] | None = binds(
        sample={"revision": "side"}, effect="An adapter adds a low-rank product to each adapted layer."
    )
    """Options for finding a LoRA adapter that the model's folder names."""
