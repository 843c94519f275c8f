"""Continuous batching takes another way through transformers: what does not act there is refused, not dropped."""

from typing import Any

import pytest

from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import (
    AUTOCAST,
    GENERATE,
    GENERATE_BATCH,
    GENERATION_CONFIG,
    TORCH_COMPILE,
)
from llenergymeasure.core.checks import check_against
from llenergymeasure.errors import RequestError
from llenergymeasure.surface import ledger, snapshots

VERSIONS = snapshots.versions("pytorch")
MODE = "pytorch.continuous_batching"


def checked(version: str, pytorch: dict[str, Any], **fields: Any) -> Any:
    config = ExperimentConfig.model_validate({"model": "m", "prompts": ["one"], "pytorch": pytorch, **fields})
    return check_against(config, snapshots.load("pytorch", version))


def refused(version: str, pytorch: dict[str, Any], **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        checked(version, pytorch, **fields)
    return caught.value


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        # Nothing of the call of generate is left.
        ("assistant_model", "m"),
        # Prompts are not cut into batches, not padded, and generated in another thread.
        ("batch_size", 2),
        ("padding", "longest"),
        ("pad_to_multiple_of", 8),
        ("autocast", "bfloat16"),
        ("torch_compile", {}),
        ("torch_compile", {"mode": "default"}),
        # Of the generation config these are not read.
        ("use_cache", False),
        ("cache_implementation", "static"),
        ("max_time", 3.0),
        ("stop_strings", ["<stop>"]),
        ("token_healing", True),
        ("prefill_chunk_size", 8),
        ("return_dict_in_generate", True),
        ("num_beams", 2),
        ("prompt_lookup_num_tokens", 2),
        ("assistant_early_exit", 1),
        ("pad_token_id", 3),
        ("min_new_tokens", 3),
        # These make processors that look at the whole sequence, or crash without it.
        ("repetition_penalty", 1.3),
        ("encoder_repetition_penalty", 1.3),
        ("encoder_no_repeat_ngram_size", 2),
        ("no_repeat_ngram_size", 2),
        ("bad_words_ids", [[3]]),
        ("guidance_scale", 1.5),
        ("sequence_bias", [([9], -2.0)]),
        ("forced_eos_token_id", 3),
        ("begin_suppress_tokens", [3]),
        ("exponential_decay_length_penalty", (4, 1.5)),
        ("watermarking_config", {"kind": "greenlist"}),
    ],
)
def test_what_would_be_ignored_is_refused(version: str, field: str, value: Any) -> None:
    sampling = {"do_sample": True} if field == "watermarking_config" else {}
    try:
        checked(version, {**sampling, field: value})
    except RequestError as error:
        pytest.skip(f"needs a version that has {field}: {error.cause}")
    error = refused(version, {**sampling, field: value, "continuous_batching": {}})
    assert error.cause.startswith(f"pytorch.{field}")
    assert f": would be ignored with {MODE}" in error.cause
    assert error.remedy.startswith(f"remove pytorch.{field}")
    assert f", or {MODE}" in error.remedy


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "pytorch",
    [
        {"eos_token_id": 7},
        {"do_sample": True, "temperature": 0.7, "top_k": 7, "top_p": 0.8, "min_p": 0.1, "typical_p": 0.9},
        {"do_sample": True, "epsilon_cutoff": 3e-4, "eta_cutoff": 6e-4},
        {"suppress_tokens": [7], "renormalize_logits": True, "remove_invalid_values": True},
        {"dtype": "bfloat16", "attn_implementation": "sdpa", "allow_tf32": True, "add_special_tokens": False},
    ],
)
def test_what_acts_is_sent(version: str, pytorch: dict[str, Any]) -> None:
    calls = checked(version, {**pytorch, "continuous_batching": {}})
    assert calls[GENERATION_CONFIG].keys() == {"max_new_tokens", *pytorch} & {*calls[GENERATION_CONFIG]}
    assert GENERATE_BATCH in calls


