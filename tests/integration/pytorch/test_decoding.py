"""What the decoding options do: how many tokens, how many sequences, when generation ends, what is returned."""

from collections.abc import Callable
from typing import Any

import pytest

from .fixtures_running import MIXED, TEXT, returned, run, run_ids, tokens, watched

Load = Callable[..., Any]


@pytest.mark.field("output.max_tokens", "observed")
@pytest.mark.parametrize("limit", [1, 5])
def test_most_tokens(load: Load, limit: int) -> None:
    (output,) = run(load({}, max_tokens=limit))
    assert len(output.sequences[0][0]) == limit
    assert output.finished == ("length",)


@pytest.mark.field("min_new_tokens", "observed")
@pytest.mark.field("min_length", "observed")
@pytest.mark.field("output.min_tokens", "observed")
@pytest.mark.parametrize("how", ["min_new_tokens", "min_length", "min_tokens"])
def test_end_token_counts_only_after_the_minimum(load: Load, how: str) -> None:
    (first, *_), prompt = tokens(load({})), len(load({}).encode([TEXT], chat=False)[0])
    end = {"eos_token_id": first[0]}
    assert len(tokens(load(end, max_tokens=6))[0]) == 1
    if how == "min_tokens":
        backend = load(end, output={"max_tokens": 6, "min_tokens": 4})
    else:
        backend = load({**end, how: 4 if how == "min_new_tokens" else prompt + 4}, max_tokens=6)
    assert first[0] not in tokens(backend)[0][:4]
    assert len(tokens(backend)[0]) >= 4


@pytest.mark.field("eos_token_id", "observed")
def test_end_token(load: Load) -> None:
    (free,) = tokens(load({}, max_tokens=8))
    end = free[3]
    (output,) = run(load({"eos_token_id": [end, 319]}, max_tokens=8))
    assert output.sequences[0][0] == free[: free.index(end) + 1]
    assert output.finished == ("stop",)


@pytest.mark.field("max_time", "observed")
def test_time_limit(load: Load) -> None:
    for limit_s, count, reason in ((1e-9, 1, "time"), (1e6, 8, "length")):
        (output,) = run(load({"max_time": limit_s}, max_tokens=8))
        assert (len(output.sequences[0][0]), output.finished) == (count, (reason,))


@pytest.mark.field("stop_strings", "observed")
def test_stop_string(load: Load) -> None:
    backend = load({}, max_tokens=8)
    text, free = next(
        (piece, answer)
        for answer in tokens(backend, *MIXED)
        for token in answer[:6]
        if (piece := backend.tokenizer.decode(token)).strip() and piece.isascii() and piece.isprintable()
    )
    prompt = MIXED[tokens(backend, *MIXED).index(free)]
    (output,) = run(load({"stop_strings": [text]}, max_tokens=8), [prompt])
    (answer,) = output.sequences[0]
    assert answer == free[: len(answer)]
    assert len(answer) < 8
    assert text in backend.tokenizer.decode(answer)
    assert output.finished == ("stop",)


@pytest.mark.field("pad_token_id", "observed")
@pytest.mark.parametrize("padding", [40, 41])
def test_rows_that_ended_are_filled(load: Load, padding: int) -> None:
    answers = tokens(load({}, max_tokens=8), *MIXED)
    end = answers[0][1]
    backend = load({"eos_token_id": end, "pad_token_id": padding, "batch_size": 4}, max_tokens=8)
    with returned(backend.model) as found:
        (output,) = run(backend, MIXED)
    counts = [len(group[0]) for group in output.sequences]
    generated = [row[-max(counts) :] for row in found[0].tolist()]
    filling = {token for row, count in zip(generated, counts, strict=True) for token in row[count:]}
    assert filling == {padding}


@pytest.mark.field("num_beams", "observed")
@pytest.mark.parametrize("beams", [1, 2, 3])
def test_beams_share_each_call(load: Load, beams: int) -> None:
    backend = load({"num_beams": beams, "batch_size": 2})
    with watched(backend.model) as seen:
        run_ids(backend, (5, 6, 7), (8, 9))
    assert max(seen.rows) == 2 * beams


@pytest.mark.field("num_return_sequences", "observed")
@pytest.mark.parametrize("section", [{"num_beams": 3}, {"do_sample": True}])
def test_sequences_per_prompt(load: Load, section: dict[str, Any]) -> None:
    backend = load({**section, "num_return_sequences": 2, "batch_size": 2})
    (output,) = run_ids(backend, (5, 6, 7), (8, 9))
    assert [len(group) for group in output.sequences] == [2, 2]


def many_ends(load: Load) -> list[int]:
    """End tokens that beams reach soon: what greedy decoding generates, from its second token on."""
    return sorted({token for answer in tokens(load({}, max_tokens=12), *MIXED) for token in answer[1:]})


