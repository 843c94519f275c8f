"""Who sets a parameter once more after its arguments were taken, in the shapes of vLLM's start-up code."""

from pathlib import Path
from textwrap import dedent, indent

import pytest

from llenergymeasure.surface import snapshots, static
from llenergymeasure.surface.model import from_json, to_json
from llenergymeasure.surface.recipes import Package, Part, Recipe, Settling
from llenergymeasure.surface.sources import FolderReader, Modules

ENGINE = """
from pack import envs
from pack.config import CacheConfig, GraphConfig
from pack.platforms import current_platform

@dataclass
class EngineArgs:
    block_size: int | None = CacheConfig.block_size
    kv_dtype: str = CacheConfig.cache_dtype
    width: int = 1
    length: int | None = None
    mode: str | None = None
    port: int | None = None
    graphs: GraphConfig | None = None
    name: str

    def __post_init__(self):
        if isinstance(self.graphs, dict):
            self.graphs = GraphConfig(**self.graphs)

    def create(self):
        dtype = resolve(self.kv_dtype)
        port = self.port if self.port else free()
        cache_config = CacheConfig(block_size=self.block_size, cache_dtype=dtype, width=self.width, port=port)
        graph_config = copy(self.graphs)
        graph_config.mode = self.mode
{body}

    def get_defaults(self):
        return current_platform.memory() // 2
"""
CONFIG = """
@config
class CacheConfig:
    block_size: int | None = None
    cache_dtype: str = "auto"
    width: int = 1
    port: int = 0

@config
class GraphConfig:
    mode: str | None = None
    sizes: list[int] = Field(default_factory=list)
    folder: str = field(default_factory=lambda: envs.PACK_FOLDER)
    device: str = field(default_factory=device)

    @mode.setter
    def chosen(self, value):
        self.mode = value

    def __post_init__(self):
{body}

def device():
    from pack.platforms import current_platform
    return current_platform.name
"""
WHOLE = """
class WholeConfig:
    def __post_init__(self):
        self.instance = 1
{body}
"""
PLATFORM = """
class CpuPlatform(Platform):
    @classmethod
    def check(cls, whole_config):
        cache_config = whole_config.cache_config
{body}
"""
PACKAGE = Package(
    "pytorch",
    "pack",
    (Recipe("pack.LLM", (Part("llm.py", "LLM.__init__"), Part("engine.py", "EngineArgs")), nested="config/"),),
    followed=("config", "engine", "envs"),
    settling=Settling(
        "pack.LLM",
        Part("engine.py", "EngineArgs"),
        "config/",
        ("engine.py", "whole.py"),
        (("platforms/cpu.py", "cpu"),),
        "_config",
    ),
)


def decided(folder: Path, **bodies: str) -> dict[str, tuple[str, ...]]:
    """Name of a parameter, those of GraphConfig with a dot in front, to who decides it."""
    members = {
        "llm.py": "class LLM:\n    def __init__(self, model, **kwargs): ...\n",
        "envs.py": "if TYPE_CHECKING:\n    PACK_FOLDER: str = '~/here'\n",
        "engine.py": ENGINE,
        "config/__init__.py": CONFIG,
        "whole.py": WHOLE,
        "platforms/cpu.py": PLATFORM,
    }
    for member, text in members.items():
        path = folder / "pack" / member
        path.parent.mkdir(parents=True, exist_ok=True)
        key = member.removesuffix(".py").removesuffix("/__init__").replace("/", "_")
        path.write_text(text.replace("{body}", indent(dedent(bodies.get(key, "pass")), " " * 8)))
    points = static.entry_points(Modules(FolderReader(folder / "pack", "here"), PACKAGE), PACKAGE)
    return {
        (name if point == "pack.LLM" else f".{name}"): parameter.decided_by
        for point, entry in points.items()
        for name, parameter in entry.parameters.items()
    }


def test_what_is_decided_without_any_further_code(tmp_path: Path) -> None:
    found = decided(tmp_path)
    assert found["kv_dtype"] == ("engine",), "it is handed on as something else"
    assert found["port"] == ("engine",)
    assert found[".folder"] == ("environment",)
    assert found[".device"] == ("platform",)
    assert {name for name, by in found.items() if by} == {"kv_dtype", "port", ".folder", ".device"}


