"""Reading what another module defines: defaults by reference, aliases of types, bounds, and classes inside classes."""

from pathlib import Path
from textwrap import dedent

import pytest

from llenergymeasure.surface import snapshots, static
from llenergymeasure.surface.diff import diff
from llenergymeasure.surface.model import IGNORED, EntryPoint, Surface
from llenergymeasure.surface.recipes import Package, Part, Recipe
from llenergymeasure.surface.sources import FolderReader, Modules

MEMBERS = {
    "config/__init__.py": "from pack.config.cache import CacheConfig\nfrom .graphs import GraphConfig\n",
    "envs.py": """
        if TYPE_CHECKING:
            PACK_LEVEL: Literal["low", "high"] = "low"
            PACK_FOLDER: str | None = None
    """,
    "kinds.py": """
        Methods = Literal["slow", "quick"]
        Text: TypeAlias = str
        Word = str
    """,
    "config/cache.py": """
        import pack.elsewhere as elsewhere
        from typing import Literal
        from pack import envs
        from pack.kinds import Text, Word
        if TYPE_CHECKING:
            import pack.kinds as kinds
        else:
            kinds = LazyLoader("pack.kinds")
        from pydantic import Field
        Short = Literal["fp8"]
        CacheDType = Literal["auto", Short]

        @config
        class CacheConfig:
            SMALLEST: ClassVar[int] = 4
            cache_dtype: CacheDType = "auto"
            block_size: int = Field(default=SMALLEST * 4, gt=0)
            share: float = Field(default=0.92, gt=0, le=1)
            kept: list[str] = Field(default_factory=list)
            lanes: int | None = Field(None, ge=1)
            start: InitVar[int]
            level: str = field(default_factory=lambda: cast(Level, envs.PACK_LEVEL))
            folder: str | None = Field(default_factory=lambda: envs.PACK_FOLDER)
            unset: str | None = Field(default_factory=lambda: envs.PACK_UNKNOWN)
            method: "kinds.Methods | str | None" = None
            other: elsewhere.Methods | None = None
            draft: SkipValidation[Text] = None
            word: Word = None
    """,
    "config/graphs.py": """
        from dataclasses import field
        from pack.config.cache import CacheConfig

        @config
        class PassConfig:
            fuse: bool = False

        @config(config=1)
        class GraphConfig:
            sizes: list[int] | None = None
            passes: PassConfig = field(default_factory=PassConfig)
    """,
    "engine.py": """
        from typing import TYPE_CHECKING
        from dataclasses import dataclass
        from pack.config import CacheConfig, GraphConfig
        from pack.config.cache import CacheDType
        from pack.elsewhere import Unseen
        if TYPE_CHECKING:
            from pack.config.cache import CacheConfig as Guarded

        def at_least_one(value, name):
            if value < 1:
                raise ValueError(name)

        @dataclass
        class EngineArgs:
            model: str = Unseen.model
            dtype: CacheDType | None = CacheConfig.cache_dtype
            block_size: int = CacheConfig.block_size
            share: float = get_field(CacheConfig, "share")
            kept: "list[str]" = get_field(CacheConfig, "kept")
            lanes: int | None = CacheConfig.lanes
            graphs: "GraphConfig" = get_field(CacheConfig, "nothing")
            cache: Guarded | None = None
            width: int = 1
            quiet: bool = False
            _private: int = 0

            def __post_init__(self):
                at_least_one(self.width, "width")
    """,
    "mixin.py": """
        from pack.config.cache import CacheDType

        class Base:
            def search(self, prompts, width: int = 1, dtype: CacheDType = "auto"): ...

        class Mixin(Base): ...
    """,
    "llm.py": """
        from pack.elsewhere import Unseen
        from pack.mixin import Mixin

        class LLM(Unseen, Mixin):
            def __init__(self, model: str, *, share: float = 0.5, **kwargs):
                if "swap_space" in kwargs:
                    kwargs.pop("swap_space")
                    warn("gone")
                if "quiet" not in kwargs:
                    kwargs["quiet"] = True
                args = EngineArgs(model=model, share=share, **kwargs)
    """,
}
PACKAGE = Package(
    "pytorch",
    "pack",
    (
        Recipe(
            "pack.LLM", (Part("llm.py", "LLM.__init__"), Part("engine.py", "EngineArgs")), open=False, nested="config/"
        ),
        Recipe("pack.LLM.search", (Part("llm.py", "LLM.search"),)),
        Recipe("pack.LLM.nothing", (Part("llm.py", "LLM.nothing"),)),
    ),
    followed=("config", "engine", "mixin", "envs", "kinds"),
)


