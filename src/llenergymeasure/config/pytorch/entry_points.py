"""The entry points that PyTorchConfig's fields bind to, by the names that users import."""

FROM_PRETRAINED = "transformers.AutoModelForCausalLM.from_pretrained"
TOKENIZER = "transformers.AutoTokenizer.from_pretrained"
TOKENIZE = "transformers.PreTrainedTokenizerBase.__call__"
PAD = "transformers.PreTrainedTokenizerBase.pad"
GENERATION_CONFIG = "transformers.GenerationConfig"
GENERATE = "transformers.GenerationMixin.generate"
GENERATE_BATCH = "transformers.GenerationMixin.generate_batch"
TORCH_COMPILE = "torch.compile"
AUTOCAST = "torch.autocast"
MATMUL_PRECISION = "torch.set_float32_matmul_precision"
MAKE_BATCHES = "llenergymeasure.core.batching.make_batches"
PLAN_REPLICAS = "llenergymeasure.core.replicas.plan_replicas"
SET_SEED = "transformers.set_seed"

# What passthrough reaches; other entry points are classes of which an object is made only for the field that takes it.
CALLED = (
    FROM_PRETRAINED,
    TOKENIZER,
    TOKENIZE,
    PAD,
    GENERATION_CONFIG,
    GENERATE,
    GENERATE_BATCH,
    TORCH_COMPILE,
    AUTOCAST,
    MATMUL_PRECISION,
    SET_SEED,
)
