"""Options of the model that drafts: a small one, or extra heads that read the large one's hidden states."""

from typing import Annotated, Any, Literal

from llenergymeasure.config.bindings import Local, Section, among, binds, is_set

# What each method needs beside it, for the proofs: drafts of a model of its own, and of heads on the large one.
OWN_MODEL = {"method": "draft_model", "model": "assistant", "num_speculative_tokens": 2}
HEADS = {**OWN_MODEL, "method": "eagle"}
# These look drafts up in the text: vLLM takes a draft model's options with them and reads none of them.
LOOKUPS = ("ngram", "ngram_gpu", "suffix")
NO_MODEL = among("method", *LOOKUPS)
NO_HEADS = among("method", *LOOKUPS, "draft_model")


class Drafts(Section):
    entry_point = "vllm.config.SpeculativeConfig"

    model: Annotated[str | None, Local(hub=True)] = binds(
        sample="assistant",
        excludes=NO_MODEL,
        context={"method": "draft_model", "num_speculative_tokens": 2},
        effect="Saves latency at small batches when drafts are accepted; costs energy at large ones.",
    )
    """Folder or repository of the draft model or heads; with custom_class, the class that drafts, by its full name."""

    revision: str | None = binds(
        sample="side",
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="None of its own: it decides which weights draft.",
    )
    """Branch, tag or commit of the draft model's repository."""

    code_revision: str | None = binds(
        sample="side",
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="None of its own: it decides which code drafts.",
    )
    """Revision of the draft model's own code; it acts where trust_remote_code allows such code."""

    quantization: str | None = binds(
        sample="fp8",
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="Cheaper drafts, of which fewer may be accepted.",
    )
    """Quantization method of the draft model's weights."""

    draft_lm_head_quantization: Literal["fp8", "nvfp4"] | None = binds(
        sample="fp8",
        excludes=NO_HEADS,
        context=HEADS,
        effect="Cheaper drafts where the vocabulary is large; fewer of them may be accepted.",
    )
    """Number format of the drafting heads' copy of the model's output layer; the model itself keeps its own."""

    kv_cache_dtype: str | None = binds(
        sample="fp8",
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="Less memory for the draft's cache; less exact drafts may be rejected more often.",
    )
    """Number format of the draft model's KV cache, where it is not the model's."""

    max_model_len: int | None = binds(
        ge=1,
        sample=128,
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="Longer sequences are decoded without drafts, or not admitted, depending on the version.",
    )
    """Longest sequence, in tokens, that the draft model takes."""

    draft_tensor_parallel_size: int | None = binds(
        ge=1,
        sample=1,
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="On one device the draft needs no communication, and the others wait for it.",
    )
    """Devices that share the draft model's tensors: 1, or as many as the model's."""

    enforce_eager: bool | None = binds(
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="Without recorded graphs each draft token costs more time of the host.",
    )
    """Whether the draft model runs without CUDA graphs."""

    attention_backend: str | None = binds(
        sample="TRITON_ATTN",
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="As attention_backend, for the drafts.",
    )
    """Attention kernel of the draft model, by vLLM's name for it."""

    moe_backend: str | None = binds(
        sample="triton",
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="As moe_backend, for drafts that are mixtures of experts.",
    )
    """Expert kernel of the draft model, where it is not the model's."""

    draft_load_config: dict[str, Any] | None = binds(
        min_length=1,
        sample={"load_format": "dummy"},
        needs=is_set("method"),
        excludes=NO_HEADS,
        context=HEADS,
        effect="Load time only, unless it leaves the weights random: then no draft is accepted.",
    )
    """How drafting heads are loaded, by the names of the model's own loading options."""

    draft_sample_method: Literal["greedy", "probabilistic"] | None = binds(
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="probabilistic drafts are accepted more often where the output is sampled, for more memory.",
    )
    """Whether drafts are the likeliest tokens or are sampled from the draft's distribution."""

    parallel_drafting: bool | None = binds(
        excludes=NO_MODEL,
        context={**OWN_MODEL, "model": "parallel-assistant"},
        effect="One pass of the draft model per check instead of one per draft token.",
    )
    """Whether all draft tokens come from one pass, for drafts that were trained for it."""

    use_heterogeneous_vocab: bool | None = binds(
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="Admits drafts of other model families; tokens that the two do not share are never drafted.",
    )
    """Whether the draft model may have another vocabulary; only tokens of both are drafted."""

    use_local_argmax_reduction: bool | None = binds(
        excludes=NO_MODEL,
        context=OWN_MODEL,
        effect="With tensor parallelism, devices exchange one candidate per draft token instead of all logits.",
    )
    """Whether each device finds its own likeliest draft token before they are compared."""

    disable_padded_drafter_batch: bool | None = binds(
        excludes=among("method", "ngram", "suffix"),
        context=HEADS,
        effect="Drafts without padding, at the price of waiting for the host between check and draft.",
    )
    """Whether requests with rejected drafts are cut out of the draft's batch instead of padded."""

    disable_eagle_block_drop: bool | None = binds(
        excludes=NO_HEADS,
        context=HEADS,
        effect="A longer shared beginning is reused from the prefix cache; drafts right after it may be rejected.",
    )
    """Whether the last block of a cached beginning is reused with drafting heads instead of computed again."""

    disable_lookahead_block_hashes: bool | None = binds(
        excludes=NO_HEADS,
        context=HEADS,
        effect="The last block of a cached beginning is computed again.",
    )
    """Whether blocks of the prefix cache are named without the tokens after them, which drafting heads read."""

    index_share_for_mtp_iteration: bool | None = binds(
        excludes=NO_HEADS,
        context={"method": "mtp", "num_speculative_tokens": 2},
        effect="The search for the tokens to attend to is made once per check instead of once per draft token.",
    )
    """Whether a multi-token head with sparse attention reuses the first draft token's choice; for method mtp."""

    dspark_draft_topk: int | None = binds(
        ge=1,
        sample=64,
        excludes=NO_MODEL,
        context={**OWN_MODEL, "method": "dspark"},
        effect="Fewer candidates are scored per draft token.",
    )
    """Likeliest tokens among which a dspark draft chooses."""

    xpress_topc: int | None = binds(
        ge=0,
        sample=64,
        excludes=NO_MODEL,
        context={**OWN_MODEL, "method": "dflash"},
        effect="Fewer candidates are scored per refining pass; 0 scores the whole vocabulary.",
    )
    """Likeliest tokens among which an XPress draft, a kind of dflash, refines its choice."""

    speculative_token_tree: str | None = binds(
        sample="[(0,), (1,), (0, 0)]",
        excludes=NO_HEADS,
        context={**HEADS, "num_speculative_tokens": 3},
        effect="A tree checks alternatives at once: more drafts are accepted, and each check processes more tokens.",
    )
    """Tree of drafts instead of a chain: a list of paths, each a tuple of ranks among the likeliest tokens."""