@pytest.fixture
def points(tmp_path: Path) -> dict[str, EntryPoint]:
    for member, text in MEMBERS.items():
        path = tmp_path / "pack" / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return static.entry_points(Modules(FolderReader(tmp_path / "pack", "here"), PACKAGE), PACKAGE)


@pytest.mark.parametrize(
    ("name", "kind", "default"),
    [
        ("dtype", "Literal['auto', 'fp8'] | None", "auto"),
        ("block_size", "int", 16),
        ("share", "float", 0.5),  # what the outer function says
        ("kept", "list[str]", []),
        ("lanes", "int | None", None),
        ("model", "str", None),
        ("graphs", "GraphConfig", {"expr": "get_field(CacheConfig, 'nothing')"}),
    ],
)
def test_a_default_is_that_of_the_field_it_refers_to(
    points: dict[str, EntryPoint], name: str, kind: str, default: object
) -> None:
    parameter = points["pack.LLM"].parameters[name]
    assert parameter.type == kind
    if name == "model":
        assert parameter.required
    else:
        assert parameter.default == default


@pytest.mark.parametrize(
    ("name", "bounds"),
    [("block_size", (1, None)), ("share", (0, 1)), ("lanes", (1, None)), ("width", (1, None)), ("dtype", (None, None))],
)
def test_bounds_come_along(points: dict[str, EntryPoint], name: str, bounds: tuple[float | None, float | None]) -> None:
    parameter = points["pack.LLM"].parameters[name]
    assert (parameter.minimum, parameter.maximum) == bounds


def test_choices_are_those_behind_the_alias(points: dict[str, EntryPoint]) -> None:
    assert points["pack.LLM"].parameters["dtype"].choices == ("auto", "fp8")


def test_classes_that_types_name_are_entry_points_by_their_public_name(points: dict[str, EntryPoint]) -> None:
    assert set(points) == {
        "pack.LLM",
        "pack.LLM.search",
        "pack.config.CacheConfig",
        "pack.config.GraphConfig",
        "pack.config.graphs.PassConfig",
    }
    assert {"cache_dtype", "block_size", "start"} <= points["pack.config.CacheConfig"].parameters.keys()
    assert "SMALLEST" not in points["pack.config.CacheConfig"].parameters
    assert points["pack.config.GraphConfig"].parameters["passes"].default == {"expr": "PassConfig()"}


def test_a_method_may_stand_in_a_base_class_of_another_module(points: dict[str, EntryPoint]) -> None:
    found = points["pack.LLM.search"].parameters
    assert {name: p.type for name, p in found.items()} == {
        "prompts": "",
        "width": "int",
        "dtype": "Literal['auto', 'fp8']",
    }


@pytest.mark.parametrize("version", snapshots.versions("vllm"))
def test_vllm_has_its_calls_and_adapters_in_every_version(version: str) -> None:
    surface = snapshots.load("vllm", version)
    for point, name in (
        ("vllm.LLM.generate", "sampling_params"),
        ("vllm.LLM.beam_search", "concurrency_limit"),
        ("vllm.lora.request.LoRARequest", "lora_path"),
    ):
        assert surface.entry_points[point].parameters[name].status == "active"


