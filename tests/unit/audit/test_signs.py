"""What counts as reading back equal, and what does not."""

from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

from llenergymeasure.audit.signs import MISSING, same, sign_of
from llenergymeasure.config.bindings import Target


class Kind(Enum):
    GEMM = "gemm"


class Dtype:
    def __repr__(self) -> str:
        return "torch.bfloat16"


@pytest.mark.parametrize(
    ("sent", "actual", "equal"),
    [
        (3, 3, True),
        (3, 4, False),
        (True, True, True),
        (True, 1, False),  # an API that keeps a switch as a number was not told the switch
        (1, True, False),
        (0.5, 0.5, True),
        ("gemm", Kind.GEMM, True),
        ("gemv", Kind.GEMM, False),
        (Dtype(), "bfloat16", True),
        (Dtype(), "float16", False),
        ((4, 1.5), [4, 1.5], True),
        ([1, 2], [1], False),
        (7, [7], True),  # an end token that becomes a list of one
        (7, [], False),
        (7, [7, 8], False),
        ({"a": (1, 2)}, {"a": [1, 2]}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ("x", None, False),
        ("x", MISSING, False),
        (None, MISSING, False),
    ],
)
def test_equal_in_the_form_that_an_api_keeps(sent: Any, actual: Any, equal: bool) -> None:
    assert same(sent, actual) is equal


def test_an_attribute_is_read_by_its_name() -> None:
    sign = sign_of(Target("a.B", "bits"))
    assert sign.read(SimpleNamespace(bits=4)) == 4
    assert sign.expect(4) == 4


def test_what_an_object_keeps_elsewhere_is_found_in_its_own_dict() -> None:
    made = SimpleNamespace(to_dict=lambda: {"weights": {"bits": 4}, "name": "x"})
    assert sign_of(Target("a.B", "bits")).read(made) == 4


@pytest.mark.parametrize("made", [SimpleNamespace(), SimpleNamespace(to_dict=dict), None])
def test_a_missing_attribute_is_missing(made: Any) -> None:
    assert sign_of(Target("a.B", "bits")).read(made) is MISSING
