"""Prompts from files, made-up prompts of exact lengths, and the cutting and dealing out that every backend shares."""

import difflib
import json
import random
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

from llenergymeasure.config.files import decoded, read_file
from llenergymeasure.config.origin import one_line
from llenergymeasure.errors import RequestError

T = TypeVar("T")
LARGEST_MIB = 1024
_REMEDY = "check the name; a single prompt is written as a list of one"
Side = Literal["left", "right", "error"]


def read_text_prompts(path: Path) -> list[str]:
    r"""One prompt a line, kept as it stands but for the line's end; blank lines are skipped.

    Only `\n` and `\r\n` end a line: other separators that Unicode knows may be part of a prompt.

    Raises:
        RequestError: the file is missing, a folder, unreadable, not UTF-8, or holds no prompt.
    """
    return [line for _, line in _filled_lines(path)]


def read_jsonl_prompts(path: Path, key: str = "prompt") -> list[str]:
    """The text under `key` in each line's JSON object; blank lines are skipped, other keys are not looked at.

    Raises:
        RequestError: as for text files; or a line is not a JSON object, lacks the key, or has no text under it.
    """
    return [_prompt_of(path, number, line, key) for number, line in _filled_lines(path)]


def synthetic_token_ids(
    lengths: Sequence[int], vocab_size: int, forbidden: Collection[int], seed: int
) -> list[list[int]]:
    """Random prompts of exactly the given numbers of tokens; the same arguments give the same ids everywhere.

    Hand the ids to the backend as they are: decoded and tokenised again, they seldom keep their number.

    Args:
        lengths: tokens of each prompt.
        vocab_size: ids are drawn from 0 up to, not including, this.
        forbidden: ids never drawn, such as the tokenizer's special tokens.
        seed: zero or more.

    Raises:
        RequestError: a length below 1, a negative seed, or no id left to draw.
    """
    for number, length in enumerate(lengths, 1):
        if length < 1:
            raise RequestError(
                f"synthetic prompt {number} has a length of {length} tokens", "Give every prompt at least 1 token."
            )
    if seed < 0:
        raise RequestError(f"the seed of synthetic prompts is {seed}", "Give a seed of 0 or more.")
    barred = set(forbidden)
    allowed = [token for token in range(vocab_size) if token not in barred]
    if not allowed:
        raise RequestError(
            f"synthetic prompts have no token to draw from: all {vocab_size} ids of the vocabulary are special",
            "Use a model with an ordinary vocabulary, or prompts from a file.",
        )
    # Of all the generator's methods, Python promises the same numbers across versions for random() alone.
    draw = random.Random(seed).random  # noqa: S311 - a workload, not a secret
    return [[allowed[int(draw() * len(allowed))] for _ in range(length)] for length in lengths]


def truncate(ids: Sequence[int], limit: int, side: Side, where: str) -> list[int]:
    """At most `limit` tokens of a prompt.

    The tool cuts before any backend sees the prompt, so the workload is the same on all of them. Tokens that must stay,
    such as a beginning-of-text token, are added by the caller afterwards and taken off `limit` before.

    Args:
        ids: the prompt's tokens.
        limit: one or more.
        side: where tokens are removed: "left" keeps the last ones, "right" the first ones, "error" refuses to cut.
        where: the prompt as the user would find it, such as `prompt 3 of questions.txt`; for the error.

    Raises:
        RequestError: the prompt is too long and `side` is "error".
    """
    if limit < 1:
        raise ValueError(f"a prompt cannot be cut to {limit} tokens")
    if len(ids) <= limit:
        return list(ids)
    if side == "left":
        return list(ids[-limit:])
    if side == "right":
        return list(ids[:limit])
    if side == "error":
        raise RequestError(
            f"{where} has {len(ids)} tokens and the limit is {limit}",
            'Raise the limit, shorten the prompt, or choose a side to cut: "left" keeps its end, "right" its start.',
        )
    raise ValueError(f"unknown side {side!r}")


def split(items: Sequence[T], parts: int) -> list[list[tuple[int, T]]]:
    """Items dealt out in runs whose sizes differ by one at most, each item with its index in `items`.

    Runs, not turns: neighbours stay together, so that a replica's batches are those that one process would have made
    and pad the same, as far as the sizes allow. With more parts than items, the last parts are empty.
    """
    if parts < 1:
        raise ValueError(f"items cannot be split into {parts} parts")
    size, longer = divmod(len(items), parts)
    indexed = list(enumerate(items))
    starts = [part * size + min(part, longer) for part in range(parts + 1)]
    return [indexed[start:end] for start, end in pairwise(starts)]


def merge(parts: Iterable[Iterable[tuple[int, T]]]) -> list[T]:
    """Results in the order of the items that `split` dealt out, whichever part came home first.

    Raises:
        ValueError: an index is missing or there twice: a replica lost or repeated work.
    """
    found = sorted(((index, item) for part in parts for index, item in part), key=lambda pair: pair[0])
    for expected, (index, _) in enumerate(found):
        if index != expected:
            raise ValueError(f"result {min(index, expected)} is {'missing' if index > expected else 'there twice'}")
    return [item for _, item in found]


def _filled_lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, each with its number in the file."""
    text = decoded(path, read_file(path, LARGEST_MIB, _REMEDY))
    lines = [(number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), 1)]
    filled = [(number, line) for number, line in lines if line.strip()]
    if not filled:
        raise RequestError(f"{path}: holds no prompt", "write one prompt a line")
    return filled


def _prompt_of(path: Path, number: int, line: str, key: str) -> str:
    where = f"{path}:{number}"
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise RequestError(f"{where}:{error.colno}: not JSON ({error.msg})", "Write one JSON object a line.") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise RequestError(f"{where}: not JSON that can be read", "Write one JSON object a line.") from None
    if not isinstance(entry, dict):
        raise RequestError(f"{where}: {_kind(entry)} instead of an object", f'Write {{"{key}": "..."}}.')
    if key not in entry:
        nearest = difflib.get_close_matches(key, entry, n=1)
        advice = (
            f'Did you mean the key "{nearest[0]}"?'
            if nearest
            else f"Its keys are {one_line(', '.join(entry) or 'none')}; name one of them."
        )
        raise RequestError(f'{where}: no key "{key}"', advice)
    prompt = entry[key]
    if not isinstance(prompt, str):
        raise RequestError(f'{where}: "{key}" is {_kind(prompt)}', "Give the prompt as a string.")
    if not prompt.strip():
        raise RequestError(f'{where}: "{key}" is blank', "Give it a text or take the line out.")
    if not _is_text(prompt):
        raise RequestError(
            f'{where}: "{key}" holds half of a surrogate pair', "Write the character itself, or both halves."
        )
    return prompt


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_text(value: str) -> bool:
    """Whether it can be encoded: JSON's escapes can spell what no tokenizer takes."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