@pytest.mark.parametrize(
    ("name", "kind", "default"),
    [
        ("level", "str", "low"),
        ("folder", "str | None", None),
        ("unset", "str | None", {"expr": "Field(default_factory=lambda: envs.PACK_UNKNOWN)"}),
        ("method", "Literal['slow', 'quick'] | str | None", None),
        ("other", "elsewhere.Methods | None", None),
        ("draft", "str", None),
        ("word", "Word", None),
    ],
)
def test_what_other_modules_define_is_looked_up_there(
    points: dict[str, EntryPoint], name: str, kind: str, default: object
) -> None:
    found = points["pack.config.CacheConfig"].parameters[name]
    assert (found.type, found.default) == (kind, default)
    assert found.decided_by == (("environment",) if name in ("level", "folder", "unset") else ())


def test_a_name_that_is_put_in_where_it_is_absent_has_another_default(points: dict[str, EntryPoint]) -> None:
    quiet = points["pack.LLM"].parameters["quiet"]
    assert (quiet.default, quiet.resolved, quiet.effective_default) == (False, True, True)
    for version in snapshots.versions("vllm"):
        found = snapshots.load("vllm", version).find("vllm.LLM", "disable_log_stats")
        assert found is not None
        assert (found.default, found.effective_default) == (False, True)


def test_a_name_that_is_looked_for_to_be_dropped_is_ignored(points: dict[str, EntryPoint]) -> None:
    assert points["pack.LLM"].parameters["swap_space"].status == IGNORED
    assert not points["pack.LLM"].open
    assert "_private" not in points["pack.LLM"].parameters


@pytest.mark.parametrize("version", snapshots.versions("vllm"))
def test_vllm_leaves_few_defaults_unread(version: str) -> None:
    """They are objects of classes that are entry points themselves, or come from the environment."""
    surface = snapshots.load("vllm", version)
    unread = [p.default["expr"] for _, p in surface.parameters() if isinstance(p.default, dict) and "expr" in p.default]
    assert not [text for text in unread if not text.endswith("()") and "factory" not in text and "Enum" not in text]


@pytest.mark.parametrize(
    ("version", "name", "default", "bounds"),
    [
        ("0.11.2", "gpu_memory_utilization", 0.9, (0, 1)),
        ("0.33.0", "gpu_memory_utilization", 0.92, (0, 1)),
        ("0.33.0", "tensor_parallel_size", 1, (1, None)),
        ("0.11.2", "seed", None, (None, None)),
        ("0.19.1", "seed", 0, (None, None)),
        ("0.33.0", "kv_cache_dtype", "auto", (None, None)),
        ("0.33.0", "max_model_len", None, (-1, None)),
    ],
)
def test_vllm_defaults_and_bounds(
    version: str, name: str, default: object, bounds: tuple[float | None, float | None]
) -> None:
    found = snapshots.load("vllm", version).find("vllm.LLM", name)
    assert found is not None
    assert (found.default, (found.minimum, found.maximum)) == (default, bounds)


def test_vllm_drops_swap_space_silently_in_one_version() -> None:
    found = {
        version: snapshots.load("vllm", version).find("vllm.LLM", "swap_space")
        for version in ("0.11.2", "0.19.1", "0.26.0")
    }
    assert [parameter.status if parameter else None for parameter in found.values()] == ["active", IGNORED, None]


def _changes(old: str, new: str) -> set[tuple[str, str]]:
    first, second = (snapshots.load("vllm", version) for version in (old, new))
    return {(change.kind, change.name) for change in diff(first, second).changes if change.entry_point == "vllm.LLM"}


def test_an_upgrade_shows_its_consequences() -> None:
    changes = _changes("0.26.0", "0.33.0")
    assert {
        ("removed", "max_num_partial_prefills"),
        ("added", "max_num_active_seqs"),
        ("default", "dcp_comm_backend"),
        ("choices", "moe_backend"),
        ("choices", "quantization"),
    } <= changes
    assert ("status", "swap_space") in _changes("0.11.2", "0.19.1")


def test_values_that_came_to_a_literal_are_no_other_type() -> None:
    changes = _changes("0.26.0", "0.33.0")
    assert ("type", "moe_backend") not in changes
    assert ("type", "cp_kv_cache_interleave_size") in changes


def test_a_surface_differs_from_itself_in_nothing() -> None:
    for version in snapshots.versions("vllm"):
        surface: Surface = snapshots.load("vllm", version)
        assert diff(surface, surface).changes == ()
