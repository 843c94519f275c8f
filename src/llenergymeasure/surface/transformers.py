"""The entry points of Hugging Face transformers, and where each version keeps them."""

from llenergymeasure.surface.recipes import BODY, POPPED, Family, Package, Part, Recipe, Use

_BASE = "tokenization_utils_base.py"
_GENERATION = "generation/configuration_utils.py"
_CONTINUOUS = "generation/continuous_batching"
_TOKENIZER = "PreTrainedTokenizerBase"

PACKAGE = Package(
    backend="pytorch",
    name="transformers",
    recipes=(
        Recipe(
            "transformers.AutoModelForCausalLM.from_pretrained",
            (
                Part("models/auto/auto_factory.py", "_BaseAutoModelClass.from_pretrained"),
                Part("modeling_utils.py", "PreTrainedModel.from_pretrained"),
            ),
            open=True,  # any attribute of the model's config overrides it
        ),
        Recipe(
            "transformers.AutoTokenizer.from_pretrained",
            (
                Part("models/auto/tokenization_auto.py", "AutoTokenizer.from_pretrained"),
                Part(_BASE, f"{_TOKENIZER}.from_pretrained"),
                Part(_BASE, f"{_TOKENIZER}._from_pretrained", BODY),
                Part(_BASE, f"{_TOKENIZER}.__init__"),
            ),
            open=True,  # the rest goes to the tokenizer class found
        ),
        Recipe(f"transformers.{_TOKENIZER}.__call__", (Part(_BASE, f"{_TOKENIZER}.__call__"),), open=False),
        Recipe(f"transformers.{_TOKENIZER}.pad", (Part(_BASE, f"{_TOKENIZER}.pad"),), open=False),
        Recipe(
            f"transformers.{_TOKENIZER}.apply_chat_template",
            (Part(_BASE, f"{_TOKENIZER}.apply_chat_template"),),
            open=True,  # the rest is visible to the template
        ),
        Recipe(
            "transformers.GenerationConfig",
            (Part(_GENERATION, "GenerationConfig", POPPED),),
            open=False,  # any attribute is kept, and generate() refuses it later
            defaults="GenerationConfig._get_default_generation_params",
        ),
        Recipe(
            "transformers.GenerationMixin.generate",
            (
                Part("generation/utils.py", "GenerationMixin.generate", POPPED),
                Part("generation/utils.py", "GenerationMixin._extract_generation_mode_kwargs", BODY),
            ),
            open=True,  # generation parameters and the model's own inputs
        ),
        Recipe(
            "transformers.GenerationMixin.generate_batch",
            (Part(f"{_CONTINUOUS}/continuous_api.py", "ContinuousMixin.generate_batch"),),
            uses=Use(
                "transformers.GenerationConfig",
                names=("generation_config", "gen_config", "gen_cfg"),
                modules=(f"{_CONTINUOUS}/continuous_api.py", f"{_CONTINUOUS}/cache.py"),
                maker=Part("generation/utils.py", "GenerationMixin._get_logits_processor"),
                processors="generation/logits_process.py",
                standing="supports_continuous_batching",
            ),
        ),
        Recipe("transformers.set_seed", (Part("trainer_utils.py", "set_seed"),)),
        Recipe("transformers.CompileConfig", (Part(_GENERATION, "CompileConfig"),)),
        Recipe("transformers.ContinuousBatchingConfig", (Part(_GENERATION, "ContinuousBatchingConfig"),)),
        Recipe("transformers.WatermarkingConfig", (Part(_GENERATION, "WatermarkingConfig"),)),
        Recipe("transformers.SynthIDTextWatermarkingConfig", (Part(_GENERATION, "SynthIDTextWatermarkingConfig"),)),
        Recipe(
            "transformers.distributed.DistributedConfig",
            (Part("distributed/configuration_utils.py", "DistributedConfig"),),
        ),
        Recipe("transformers.KernelConfig", (Part("utils/kernel_config.py", "KernelConfig"),)),
        Recipe(
            "transformers.QuantizedCache",  # the only cache that `cache_config` reaches
            (Part("cache_utils.py", "QuantizedCache"),),
            fallback=Part("cache_utils.py", "QuantizedLayer.__init__"),
            handed=("generation/utils.py", "cache_config"),
        ),
    ),
    families=(Family("utils/quantization_config.py", "QuantizationConfigMixin", "transformers", "__init__.py"),),
    required=("modeling_utils.py", "models/auto/auto_factory.py", _GENERATION, "generation/utils.py", _BASE),
)
