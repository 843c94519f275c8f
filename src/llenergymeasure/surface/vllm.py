"""The entry points of vLLM, and where each version keeps them."""

from llenergymeasure.surface.recipes import Package, Part, Recipe

_ENGINE = Part("engine/arg_utils.py", "EngineArgs")
_LLM = "entrypoints/llm.py"
_SAMPLING = "sampling_params.py"

PACKAGE = Package(
    backend="vllm",
    name="vllm",
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
        Recipe("vllm.config.SpeculativeConfig", (Part("config/speculative.py", "SpeculativeConfig"),)),
    ),
    required=(_LLM, "engine/arg_utils.py", _SAMPLING, "config/__init__.py"),
    followed=(
        "config",
        "engine/arg_utils",
        "entrypoints/generate/beam_search/offline",
        "sampling_params",
        "model_executor/layers/quantization",
        "v1/attention/backends/registry",
    ),
)
