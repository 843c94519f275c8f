"""The entry points that VLLMConfig's fields bind to, by the names that users import."""

from llenergymeasure.config.bindings import Target

LLM = "vllm.LLM"
GENERATE = "vllm.LLM.generate"
BEAM_SEARCH = "vllm.LLM.beam_search"
SAMPLING_PARAMS = "vllm.SamplingParams"
BEAM_SEARCH_PARAMS = "vllm.sampling_params.BeamSearchParams"
STRUCTURED_OUTPUTS_PARAMS = "vllm.sampling_params.StructuredOutputsParams"
LORA_REQUEST = "vllm.lora.request.LoRARequest"

# Lists with an entry for each prompt of the workload.
RANKS = (Target(GENERATE, "priority"), Target(BEAM_SEARCH, "priority"))

# What passthrough reaches; other entry points are classes of which an object is made only for the field that takes it.
CALLED = (LLM, GENERATE, BEAM_SEARCH, SAMPLING_PARAMS, BEAM_SEARCH_PARAMS)
