from pathlib import Path

import pytest

from llenergymeasure.core.prompts import (
    merge,
    read_jsonl_prompts,
    read_text_prompts,
    split,
    synthetic_token_ids,
    truncate,
)
from llenergymeasure.errors import RequestError


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "prompts.txt"
    path.write_bytes(data)
    return path


def test_a_text_file_gives_one_prompt_a_line_as_it_stands(tmp_path: Path) -> None:
    data = "\ufeff  Erste Frage?\r\n\r\n \t\nA\u2028B\x0cC\nlast without newline".encode()

    assert read_text_prompts(_file(tmp_path, data)) == ["  Erste Frage?", "A\u2028B\x0cC", "last without newline"]


@pytest.mark.parametrize(
    ("data", "cause", "remedy"),
    [
        pytest.param(b"", "holds no prompt", "one prompt a line", id="empty"),
        pytest.param(b" \n\n\t\r\n", "holds no prompt", "one prompt a line", id="only blank lines"),
        pytest.param(b"\xef\xbb\xbf\n", "holds no prompt", "one prompt a line", id="only a byte order mark"),
        pytest.param(b"fine\ncaf\xe9 au lait\n", ":2: not UTF-8: byte 0xe9 at offset 8", "WINDOWS-1252", id="latin-1"),
        pytest.param(
            b"\xef\xbb\xbfa\n\xff", ":2: not UTF-8: byte 0xff at offset 5", "WINDOWS-1252", id="offset counts the mark"
        ),
        pytest.param("Hello".encode("utf-16"), ":1: not UTF-8: byte 0xff at offset 0", "UTF-16", id="utf-16"),
    ],
)
def test_a_text_file_without_readable_prompts_is_refused(tmp_path: Path, data: bytes, cause: str, remedy: str) -> None:
    path = _file(tmp_path, data)

    with pytest.raises(RequestError) as caught:
        read_text_prompts(path)

    assert str(path) in caught.value.cause
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("read", [read_text_prompts, read_jsonl_prompts])
def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path: Path, read: object) -> None:
    _file(tmp_path, b"hello")

    with pytest.raises(RequestError, match="no such file") as caught:
        read(tmp_path / "promts.txt")  # type: ignore[operator]

    assert f"did you mean {tmp_path / 'prompts.txt'}?" in caught.value.remedy


def test_a_missing_file_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file") as caught:
        read_text_prompts(tmp_path / "nowhere" / "prompts.txt")

    assert f"there is no folder {tmp_path / 'nowhere'}" in caught.value.remedy


def test_a_folder_is_no_prompts_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is a folder"):
        read_text_prompts(tmp_path)


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot be read \(Not a directory\)"):
        read_text_prompts(_file(tmp_path, b"hello") / "inside.txt")


def test_jsonl_gives_the_text_under_the_key(tmp_path: Path) -> None:
    data = b'{"prompt": "one\\ntwo", "id": 1}\n\n{"id": 2, "prompt": "drei \\ud83d\\ude00"}\r\n'

    assert read_jsonl_prompts(_file(tmp_path, data)) == ["one\ntwo", "drei \U0001f600"]
    assert read_jsonl_prompts(_file(tmp_path, b'{"question": "why?"}'), key="question") == ["why?"]


@pytest.mark.parametrize(
    ("line", "cause", "remedy"),
    [
        pytest.param('{"prompt": "a"', ":3:15: not JSON", "one JSON object a line", id="not JSON"),
        pytest.param("[" * 100_000, ":3: not JSON", "one JSON object a line", id="too deep"),
        pytest.param('{"prompt": ' + "1" * 10_000 + "}", ":3: not JSON", "one JSON object a line", id="huge number"),
        pytest.param('["a"]', ":3: an array instead of an object", '{"prompt": "..."}', id="not an object"),
        pytest.param('{"promt": "a"}', ':3: no key "prompt"', 'Did you mean the key "promt"?', id="misspelt key"),
        pytest.param('{"id": 1, "x": 2}', ':3: no key "prompt"', "Its keys are id, x", id="other keys"),
        pytest.param("{}", ':3: no key "prompt"', "Its keys are none", id="no keys"),
        pytest.param('{"prompt": 5}', ':3: "prompt" is a number', "as a string", id="number"),
        pytest.param('{"prompt": true}', ':3: "prompt" is true or false', "as a string", id="boolean"),
        pytest.param('{"prompt": null}', ':3: "prompt" is null', "as a string", id="null"),
        pytest.param('{"prompt": ["a"]}', ':3: "prompt" is an array', "as a string", id="array"),
        pytest.param('{"prompt": " "}', ':3: "prompt" is blank', "take the line out", id="blank"),
        pytest.param('{"prompt": "\\ud83d"}', ':3: "prompt" holds half of a surrogate', "both halves", id="surrogate"),
    ],
)
def test_a_bad_jsonl_line_is_named(tmp_path: Path, line: str, cause: str, remedy: str) -> None:
    path = _file(tmp_path, f'{{"prompt": "fine"}}\n\n{line}\n'.encode())

    with pytest.raises(RequestError) as caught:
        read_jsonl_prompts(path)

    assert str(path) in caught.value.cause
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


