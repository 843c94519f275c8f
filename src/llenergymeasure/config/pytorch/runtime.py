"""Fields of how prompts are fed and how the process runs: batches, replicas, tokenizer, compilation, precision."""

from typing import Literal

from llenergymeasure.config.bindings import Section, binds, equals
from llenergymeasure.config.pytorch.compilation import TorchCompile
from llenergymeasure.config.pytorch.continuous import ContinuousBatching
from llenergymeasure.config.pytorch.entry_points import (
    AUTOCAST,
    GENERATE_BATCH,
    MAKE_BATCHES,
    MATMUL_PRECISION,
    PAD,
    PLAN_REPLICAS,
    TOKENIZE,
    TOKENIZER,
)


class Runtime(Section):
    batch_size: int | None = binds(
        f"{MAKE_BATCHES}:batch_size",
        ge=1,
        sample=3,
        effect="Larger batches share each read of the weights: energy per token falls until compute is the limit.",
    )
    """Prompts per call of generate."""

    num_processes: int | None = binds(
        f"{PLAN_REPLICAS}:num_processes",
        ge=1,
        le=1024,
        sample=2,
        effect="Replicas multiply throughput, power and memory with the devices they use.",
    )
    """Replicas of the model, each in a process of its own with a share of the prompts."""

    allow_tf32: bool | None = binds(
        f"{MATMUL_PRECISION}:precision",
        convert="tf32",
        effect="float32 models multiply on tensor cores: faster, less exact; other dtypes are not touched.",
    )
    """Whether float32 matrix products may run in TensorFloat-32."""

    autocast: Literal["float16", "bfloat16"] | None = binds(
        f"{AUTOCAST}:dtype",
        convert="torch_dtype",
        sample="bfloat16",
        excludes=equals("dtype", "float64"),  # which no operation is cast from
        effect="Casts per operation: for float32 weights it saves compute but not their memory traffic.",
    )
    """Number format that operations are cast to while the weights keep theirs."""

    torch_compile: TorchCompile | None = binds(
        effect="First calls compile for seconds to minutes; afterwards fewer kernel launches per step."
    )
    """Compilation of the model's forward pass."""

    continuous_batching: ContinuousBatching | None = binds(
        f"{GENERATE_BATCH}:continuous_batching_config",
        effect="Finished sequences make room at once: less padding, fuller batches.",
    )
    """Continuous batching instead of fixed batches; each pass builds its cache anew without persistent_manager."""

    use_fast: bool | None = binds(
        f"{TOKENIZER}:use_fast", sample=False, effect="None on the figures: prompts are encoded before the window."
    )
    """Whether the tokenizer is the compiled one."""

    add_special_tokens: bool | None = binds(
        f"{TOKENIZE}:add_special_tokens", sample=False, effect="A token or two more or less per prompt."
    )
    """Whether the tokenizer adds its start and end tokens to each prompt."""

    split_special_tokens: bool | None = binds(
        f"{TOKENIZE}:split_special_tokens", effect="Some tokens more per special token that a prompt's text contains."
    )
    """Whether special tokens in a prompt's text are cut up like other text."""

    padding: Literal["longest", "max_length"] | None = binds(
        f"{PAD}:padding",
        sample="max_length",
        context={"padding_length": 32},
        effect="Padding is computed like real tokens in the prompt's pass.",
    )
    """How prompts of a batch are made equally long: to the longest, or to padding_length."""

    padding_length: int | None = binds(
        f"{PAD}:max_length",
        ge=1,
        sample=32,
        needs=equals("padding", "max_length"),
        context={"padding": "max_length"},
        effect="Padding is computed like real tokens in the prompt's pass.",
    )
    """Length to which prompts are padded with `padding: max_length`."""

    pad_to_multiple_of: int | None = binds(
        f"{PAD}:pad_to_multiple_of", ge=1, sample=16, effect="Rounder shapes suit tensor cores and cost padding."
    )
    """Multiple to which the padded length is rounded up."""
