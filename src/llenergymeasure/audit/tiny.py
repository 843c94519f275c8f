"""A random Llama of two layers with its own byte-level tokenizer, made on the spot for proofs and tests."""

import json
from pathlib import Path
from typing import Any

from llenergymeasure.core.api import RealApi

SENTENCES = (
    "The energy of a token is the power of the device times the time it takes.",
    "A larger batch shares each read of the weights between more prompts.",
    "Die Energie je Token sinkt, wenn viele Anfragen zusammen laufen.",
)
VOCABULARY = 320


def make_tiny_llama(folder: Path, seed: int = 0, **config_overrides: Any) -> Path:
    """Save model and tokenizer into the folder, and return it; the same seed gives the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**{**settings, **config_overrides}))
    model.save_pretrained(folder)
    return folder


def make_tiny_mixtral(folder: Path) -> Path:
    """Save a random mixture of four experts in two layers, with the same tokenizer, and return the folder."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    config = MixtralConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        MixtralForCausalLM(config).save_pretrained(folder)
    return folder


def write_adapter(folder: Path, base: str, width: int = 64) -> Path:
    """A random LoRA adapter of the tiny model's first layer, in peft's files; returns the folder."""
    import torch

    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 64, "target_modules": ["q_proj"],
        "layers_to_transform": [0], "base_model_name_or_path": base, "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"{layer}.lora_A.weight": torch.randn(2, width, generator=generator),
        f"{layer}.lora_B.weight": torch.randn(width, 2, generator=generator),
    }
    files = RealApi().resolve("safetensors.torch")
    files.save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def write_gguf(folder: Path, path: Path) -> Path:
    """The folder's model and tokenizer in one GGUF file, unquantized; returns its path."""
    import gguf
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    _write_vocabulary(writer, folder, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        layer = name.removesuffix(".weight")
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(layer.split(".")[-1])
        # The format keeps the two halves of each rotated head interleaved.
        halves = tensor if heads is None else tensor.reshape(heads, 2, -1, tensor.shape[-1]).swapaxes(1, 2)
        writer.add_tensor(f"{names.get_name(layer)}.weight", halves.reshape(tensor.shape).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_vocabulary(writer: Any, folder: Path, config: Any) -> None:
    saved = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = sorted(saved["model"]["vocab"], key=saved["model"]["vocab"].get)
    special = {token["content"] for token in saved["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in saved["model"]["merges"]])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_pad_token_id(config.pad_token_id)


def _tokenizer() -> Any:
    """A byte-level tokenizer: every text has tokens, and decoding gives the text back."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",  # noqa: S106 - a marker in the text, no secret
        eos_token="</s>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
