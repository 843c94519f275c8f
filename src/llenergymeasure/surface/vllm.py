"""The entry points of vLLM, and where each version keeps them."""

from llenergymeasure.surface.recipes import Package, Part, Recipe

_ENGINE = Part("engine/arg_utils.py", "EngineArgs")
_SAMPLING = "sampling_params.py"

PACKAGE = Package(
    backend="vllm",
    name="vllm",
    recipes=(
        Recipe(
            "vllm.LLM",
            (Part("entrypoints/llm.py", "LLM.__init__"), _ENGINE),
            open=False,  # what the engine's arguments do not have is a TypeError
            nested="config/",
        ),
        Recipe("vllm.SamplingParams", (Part(_SAMPLING, "SamplingParams"),), nested=_SAMPLING),
        Recipe("vllm.sampling_params.BeamSearchParams", (Part(_SAMPLING, "BeamSearchParams"),)),
        # The engine takes these as a plain mapping.
        Recipe("vllm.config.SpeculativeConfig", (Part("config/speculative.py", "SpeculativeConfig"),)),
    ),
    required=("entrypoints/llm.py", "engine/arg_utils.py", _SAMPLING, "config/__init__.py"),
    followed=(
        "config",
        "engine/arg_utils",
        "sampling_params",
        "model_executor/layers/quantization",
        "v1/attention/backends/registry",
    ),
)