@pytest.mark.parametrize("kernel", ["paged|sdpa", "sdpa_paged"])
def test_a_kernel_that_reads_pages_needs_the_manager_that_writes_them(kernel: str) -> None:
    error = refused("5.23.0", {"attn_implementation": kernel})
    assert error.cause == (f"pytorch.attn_implementation: {kernel} reads a paged cache, which only {MODE} writes")
    assert error.remedy == f"set {MODE}, or pytorch.attn_implementation to sdpa"
    checked("5.23.0", {"attn_implementation": kernel, "continuous_batching": {}})
    checked("5.23.0", {"attn_implementation": "sdpa"})


def test_the_limit_on_the_least_output_is_named_as_it_was_written() -> None:
    error = refused("5.23.0", {"continuous_batching": {}}, output={"max_tokens": 8, "min_tokens": 4})
    assert error.cause.startswith(f"output.min_tokens: would be ignored with {MODE}")


def test_a_version_in_which_it_acts_is_named() -> None:
    """4.57.6 answers each prompt once; later versions return several sequences."""
    pytorch = {"do_sample": True, "num_return_sequences": 2, "continuous_batching": {}}
    error = refused("4.57.6", pytorch)
    assert error.cause.startswith("pytorch.num_return_sequences: would be ignored")
    assert error.remedy.endswith("versions in which it has an effect: 5.0.0, 5.17.0, 5.19.0, 5.23.0")
    checked("5.0.0", pytorch)


@pytest.fixture
def unruled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the ledger ruled nothing out, like a parameter that only a newer version has."""
    monkeypatch.setattr(ledger, "load", lambda _: ledger.Ledger(()))


@pytest.mark.usefixtures("unruled")
def test_passthrough_is_refused_like_a_field() -> None:
    passthrough = {GENERATION_CONFIG: {"decoder_start_token_id": 2}}
    checked("5.23.0", {}, passthrough=passthrough)
    error = refused("5.23.0", {"continuous_batching": {}}, passthrough=passthrough)
    path = f"passthrough.{GENERATION_CONFIG}.decoder_start_token_id"
    assert error.cause.startswith(f"{path}: would be ignored with {MODE}")


@pytest.mark.usefixtures("unruled")
@pytest.mark.parametrize("entry_point", [GENERATE, AUTOCAST])
def test_passthrough_to_a_call_that_is_not_made_is_refused(entry_point: str) -> None:
    name = {GENERATE: "synced_gpus", AUTOCAST: "cache_enabled"}[entry_point]
    passthrough = {entry_point: {name: True}}
    error = refused("5.23.0", {"continuous_batching": {}}, passthrough=passthrough)
    assert error.cause == (
        f"passthrough.{entry_point}.{name}: would be ignored with {MODE}: there, nothing calls {entry_point}"
    )


def test_passthrough_does_not_switch_autocast_on() -> None:
    passthrough = {AUTOCAST: {"cache_enabled": False}}
    error = refused("5.23.0", {}, passthrough=passthrough)
    assert error.cause == (f"passthrough.{AUTOCAST}.cache_enabled: would switch on pytorch.autocast, which is not set")
    assert checked("5.23.0", {"autocast": "bfloat16"}, passthrough=passthrough)[AUTOCAST]["cache_enabled"] is False
    off = refused("5.23.0", {"autocast": "bfloat16"}, passthrough={AUTOCAST: {"enabled": False}})
    assert off.cause.startswith(f"passthrough.{AUTOCAST}.enabled: cannot be passed through")


@pytest.mark.usefixtures("unruled")
@pytest.mark.parametrize(
    ("entry_point", "name", "mode"),
    [(GENERATE_BATCH, "progress_bar", MODE), (TORCH_COMPILE, "disable", "pytorch.torch_compile")],
)
def test_passthrough_does_not_switch_a_mode_on(entry_point: str, name: str, mode: str) -> None:
    error = refused("5.23.0", {}, passthrough={entry_point: {name: False}})
    assert error.cause == f"passthrough.{entry_point}.{name}: would switch on {mode}, which is not set"
    assert error.remedy.startswith(f"set {mode}")
    section = mode.rpartition(".")[2]
    assert entry_point in checked("5.23.0", {section: {}}, passthrough={entry_point: {name: False}})
