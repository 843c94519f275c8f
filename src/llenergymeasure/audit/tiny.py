"""A random Llama of two layers with its own byte-level tokenizer, made on the spot for proofs and tests.

Its folder also holds what loading options ask for: a subfolder, a weight variant, an offload folder.
"""

from pathlib import Path
from typing import Any

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
    model.save_pretrained(folder, variant="fp16")
    model.save_pretrained(folder / "inner")
    tokenizer.save_pretrained(folder / "inner")
    return folder


def make_assistant(folder: Path) -> Path:
    """A smaller model with the same tokenizer, to draft for the other."""
    return make_tiny_llama(folder, seed=1, num_hidden_layers=1)


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