@pytest.mark.field("early_stopping", "observed")
def test_beam_search_ends_at_the_first_candidates(load: Load) -> None:
    steps = {}
    for early in (True, "never"):
        section = {"num_beams": 2, "early_stopping": early, "length_penalty": 3.0, "eos_token_id": many_ends(load)}
        backend = load(section, max_tokens=12)
        with watched(backend.model) as seen:
            tokens(backend, MIXED[1])
        steps[early] = len(seen.shapes)
    assert steps[True] < steps["never"] == 12


@pytest.mark.field("length_penalty", "observed")
def test_length_decides_between_beams(load: Load) -> None:
    ends = many_ends(load)[::3]
    short, long = (
        sum(len(answer) for answer in tokens(load(section, max_tokens=12), *MIXED))
        for section in (
            {"num_beams": 4, "length_penalty": penalty, "eos_token_id": ends, "early_stopping": "never"}
            for penalty in (-20.0, 20.0)
        )
    )
    assert short < long


NO_CHUNKS = pytest.mark.xfail_upstream("prefill chunks raise ValueError: no cache was made before them", only="5.0.0")


@pytest.mark.field("prefill_chunk_size", "observed")
@pytest.mark.parametrize(("size", "widest"), [pytest.param(4, 4, marks=NO_CHUNKS), (None, 11)])
def test_prompt_is_processed_in_chunks(load: Load, size: int | None, widest: int) -> None:
    backend = load({"prefill_chunk_size": size} if size else {}, max_tokens=2)
    with watched(backend.model.model) as seen:
        run_ids(backend, range(5, 16))
    assert max(seen.widths) == widest
    assert sum(seen.widths) == 11 + 1  # every token of the prompt once, and the first generated one


def test_a_stop_string_that_begins_in_the_prompt_ends_there(load: Load) -> None:
    backend = load({}, max_tokens=8)
    (first, *_) = tokens(backend, TEXT)[0]
    stop = TEXT[-2:] + backend.tokenizer.decode([first])
    for pad in (backend.model.generation_config.eos_token_id, 9):
        stopping = load({"stop_strings": [stop], "pad_token_id": pad, "batch_size": 2}, max_tokens=8)
        (output,) = run(stopping, [TEXT, "Die"])
        assert output.sequences[0][0] == (first,)
        assert output.finished[0] == "stop"


@pytest.mark.parametrize("section", [{"max_time": 100.0}, {"stop_strings": ["zzz"]}], ids=["time", "stop string"])
def test_a_padding_token_that_the_model_generates_counts(load: Load, section: dict[str, Any]) -> None:
    backend = load({"sequence_bias": [([2], 1e4)], **section}, max_tokens=5)
    (output,) = run(backend)
    assert (output.sequences[0][0], output.finished) == ((2,) * 5, ("length",))


@pytest.mark.field("token_healing", "observed")
def test_last_prompt_token_is_healed(load: Load) -> None:
    counts = {}
    for healing in (True, False):
        backend = load({"token_healing": healing}, max_tokens=3)
        with watched(backend.model) as seen:
            (answer,) = tokens(backend, "The we")
        assert len(answer) == 3
        counts[healing] = len(seen.shapes)
    assert counts == {True: 4, False: 3}  # one search more, for the healed token


@pytest.mark.field("token_healing", "observed")
def test_healing_a_mixed_batch_counts_right(load: Load) -> None:
    texts = ["The we", "many prompts er"]
    alone = tokens(load({"token_healing": True, "dtype": "float64"}, max_tokens=3), *texts)
    together = tokens(load({"token_healing": True, "dtype": "float64", "batch_size": 2}, max_tokens=3), *texts)
    assert together == alone


@pytest.mark.field("token_healing", "observed")
@pytest.mark.parametrize("text", ["The energy    ", "The we", "many prompts er "])
def test_healing_that_changes_the_prompts_length_counts_right(load: Load, text: str) -> None:
    backend = load({"token_healing": True}, max_tokens=3)
    with returned(backend.model) as found:
        (answer,) = tokens(backend, text)
    assert answer == tuple(found[-1][0].tolist()[-3:])


@pytest.mark.field("return_dict_in_generate", "observed")
@pytest.mark.parametrize("wanted", [True, False])
def test_answer_is_an_object(load: Load, wanted: bool) -> None:
    backend = load({"return_dict_in_generate": wanted})
    with returned(backend.model) as found:
        (answer,) = tokens(backend)
    assert hasattr(found[0], "sequences") is wanted
    assert len(answer) == 4


@pytest.mark.field("output_scores", "observed")
@pytest.mark.field("output_logits", "observed")
@pytest.mark.field("output_attentions", "observed")
@pytest.mark.field("output_hidden_states", "observed")
@pytest.mark.parametrize("name", ["scores", "logits", "attentions", "hidden_states"])
def test_steps_are_kept(load: Load, name: str) -> None:
    section = {"return_dict_in_generate": True, "attn_implementation": "eager"}
    for options, steps in (({f"output_{name}": True}, 4), ({}, 0)):
        backend = load({**section, **options})
        with returned(backend.model) as found:
            run(backend)
        assert len(getattr(found[0], name) or ()) == steps