def test_an_empty_jsonl_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no prompt"):
        read_jsonl_prompts(_file(tmp_path, b"\n"))


def test_synthetic_prompts_have_the_lengths_and_only_allowed_ids() -> None:
    prompts = synthetic_token_ids([1, 500, 3], vocab_size=10, forbidden={0, 9, 77}, seed=0)

    assert [len(ids) for ids in prompts] == [1, 500, 3]
    assert {token for ids in prompts for token in ids} == {1, 2, 3, 4, 5, 6, 7, 8}


def test_synthetic_prompts_are_the_same_everywhere() -> None:
    # Python's generator, seeded with 0, begins 0.844, 0.758, 0.421: of ten allowed ids, those at 8, 7 and 4.
    assert synthetic_token_ids([2, 1], vocab_size=11, forbidden=[0], seed=0) == [[9, 8], [5]]


def test_the_seed_changes_synthetic_prompts() -> None:
    first, again, other = (synthetic_token_ids([40], 1000, (), seed) for seed in (1, 1, 2))

    assert first == again != other


@pytest.mark.parametrize(
    ("lengths", "vocab_size", "forbidden", "seed", "cause"),
    [
        ([4, 0], 10, [], 0, "synthetic prompt 2 has a length of 0 tokens"),
        ([4], 2, [0, 1], 0, "all 2 ids of the vocabulary are special"),
        ([4], 0, [], 0, "no token to draw from"),
        ([4], 10, [], -1, "the seed of synthetic prompts is -1"),
    ],
)
def test_impossible_synthetic_prompts_are_refused(
    lengths: list[int], vocab_size: int, forbidden: list[int], seed: int, cause: str
) -> None:
    with pytest.raises(RequestError, match=cause):
        synthetic_token_ids(lengths, vocab_size, forbidden, seed)


@pytest.mark.parametrize(
    ("limit", "side", "kept"),
    [
        (3, "left", [3, 4, 5]),
        (3, "right", [1, 2, 3]),
        (5, "left", [1, 2, 3, 4, 5]),
        (5, "right", [1, 2, 3, 4, 5]),
        (5, "error", [1, 2, 3, 4, 5]),
        (1, "left", [5]),
    ],
)
def test_truncation_keeps_the_other_side(limit: int, side: str, kept: list[int]) -> None:
    assert truncate([1, 2, 3, 4, 5], limit, side, "prompt 1") == kept  # type: ignore[arg-type]


def test_a_prompt_over_the_limit_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match=r"prompt 7 of questions\.txt has 3 tokens and the limit is 2") as caught:
        truncate([1, 2, 3], 2, "error", "prompt 7 of questions.txt")

    assert "Raise the limit" in caught.value.remedy


@pytest.mark.parametrize(("limit", "side"), [(0, "left"), (2, "middle")])
def test_truncation_that_means_nothing_is_a_mistake_in_the_code(limit: int, side: str) -> None:
    with pytest.raises(ValueError, match=r"cut to 0 tokens|unknown side"):
        truncate([1, 2, 3], limit, side, "prompt 1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("items", "parts", "dealt"),
    [
        ("abcde", 2, [[(0, "a"), (1, "b"), (2, "c")], [(3, "d"), (4, "e")]]),
        ("abcde", 3, [[(0, "a"), (1, "b")], [(2, "c"), (3, "d")], [(4, "e")]]),
        ("ab", 3, [[(0, "a")], [(1, "b")], []]),
        ("ab", 1, [[(0, "a"), (1, "b")]]),
        ("", 2, [[], []]),
    ],
)
def test_items_are_dealt_out_in_nearly_equal_runs(items: str, parts: int, dealt: list[list[tuple[int, str]]]) -> None:
    assert split(items, parts) == dealt


def test_no_parts_is_a_mistake_in_the_code() -> None:
    with pytest.raises(ValueError, match="0 parts"):
        split("ab", 0)


def test_results_merge_in_the_order_of_the_items() -> None:
    assert merge([[(3, "d"), (2, "c")], [], [(0, "a"), (1, "b")]]) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([[(0, "a")], [(2, "c")]], "result 1 is missing"),
        ([[(1, "b")]], "result 0 is missing"),
        ([[(0, "a"), (1, "b")], [(1, "b")]], "result 1 is there twice"),
    ],
)
def test_lost_or_repeated_results_do_not_pass(parts: list[list[tuple[int, str]]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge(parts)
