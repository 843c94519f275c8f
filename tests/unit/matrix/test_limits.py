import dataclasses
from collections.abc import Callable
from dataclasses import fields

import pytest

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix import limits
from llenergymeasure.matrix.limits import GIB, Limits
from llenergymeasure.matrix.records import CellRecord, from_json, to_json
from llenergymeasure.matrix.spec import Cell, loads

CELL = """
[defaults.pytorch]
package = "transformers"
platform = "cpu"
python = "3.11"
limits = {shm_gib = 2}

[[cell]]
backend = "pytorch"
version = "5.23.0"
"""


def test_a_cell_says_its_limits_or_takes_those_of_its_backend() -> None:
    [first] = loads(CELL).cells
    assert limits.of(first.limits) == Limits(shm_gib=2)
    [second] = loads(CELL + "[cell.limits]\nmemory_gib = 1.5\nprocesses = 100\n").cells
    assert limits.of(second.limits) == Limits(memory_gib=1.5, processes=100)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("limits = 3", "limits is not a table"),
        ("limits = {memory = 3}", "unknown limit 'memory'"),
        ("limits = {memory_gib = 0}", "memory_gib is not a number of GiB above 0: 0"),
        ("limits = {memory_gib = -1}", "above 0: -1"),
        ('limits = {memory_gib = "3"}', "above 0: '3'"),
        ("limits = {memory_gib = inf}", "above 0: inf"),
        ("limits = {memory_gib = nan}", "above 0: nan"),
        ("limits = {processes = true}", "processes is not a whole number above 0: True"),
        ("limits = {processes = 1.5}", "above 0: 1.5"),
    ],
)
def test_what_is_no_limit_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        loads(CELL + text)
    assert caught.value.cause.startswith("matrix.toml:11: ")
    assert words in caught.value.cause


def test_the_nearest_limit_is_named() -> None:
    with pytest.raises(RequestError, match="did you mean 'memory_gib'"):
        loads(CELL + "limits = {memory_gb = 3}")


def test_memory_is_the_cells_or_its_share_of_the_machine() -> None:
    assert Limits(memory_gib=2).memory_bytes(64 * GIB, jobs=4) == 2 * GIB
    assert Limits().memory_bytes(100, jobs=1) == 90
    assert Limits().memory_bytes(100, jobs=3) == 30


def test_every_limit_is_a_key_of_matrix_toml() -> None:
    given = {field.name: 7 for field in fields(Limits)}
    text = ", ".join(f"{name} = {value}" for name, value in given.items())
    [cell] = loads(CELL + f"limits = {{{text}}}").cells
    assert limits.of(cell.limits) == Limits(**given)  # type: ignore[arg-type]


def test_a_record_keeps_them_and_one_without_reads_as_before(make_record: Callable[..., CellRecord]) -> None:
    record = make_record()
    assert '"limits"' not in to_json(record)
    cell: Cell = dataclasses.replace(record.cell, limits={"memory_gib": 2})
    changed = dataclasses.replace(record, cell=cell)
    assert from_json(to_json(changed)) == changed
