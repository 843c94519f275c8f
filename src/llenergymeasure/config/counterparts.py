"""Fields by which the backends do about the same under different names, for hints only."""

# Paths below the backends' sections: pytorch's, vllm's. Fields of the same name are counterparts anyway.
PAIRS: tuple[tuple[str, str], ...] = (
    ("attn_implementation", "attention_backend"),
    ("assistant_model", "speculative_config"),
    ("bad_words_ids", "bad_words"),
    ("batch_size", "max_num_seqs"),
    ("continuous_batching.block_size", "block_size"),
    ("continuous_batching.max_batch_tokens", "max_num_batched_tokens"),
    ("do_sample", "temperature"),
    ("eos_token_id", "stop_token_ids"),
    ("max_memory", "gpu_memory_utilization"),
    ("num_assistant_tokens", "speculative_config.num_speculative_tokens"),
    ("num_beams", "beam_search.beam_width"),
    ("num_processes", "data_parallel_size"),
    ("num_return_sequences", "n"),
    ("prompt_lookup_num_tokens", "speculative_config"),
    ("stop_strings", "stop"),
    ("torch_compile", "compilation_config"),
    ("tp_size", "tensor_parallel_size"),
)
_SIDES = ("pytorch", "vllm")


def counterpart(path: tuple[str, ...], backend: str) -> tuple[str, ...] | None:
    """What does in a backend what another backend's field does; None where nothing is known to."""
    if path[0] not in _SIDES or backend not in _SIDES:
        return None
    here, there = _SIDES.index(path[0]), _SIDES.index(backend)
    below = ".".join(path[1:])
    return next(((backend, *pair[there].split(".")) for pair in PAIRS if pair[here] == below), None)
