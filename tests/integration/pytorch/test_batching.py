"""Batches on the real API: calls and shapes, and token counts that do not depend on which prompts share a batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.errors import RequestError

from .fixtures_running import MIXED, TEXT, opened, returned, run, run_ids, tokens, watched

Load = Callable[..., Any]


@pytest.mark.field("batch_size", "observed")
@pytest.mark.parametrize(("batch_size", "rows"), [(None, [1, 1, 1, 1]), (1, [1, 1, 1, 1]), (3, [3, 1]), (8, [4])])
def test_number_and_shape_of_calls(load: Load, batch_size: int | None, rows: list[int]) -> None:
    backend = load({} if batch_size is None else {"batch_size": batch_size}, max_tokens=3)
    lengths = [len(ids) for ids in backend.encode(MIXED, chat=False)]
    with watched(backend.model) as seen:
        run(backend, MIXED)
    prompts = [shape for shape in seen.shapes if shape[1] > 1]
    expected = []
    for count in rows:
        expected.append((count, max(lengths[:count])))
        lengths = lengths[count:]
    assert prompts == expected
    assert seen.rows == [count for count in rows for _ in range(3)]


def ends(load: Load) -> tuple[int, list[int]]:
    """An end token that the model writes at different places for different prompts, and the lengths that it leaves."""
    backend = load({}, max_tokens=10)
    answers = tokens(backend, *MIXED)
    common = sorted({token for answer in answers for token in answer})
    cut = {
        token: [answer.index(token) + 1 if token in answer else len(answer) for answer in answers] for token in common
    }
    return max(cut.items(), key=lambda item: len(set(item[1])))


@pytest.mark.parametrize(
    "decoding",
    [
        pytest.param({}, id="greedy"),
        pytest.param({"num_beams": 3, "length_penalty": -2.0}, id="beams"),
        pytest.param({"num_beams": 3, "num_return_sequences": 2, "length_penalty": -2.0}, id="sequences"),
        pytest.param({"pad_token_id": 40}, id="other padding"),
        pytest.param({"cache_implementation": "static"}, id="static cache"),
    ],
)
def test_a_mixed_batch_gives_what_each_prompt_gives_alone(load: Load, decoding: dict[str, Any]) -> None:
    end, lengths = ends(load)
    assert len(set(lengths)) > 1
    section = {"eos_token_id": end, "dtype": "float64", **decoding}
    alone = run(load({**section, "batch_size": 1}, max_tokens=10), MIXED)
    (together,) = run(load({**section, "batch_size": len(MIXED)}, max_tokens=10), MIXED)
    assert [len(prompt.ids) for prompt in together.prompts] == [len(output.prompts[0].ids) for output in alone]
    assert list(together.sequences) == [output.sequences[0] for output in alone]
    assert list(together.finished) == [output.finished[0] for output in alone]
    counts = {len(sequence) for group in together.sequences for sequence in group}
    assert len(counts) > 1
    assert all(end not in sequence[:-1] for group in together.sequences for sequence in group)


def test_a_mixed_batch_with_stop_strings(load: Load) -> None:
    backend = load({}, max_tokens=10)
    answers = tokens(backend, *MIXED)
    texts = [backend.tokenizer.decode(token) for answer in answers for token in answer]
    stop = next(text for text in texts if text.strip().isascii() and text.strip().isprintable() and text.strip())
    section = {"stop_strings": stop, "dtype": "float64"}
    alone = run(load({**section, "batch_size": 1}, max_tokens=10), MIXED)
    (together,) = run(load({**section, "batch_size": len(MIXED)}, max_tokens=10), MIXED)
    assert list(together.sequences) == [output.sequences[0] for output in alone]
    assert min(len(group[0]) for group in together.sequences) < 10
    assert "stop" in together.finished


def test_padding_after_the_end_is_not_counted(load: Load) -> None:
    end, _ = ends(load)
    backend = load({"eos_token_id": end, "batch_size": len(MIXED)}, max_tokens=10)
    with returned(backend.model) as found:
        (output,) = run(backend, MIXED)
    width = max(len(prompt.ids) for prompt in output.prompts)
    padded = [row[width:] for row in found[0].tolist()]
    counts = [len(group[0]) for group in output.sequences]
    assert min(counts) < max(counts) == len(padded[0])
    for row, count in zip(padded, counts, strict=True):
        assert set(row[count:]) <= {backend.tokenizer.pad_token_id}


def test_a_padding_token_that_is_the_end_token_counts_once(load: Load, tmp_path: Path) -> None:
    """Models without a padding token are padded with their end token: the first one ends, the others are filling."""
    end, lengths = ends(load)
    section = {"eos_token_id": end, "pad_token_id": end, "dtype": "float64", "batch_size": len(MIXED)}
    (output,) = run(load(section, max_tokens=10), MIXED)
    assert [len(group[0]) for group in output.sequences] == lengths


@pytest.mark.field("padding", "observed")
@pytest.mark.field("padding_length", "observed")
def test_prompts_are_padded_to_a_length(load: Load) -> None:
    for section, width in (({"padding": "longest"}, 5), ({"padding": "max_length", "padding_length": 40}, 40)):
        backend = load({"batch_size": 2, **section}, max_tokens=2)
        with watched(backend.model) as seen:
            run_ids(backend, (5, 6, 7), (5, 6, 7, 8, 9))
        assert seen.shapes[0] == (2, width)


@pytest.mark.field("pad_to_multiple_of", "observed")
@pytest.mark.parametrize(("multiple", "width"), [(8, 8), (16, 16), (None, 5)])
def test_width_is_rounded_up(load: Load, multiple: int | None, width: int) -> None:
    backend = load({"batch_size": 2, **({"pad_to_multiple_of": multiple} if multiple else {})}, max_tokens=2)
    with watched(backend.model) as seen:
        (output,) = run_ids(backend, (5, 6, 7), (5, 6, 7, 8, 9))
    assert seen.shapes[0] == (2, width)
    assert [len(prompt.ids) for prompt in output.prompts] == [3, 5]


def test_wider_padding_changes_no_answer(load: Load) -> None:
    plain = tokens(load({"dtype": "float64", "batch_size": 4}, max_tokens=6), *MIXED)
    wide = {"dtype": "float64", "batch_size": 4, "padding": "max_length", "padding_length": 100}
    assert tokens(load(wide, max_tokens=6), *MIXED) == plain


@pytest.mark.parametrize("side", ["left", "right"])
def test_input_limit_cuts_each_prompt(tiny_llama: Path, side: str) -> None:
    data = {"prompts": list(MIXED), "pytorch": {}, "input": {"max_tokens": 3, "overflow": f"truncate_{side}"}}
    with opened(tiny_llama, data) as (session, _):
        cut = [prompt.ids for batch in session.batches for prompt in batch.prompts]
        whole = session.backend.encode(MIXED, chat=False)
    assert cut == [tuple(ids[-3:] if side == "left" else ids[:3]) for ids in whole]


def test_a_prompt_above_the_limit_is_refused(tiny_llama: Path) -> None:
    data = {"pytorch": {}, "input": {"max_tokens": 3}}
    with (
        pytest.raises(RequestError, match=r"prompt 1 has \d+ tokens, and input\.max_tokens is 3"),
        opened(tiny_llama, data),
    ):
        pass


def test_a_prompt_above_the_models_context_is_refused(tiny_llama: Path) -> None:
    data = {"pytorch": {}, "prompts": [TEXT, "word " * 600]}
    with pytest.raises(RequestError, match=r"prompt 2 has .* context of 512"), opened(tiny_llama, data):
        pass
