"""What live classes take that declare their arguments as fields, with pydantic's as vLLM writes them."""

import enum
import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from textwrap import dedent
from typing import Any, Literal, Optional

import pytest

from llenergymeasure.surface import live, static
from llenergymeasure.surface.live import compare
from llenergymeasure.surface.live_fields import allowed, declared
from llenergymeasure.surface.model import EntryPoint, Parameter, Surface
from llenergymeasure.surface.objects import jsonable
from llenergymeasure.surface.recipes import Package, Part, Recipe
from llenergymeasure.surface.sources import FolderReader, Modules

MEMBERS = {
    "__init__.py": "from livepack.llm import LLM\n",
    "kinds.py": """
        import enum

        class Graphs(enum.Enum):
            NONE = 0
            FULL = 2
            BOTH = (FULL, NONE)
    """,
    "config/__init__.py": """
        from livepack.config.cache import CacheConfig
        from livepack.config.graph import GraphConfig
    """,
    "config/cache.py": """
        import uuid
        from typing import Any, ClassVar, Literal
        from pydantic import Field
        from pydantic.dataclasses import dataclass
        from dataclasses import field

        @dataclass
        class CacheConfig:
            smallest: ClassVar[int] = 4
            size: int = Field(default=16, gt=0)
            share: float = Field(default=0.9, gt=0, le=1)
            kind: Literal["a", "b"] | None = None
            kept: list[str] = Field(default_factory=list)
            name: str | None = None
            filled: int | None = None
            derived: int = field(init=False)
            needed: int = 3

            def __post_init__(self):
                self.derived = 1
                if self.name is None:
                    self.name = str(uuid.uuid4())
                if self.filled is None:
                    self.filled = 7
    """,
    "config/graph.py": """
        from dataclasses import field
        from pydantic import Field
        from pydantic.dataclasses import dataclass
        from livepack.kinds import Graphs

        @dataclass
        class PassConfig:
            fuse: bool = False

        @dataclass
        class GraphConfig:
            mode: Graphs = Graphs.BOTH
            passes: PassConfig = field(default_factory=PassConfig)
    """,
    "engine.py": """
        from dataclasses import dataclass, field, fields
        from typing import TYPE_CHECKING
        from livepack.config import CacheConfig
        if TYPE_CHECKING:
            from livepack.config import GraphConfig

        def get_field(cls, name):
            return field(default_factory=cls.__pydantic_fields__[name].default_factory)

        @dataclass
        class EngineArgs:
            model: str
            size: int = CacheConfig.size
            kept: list[str] = get_field(CacheConfig, "kept")
            cache: CacheConfig | None = None
            graphs: "GraphConfig | None" = None
            quiet: bool = False
    """,
    "llm.py": """
        from livepack.engine import EngineArgs

        class Mixin:
            def search(self, prompts, width: int = 2): ...

        class LLM(Mixin):
            def __init__(self, model: str, *, size: int = 32, **kwargs):
                if "quiet" not in kwargs:
                    kwargs["quiet"] = True
                EngineArgs(model=model, size=size, **kwargs)
    """,
}
PACKAGE = Package(
    "pytorch",
    "livepack",
    (
        Recipe(
            "livepack.LLM", (Part("llm.py", "LLM.__init__"), Part("engine.py", "EngineArgs")), False, nested="config/"
        ),
        Recipe("livepack.LLM.search", (Part("llm.py", "LLM.search"),)),
    ),
    followed=("config", "kinds", "engine"),
)


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Surface, Surface]]:
    """The static and the live surface of one package."""
    folder = tmp_path_factory.mktemp("site")
    for member, text in MEMBERS.items():
        path = folder / "livepack" / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    points = static.entry_points(Modules(FolderReader(folder / "livepack", "here"), PACKAGE), PACKAGE)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        here = live._entry_points(PACKAGE)
        yield Surface("pytorch", "livepack", "1", points), Surface("pytorch", "livepack", "1", here)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "livepack"]:
            del sys.modules[name]


def test_static_and_live_are_one(surfaces: tuple[Surface, Surface]) -> None:
    assert compare(*surfaces) == []
    assert {name: len(point.parameters) for name, point in surfaces[1].entry_points.items()} == {
        "livepack.LLM": 6,
        "livepack.LLM.search": 2,
        "livepack.config.CacheConfig": 7,
        "livepack.config.GraphConfig": 2,
        "livepack.config.graph.PassConfig": 1,
    }


def _live(surfaces: tuple[Surface, Surface], point: str, name: str) -> Parameter:
    found = surfaces[1].find(f"livepack.{point}", name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("point", "name", "expected"),
    [
        ("LLM", "model", {"required": True}),
        ("LLM", "size", {"default": 32}),
        ("LLM", "kept", {"default": []}),
        ("config.CacheConfig", "size", {"default": 16, "minimum": 1, "type": "int"}),
        ("config.CacheConfig", "share", {"default": 0.9, "minimum": 0, "maximum": 1}),
        ("config.CacheConfig", "kind", {"default": None, "choices": ("a", "b")}),
        ("config.CacheConfig", "kept", {"default": []}),
        ("config.CacheConfig", "filled", {"default": None, "effective_default": 7}),
        ("config.CacheConfig", "name", {"effective_default": None}),  # another one each time
        ("config.GraphConfig", "mode", {"default": "BOTH", "choices": ("NONE", "FULL", "BOTH")}),
        ("config.GraphConfig", "passes", {"default": {"expr": "PassConfig()"}}),
    ],
)
def test_what_is_read_of_live_classes(
    surfaces: tuple[Surface, Surface], point: str, name: str, expected: dict[str, Any]
) -> None:
    found = _live(surfaces, point, name)
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("decided_by", "expected"),
    [
        ((), ["livepack.config.CacheConfig needed: default static 4, live 3"]),
        (("engine", "cpu"), ["livepack.config.CacheConfig needed: default static 4, live 3"]),
        (("environment",), []),
        (("engine", "platform"), []),
    ],
)
def test_a_default_may_differ_where_the_place_decides_it(
    surfaces: tuple[Surface, Surface], decided_by: tuple[str, ...], expected: list[str]
) -> None:
    first, second = surfaces
    point = first.entry_points["livepack.config.CacheConfig"]
    other = point.parameters | {"needed": replace(point.parameters["needed"], default=4, decided_by=decided_by)}
    changed = replace(first, entry_points=first.entry_points | {point.name: EntryPoint(point.name, other)})
    assert compare(changed, second) == expected


class Plain(enum.Enum):
    """Written by name."""

    A = "path.to.A"
    B = 2


class Words(enum.Enum):
    """Written by value."""

    A = "a"
    B = "b"


class Number(enum.IntEnum):
    """Written by value."""

    ONE = 1


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Plain | None, ("A", "B")),
        (Optional[Words], ("a", "b")),  # noqa: UP045 - both spellings are met
        (Number, (1,)),
        (Literal["x", "y"] | Number | None, ("x", "y", 1)),
        (Literal["x"] | str, ()),
        (dict[str, Plain], ()),
        ("Plain", ()),
    ],
)
def test_values_of_a_live_annotation(annotation: Any, expected: tuple[Any, ...]) -> None:
    assert allowed(annotation) == expected


def test_members_are_written_alike_wherever_they_stand() -> None:
    assert jsonable([Plain.A, Words.B, Number.ONE]) == ["A", "b", 1]


def test_a_class_with_a_constructor_declares_nothing() -> None:
    class Constructed:
        def __init__(self, a: int = 1) -> None: ...

    assert declared(Constructed) is None