@pytest.mark.parametrize(
    ("where", "body", "name", "expected"),
    [
        ("platforms_cpu", "cache_config.block_size = 128", "block_size", ("cpu",)),
        ("platforms_cpu", "whole_config.cache_config.block_size = 128", "block_size", ("cpu",)),
        ("platforms_cpu", "c = whole_config.cache_config\nc.block_size = 128", "block_size", ("cpu",)),
        ("platforms_cpu", "if a:\n    for b in c:\n        cache_config.block_size = 1", "block_size", ("cpu",)),
        ("platforms_cpu", "cache_config.block_size, x = 128, 1", "block_size", ("cpu",)),
        ("platforms_cpu", "cache_config.block_size = envs.SIZE", "block_size", ("cpu", "environment")),
        ("platforms_cpu", "whole_config.graph_config.mode = 'none'", ".mode", ("cpu",)),
        pytest.param("platforms_cpu", "whole_config.graph_config.mode = 'x'", "mode", ("cpu",), id="handed on to it"),
        ("platforms_cpu", "whole_config.graph_config.sizes.append(1)", ".sizes", ("cpu",)),
        ("platforms_cpu", "whole_config.graph_config.sizes[0] = 1", ".sizes", ("cpu",)),
        ("platforms_cpu", "other_config.block_size = 128", "block_size", ()),
        ("platforms_cpu", "x = cache_config.block_size", "block_size", ()),
        ("engine", "self.length = 512", "length", ("engine",)),
        ("engine", "self.length: int = 512", "length", ("engine",)),
        ("engine", "self.length = current_platform.memory()", "length", ("platform",)),
        ("engine", "half = self.get_defaults()\nself.length = half", "length", ("platform",)),
        ("engine", "self.length = whole(self.length)", "length", ("engine",)),
        ("engine", "self.length = os.environ['LENGTH']", "length", ("environment",)),
        pytest.param("engine", "self.width = int(self.width)", "width", (), id="only brought into another form"),
        pytest.param("engine", "self.kv_dtype = whole(self.kv_dtype)", "kv_dtype", ("engine",), id="auto is no value"),
        ("engine", "self.width *= 2", "width", ()),
        pytest.param("engine", "self.name = 'another'", "name", (), id="nobody leaves it open"),
        pytest.param("engine", "cache_config.width = self.length", "width", (), id="taken over"),
        ("config", "self.mode = 'none'", ".mode", ("engine",)),
        ("config", "self.mode = 'none'", "mode", ("engine",)),
        ("whole", "self.graph_config.mode = 'none'", ".mode", ("engine",)),
    ],
)
def test_code_that_decides(tmp_path: Path, where: str, body: str, name: str, expected: tuple[str, ...]) -> None:
    assert decided(tmp_path, **{where: body})[name] == expected


def test_a_table_of_defaults_decides(tmp_path: Path) -> None:
    table = 'LEVEL = {"any_config": {"graph_config": {"sizes": many}}, "graph_config": {"mode": "full"}, "width": 3}'
    path = tmp_path / "pack" / "whole.py"
    decided(tmp_path)
    path.write_text(WHOLE.replace("{body}", "        pass") + f"\n\n{table}\n")
    points = static.entry_points(Modules(FolderReader(tmp_path / "pack", "here"), PACKAGE), PACKAGE)
    graphs = points["pack.config.GraphConfig"].parameters
    assert (graphs["mode"].decided_by, graphs["sizes"].decided_by) == (("engine",), ("engine",))
    assert points["pack.LLM"].parameters["width"].decided_by == ()


@pytest.mark.parametrize(
    ("version", "name", "expected"),
    [
        ("0.32.0", "block_size", {"cpu", "platform"}),
        ("0.11.2", "block_size", {"cpu", "cuda", "rocm", "tpu", "xpu"}),
        ("0.33.0", "max_num_seqs", {"engine", "platform"}),
        ("0.33.0", "max_num_batched_tokens", {"cpu", "engine", "platform"}),
        ("0.19.1", "enable_chunked_prefill", {"cpu", "engine"}),
        ("0.33.0", "distributed_executor_backend", {"cpu", "engine"}),
        ("0.33.0", "kv_cache_dtype", {"engine"}),
        ("0.33.0", "max_model_len", {"engine"}),
        ("0.33.0", "dtype", {"engine"}),
        ("0.33.0", "worker_cls", {"cpu", "cuda"}),
        ("0.33.0", "enable_sleep_mode", set()),
        ("0.33.0", "gpu_memory_utilization", set()),
        ("0.33.0", "tensor_parallel_size", set()),
        ("0.33.0", "moe_backend", set()),
        ("0.33.0", "seed", set()),
    ],
)
def test_who_decides_in_vllm(version: str, name: str, expected: set[str]) -> None:
    surface = snapshots.load("vllm", version)
    found = surface.find("vllm.LLM", name)
    assert found is not None
    assert expected <= set(found.decided_by)
    assert bool(found.decided_by) is bool(expected)
    assert from_json(to_json(surface)) == surface


def test_nothing_that_a_caller_must_give_is_decided_by_another() -> None:
    for version in snapshots.versions("vllm"):
        odd = [p.name for _, p in snapshots.load("vllm", version).parameters() if p.required and p.decided_by]
        assert odd == []
