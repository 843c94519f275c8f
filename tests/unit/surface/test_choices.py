"""Which values a parameter allows, in the shapes that vLLM declares them."""

from typing import Any

import pytest

from llenergymeasure.surface import snapshots

from .package import constructor

KINDS = '''
class Mode(enum.IntEnum):
    NONE = 0
    """No compilation."""
    COMPILE = 3

class Graphs(enum.Enum):
    NONE = 0
    FULL = 2
    FULL_DECODE_ONLY = (FULL, NONE)

class Backend(Enum, metaclass=_Meta):
    FLASH = "pack.flash.FlashBackend"
    SDPA = ""  # for pictures only
    CUSTOM = None
    _hidden = 1

class Paths(Enum):
    A = "pack.a.A"
    B = "pack.b.B"

class Words(Enum):
    TRITON = "triton"
    CPU = "cpu"

class Shapes(str, enum.Enum):
    BACKED = "backed"

NAMES: dict[str, Key] = {"fp8_static": k8, "mxfp4": k4}

def _coerce(value):
    return NAMES[value]

KeyField = Annotated[Key | None, Schema(lambda s, h: plain(_coerce))]
'''
LOOK_UP = """
    @field_validator("a", mode="before")
    @classmethod
    def parse(cls, value):
        if isinstance(value, str):
            return Mode[value.upper()]
        return value
"""
AUTO = """
    @field_validator("b", "a", mode="before")
    @classmethod
    def parse(cls, value):
        if isinstance(value, str):
            if value.lower() == "auto":
                return None
            return Backend[value.upper()]
        return value
"""
REFUSED = """
    @field_validator("a", mode="before")
    @classmethod
    def parse(cls, value):
        if value == "gone":
            raise ValueError
        return value
"""


@pytest.mark.parametrize(
    ("field", "validators", "expected"),
    [
        ("a: Graphs | None = None", "", ("NONE", "FULL", "FULL_DECODE_ONLY")),
        ("a: Optional[Graphs] = None", "", ("NONE", "FULL", "FULL_DECODE_ONLY")),
        ("a: Backend | None = None", "", ("FLASH", "SDPA", "CUSTOM")),
        ("a: Words = Words.CPU", "", ("triton", "cpu")),
        ("a: Paths = Paths.A", "", ("A", "B")),
        ("a: Shapes = Shapes.BACKED", "", ("backed",)),
        ("a: Mode = Mode.NONE", "", (0, 3)),
        ("a: Mode | Literal['fast']", "", (0, 3, "fast")),
        ("a: Graphs | str", "", ()),
        ("a: dict[str, Graphs]", "", ()),
        ("a: Literal['x', 'y', 'x'] | None = None", "", ("x", "y")),
        ("a: Literal['x'] | str = 'x'", "", ()),
        ("a: KeyField = None", "", ("fp8_static", "mxfp4")),
        ("a: Key | None = None", "", ()),
        pytest.param("a: Mode = Mode.NONE", LOOK_UP, (0, 3, "NONE", "COMPILE"), id="numbers that have names, too"),
        pytest.param(
            "a: Words = Words.CPU", LOOK_UP.replace("Mode", "Words"), ("triton", "cpu"), id="but for capitals"
        ),
        pytest.param("a: Backend = None", AUTO, ("FLASH", "SDPA", "CUSTOM", "auto"), id="a word of the validator"),
        pytest.param("a: str = None", AUTO, (), id="a word beside any text"),
        pytest.param("a: Backend = None", REFUSED, ("FLASH", "SDPA", "CUSTOM"), id="a word that it refuses"),
        pytest.param("c: Backend = None", AUTO, ("FLASH", "SDPA", "CUSTOM"), id="another field's validator"),
    ],
)
def test_values_that_a_field_takes(field: str, validators: str, expected: tuple[Any, ...]) -> None:
    read = constructor(f"{KINDS}\n@config\nclass C:\n    {field}\n{validators}")
    assert next(iter(read.parameters.values())).choices == expected


def test_a_field_takes_the_words_of_the_one_whose_default_it_takes() -> None:
    other = f"@config\nclass Other:\n    a: Backend | None = None\n{AUTO}"
    read = constructor(f"{KINDS}\n{other}\n@dataclass\nclass C:\n    backend: Backend | None = Other.a\n")
    assert read.parameters["backend"].choices == ("FLASH", "SDPA", "CUSTOM", "auto")


@pytest.mark.parametrize(
    ("default", "expected"),
    [("Graphs.FULL", "FULL"), ("Words.CPU", "cpu"), ("Shapes.BACKED", "backed"), ("Mode.COMPILE", 3)],
)
def test_a_default_is_spelt_like_the_choices(default: str, expected: object) -> None:
    read = constructor(f"{KINDS}\n@config\nclass C:\n    a: X = {default}\n")
    assert read.parameters["a"].default == expected


@pytest.mark.parametrize(
    ("version", "entry_point", "name", "some"),
    [
        ("0.33.0", "CompilationConfig", "cudagraph_mode", {"NONE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE"}),
        ("0.11.2", "CompilationConfig", "cudagraph_mode", {"NONE", "PIECEWISE", "FULL_AND_PIECEWISE"}),
        ("0.33.0", "CompilationConfig", "mode", {0, 3, "VLLM_COMPILE"}),
        ("0.32.0", "MambaConfig", "backend", {"triton", "flashinfer", "cpu"}),
        ("0.26.0", "AttentionConfig", "backend", {"FLASH_ATTN", "TRITON_ATTN"}),
        ("0.33.0", "AttentionConfig", "backend", {"FLASH_ATTN", "CPU_ATTN", "auto"}),
        ("0.33.0", "SpeculativeConfig", "attention_backend", {"FLASH_ATTN", "auto"}),
    ],
)
def test_values_that_vllm_takes(version: str, entry_point: str, name: str, some: set[object]) -> None:
    found = snapshots.load("vllm", version).find(f"vllm.config.{entry_point}", name)
    assert found is not None
    assert some <= set(found.choices)


def test_the_first_of_two_ways_to_set_a_thing_takes_what_the_second_takes() -> None:
    surface = snapshots.load("vllm", "0.33.0")
    outer, inner = surface.find("vllm.LLM", "attention_backend"), surface.find("vllm.config.AttentionConfig", "backend")
    assert outer is not None
    assert inner is not None
    assert outer.choices == inner.choices


def test_every_default_of_vllm_is_one_of_its_choices() -> None:
    odd = [
        (version, entry_point, parameter.name)
        for version in snapshots.versions("vllm")
        for entry_point, parameter in snapshots.load("vllm", version).parameters()
        if parameter.choices and not parameter.required and parameter.default not in (None, *parameter.choices)
    ]
    assert odd == []
