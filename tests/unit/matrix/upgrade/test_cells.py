from collections.abc import Callable
from dataclasses import replace

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.spec import Cell, Spec
from llenergymeasure.matrix.upgrade.cells import Pair, pair, pinned
from llenergymeasure.matrix.upgrade.wheel import Wants

MakeCell = Callable[..., Cell]


def paired(cell: Cell, *requires: str, python: str = "", spec: tuple[Cell, ...] = ()) -> Pair:
    wants = Wants(tuple(Requirement(item) for item in requires), SpecifierSet(python))
    return pair(Spec((cell, *spec)), cell, "9.0.0", wants)


def test_the_new_cell_is_the_old_one_with_the_new_version(cell: Cell) -> None:
    cell = replace(cell, requirements=("peft==0.21.2",), environment={"A": "1"}, deadline_s=99.0)
    found = paired(cell, "numpy>=2", "torch>=2.4; extra == 'torch'", python=">=3.10.0")
    assert found.new == replace(cell, version="9.0.0")
    assert found.notes == ()


@pytest.mark.parametrize(
    ("requires", "torch"),
    [
        ("torch==2.14.0", "2.14.0"),
        ("torch==2.14.0+cpu", "2.14.0"),
        ("torch==2.13.0+cpu", "2.13.0"),
        ("torch>=2.14", "2.14"),
        ("torch>=2.14,!=2.15.0; extra == 'torch'", "2.14"),
        ("torch>=2.14; extra == 'testing'", "2.13.0"),
        ("torch>=2.14; python_version < '3.10'", "2.13.0"),
        ("torch<2.13", "2.13.0"),
    ],
)
def test_torch_is_what_the_package_itself_asks_for(cell: Cell, requires: str, torch: str) -> None:
    found = paired(cell, requires)
    assert found.new.torch == torch
    assert bool(found.notes) == (torch != "2.13.0" or requires == "torch<2.13")
    assert all(requires.partition(";")[0].replace(",", "").strip()[:5] in note for note in found.notes)


def test_so_are_pinned_requirements_and_python(cell: Cell) -> None:
    cell = replace(cell, requirements=("accelerate==1.15.0", "pytest==9.2.0", "gguf>=0.17"))
    found = paired(
        cell,
        *("accelerate>=1.20; extra == 'accelerate'", "pytest<9; extra == 'testing'", "gguf>=0.20; extra == 'gguf'"),
        python=">=3.12",
    )
    assert found.new.requirements == ("accelerate==1.20", "pytest==9.2.0", "gguf>=0.17")
    assert found.new.python == "3.12"
    assert [note.split(":")[0] for note in found.notes] == ["Python 3.11 → 3.12", "accelerate 1.15.0 → 1.20"]


def test_what_is_not_required_any_more_is_not_left_out(cell: Cell) -> None:
    found = paired(replace(cell, without=("torchvision", "torchaudio")), "torchaudio")
    assert found.new.without == ("torchaudio",)
    assert "torchvision" in found.notes[0]


def test_a_pinned_cell_of_the_new_version_is_taken_as_it_is(cell: Cell) -> None:
    own = replace(cell, version="9.0.0", torch="2.14.0")
    found = paired(cell, "torch==2.15.0", spec=(own,))
    assert found.new is own
    assert found.notes[1:] == ("torch: 2.13.0 → 2.14.0",)


def test_cells_of_the_old_version_are_those_that_are_pinned(make_cell: MakeCell) -> None:
    spec = Spec((make_cell("1.0", "vllm", "cpu"), make_cell("1.0", "vllm", "cuda"), make_cell("2.0", "vllm", "cuda")))
    assert [cell.platform for cell in pinned(spec, "vllm", "1.0")] == ["cpu", "cuda"]
    assert [cell.platform for cell in pinned(spec, "vllm", "1.0", "cuda")] == ["cuda"]
    with pytest.raises(
        RequestError, match=r"vllm 2\.0: no cell of it on cpu(.|\n)*has a cell \(1\.0\), or add --static"
    ):
        pinned(spec, "vllm", "2.0", "cpu")
