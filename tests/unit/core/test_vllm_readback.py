"""What a running engine says it runs with, held against what was sent: where a value is found, and what confirms it."""

import dataclasses
import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.audit.recorder_vllm import VLLMRecorder
from llenergymeasure.config.lowering import Build
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.inference_backends.base import Difference, Share
from llenergymeasure.core.inference_backends.vllm import VLLMBackend
from llenergymeasure.core.inference_backends.vllm_json import as_json
from llenergymeasure.core.inference_backends.vllm_readback import (
    MISSING,
    PLACES,
    confirms,
    follow,
    leaves,
    locate,
    read_back,
    same,
)
from llenergymeasure.core.session import version_calls
from llenergymeasure.surface import snapshots

Configured = Callable[..., ExperimentConfig]
# As a worker tells its VllmConfig: a part for each configuration class.
ENGINE: dict[str, Any] = {
    "cache_config": {"block_size": 32, "cache_dtype": "bfloat16", "enable_prefix_caching": True},
    "scheduler_config": {"max_num_seqs": 16, "policy": "fcfs"},
    "compilation_config": {"mode": 0, "pass_config": {"eliminate_noops": True}, "custom_ops": ["all", "+silu"]},
    "attention_config": {"backend": None},
    "offload_config": {"uva": {"cpu_offload_gb": 0.5}, "prefetch": {"offload_group_size": 2}},
    "parallel_config": {"eplb_config": {"window_size": 1000}, "enable_dbo": False},
    "lora_config": None,
    "optimization_level": 2,
}


class TestWhereAValueIsFound:
    @pytest.mark.parametrize(
        ("names", "found"),
        [
            pytest.param(("max_num_seqs",), 16, id="by its name, in whichever part"),
            pytest.param(("optimization_level",), 2, id="in no part"),
            pytest.param(("compilation_config", "pass_config", "eliminate_noops"), True, id="inside objects"),
            pytest.param(("eplb_config", "window_size"), 1000, id="inside an object that is inside a part"),
            pytest.param(("kv_cache_dtype",), "bfloat16", id="under another name"),
            pytest.param(("attention_backend",), None, id="under another name, unset"),
            pytest.param(("scheduling_policy",), "fcfs", id="under a shorter name"),
            pytest.param(("cpu_offload_gb",), 0.5, id="moved after 0.11"),
            pytest.param(("enable_lora",), False, id="a switch that is an object there or not"),
            pytest.param(("skip_tokenizer_init_",), MISSING, id="nowhere"),
            pytest.param(("compilation_config", "backend"), MISSING, id="not in the part that is named"),
        ],
    )
    def test_in_the_engines_configuration(self, names: tuple[str, ...], found: Any) -> None:
        assert locate(ENGINE, names) == found

    def test_the_older_place_counts_where_the_newer_is_not(self) -> None:
        assert locate({"cache_config": {"cpu_offload_gb": 4.0}}, ("cpu_offload_gb",)) == 4.0

    def test_a_switch_is_on_where_its_object_is(self) -> None:
        assert locate({"lora_config": {"max_lora_rank": 16}}, ("enable_lora",)) is True

    def test_nothing_is_found_in_what_is_no_mapping(self) -> None:
        assert follow({"a": [1]}, ("a", "b")) is MISSING

    @pytest.mark.parametrize("name", PLACES)
    def test_every_parameter_that_is_kept_elsewhere_is_one_of_vllms(self, name: str) -> None:
        surfaces = [snapshots.load("vllm", version) for version in snapshots.versions("vllm")]
        assert any(surface.find("vllm.LLM", name) for surface in surfaces)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (3, [((), 3)]),
        ([1, 2], [((), [1, 2])]),
        ({"a": 1, "b": {"c": 2}}, [(("a",), 1), (("b", "c"), 2)]),
        (Build("vllm.config.X", {"a": 1, "b": Build("vllm.config.Y", {"c": 2})}), [(("a",), 1), (("b", "c"), 2)]),
        ({}, [((), {})]),
        (Build("vllm.config.X", {}), [((), Build("vllm.config.X", {}))]),
        ({7: "a"}, [((), {7: "a"})]),  # keys that are values, not names
    ],
)
def test_every_single_value_that_is_sent_has_its_own_name(value: Any, found: list[Any]) -> None:
    assert [(names[1:], inner) for names, inner in leaves(("field",), value)] == found


class TestWhatConfirmsAValue:
    @pytest.mark.parametrize(
        ("sent", "found", "equal"),
        [
            (3, 3, True),
            (3, 4, False),
            (0.5, 0.5, True),
            (1, True, False),  # 1 is not what was sent
            (True, 1, False),
            (True, True, True),
            (None, None, True),
            (None, 0, False),
            ("bfloat16", "torch.bfloat16", True),
            ("half", "float16", True),
            ("float", "torch.float32", True),
            ("flash_attn", "FLASH_ATTN", True),
            ("FLASH_ATTN", "CPU_ATTN", False),
            ([1, 2], [1, 2], True),
            ([1, 2], [2, 1], False),
            ([1, 2], [1, 2, 3], False),
            ([1, 2], [], False),
            ({1, 2}, [2, 1], True),
            ((1.0, 2.0), [1, 2], True),
            ({"a": 1}, {"a": 1, "b": 2}, True),  # the rest is the engine's default
            ({"a": 1}, {"b": 2}, False),
            ({7: "x"}, {"7": "x"}, True),  # JSON's keys are texts
            ({"a": {"b": 1}}, {"a": {"b": 2}}, False),
            ([1], 1, False),
        ],
    )
    def test_by_value(self, sent: Any, found: Any, equal: bool) -> None:
        assert same(sent, found) is equal

    @pytest.mark.parametrize(
        ("name", "sent", "found", "equal"),
        [
            ("custom_ops", ["all"], ["all", "+silu"], True),
            ("custom_ops", ["none"], ["all", "+silu"], False),
            ("rms_norm", ["native"], ["native", "vllm_c"], True),
            ("rms_norm", ["native", "vllm_c"], ["vllm_c", "native"], False),
            ("compile_ranges_endpoints", [8], [8, 4096], True),
            ("compile_ranges_endpoints", [8], 8, False),
            ("cudagraph_capture_sizes", [1, 2], [1, 2, 4], False),  # here the engine adds nothing of its own
        ],
    )
    def test_also_where_the_engine_adds_entries_of_its_own(self, name: str, sent: Any, found: Any, equal: bool) -> None:
        assert confirms(name, sent, found) is equal


class Engine:
    """One that tells what it is given, from each worker."""

    def __init__(self, config: dict[str, Any], *facts: dict[str, Any]) -> None:
        self._told = {"llem_config": [config], "llem_facts": list(facts) or [{}]}

    def collective_rpc(self, method: str) -> list[Any]:
        return self._told[method]


@pytest.fixture
def running(vllm_configured: Configured, vllm_recorder: VLLMRecorder) -> Callable[..., VLLMBackend]:
    def make(vllm: dict[str, Any], engine: Engine, log: str = "", **fields: Any) -> VLLMBackend:
        calls = version_calls(vllm_configured(vllm, **fields), vllm_recorder)
        backend = VLLMBackend(calls, vllm_recorder, Share(log=log))
        backend.load()
        backend.llm = engine
        return backend

    return make


Running = Callable[..., VLLMBackend]


class TestDifferences:
    @pytest.mark.parametrize(
        ("vllm", "differences"),
        [
            pytest.param({"max_num_seqs": 16, "optimization_level": 2}, [], id="as sent"),
            pytest.param({"max_num_seqs": 8}, [("vllm.max_num_seqs", 8, 16)], id="another value"),
            pytest.param({"enable_dbo": True}, [("vllm.enable_dbo", True, False)], id="switched off"),
            pytest.param(
                {"compilation_config": {"mode": 3, "pass_config": {"eliminate_noops": False}}},
                [
                    ("vllm.compilation_config.mode", 3, 0),
                    ("vllm.compilation_config.pass_config.eliminate_noops", False, True),
                ],
                id="inside objects, each value by its own path",
            ),
            pytest.param({"kv_cache_dtype": "auto"}, [], id="left to the engine"),
            pytest.param({"load_format": "dummy"}, [], id="kept nowhere"),
        ],
    )
    def test_are_what_the_engine_changed(
        self, running: Running, vllm: dict[str, Any], differences: list[tuple[str, Any, Any]]
    ) -> None:
        found = read_back(running(vllm, Engine(ENGINE))).differences
        assert [(item.field, item.sent, item.effective) for item in found] == differences

    def test_are_told_as_the_user_wrote_the_field(self, running: Running) -> None:
        (found,) = read_back(running({"enable_dbo": True}, Engine(ENGINE))).differences
        assert str(found) == "vllm.enable_dbo: True was sent, False runs"

    def test_of_requests_are_read_from_what_they_carry(self, running: Running) -> None:
        backend = running({"temperature": 0.5}, Engine(ENGINE), output={"max_tokens": 8})
        backend.params = Params(temperature=0.01, max_tokens=8)
        assert read_back(backend).differences == (Difference("vllm.temperature", 0.5, 0.01),)
        backend.params = Params(temperature=0.5, max_tokens=4)
        assert read_back(backend).differences == (Difference("output.max_tokens", 8, 4),)


@dataclasses.dataclass
class Params:
    temperature: float
    max_tokens: int


class TestAttention:
    """On a CPU the engine takes its own kernel, and keeps the name of the other in its configuration."""

    def test_that_no_layer_uses_is_a_difference(self, running: Running) -> None:
        engine = Engine({"attention_config": {"backend": "FLASH_ATTN"}}, {"attention_backends": {"CPU_ATTN": 2}})
        found = read_back(running({"attention_backend": "FLASH_ATTN"}, engine)).differences
        assert found == (Difference("vllm.attention_backend", "FLASH_ATTN", "CPU_ATTN"),)

    @pytest.mark.parametrize(
        "facts",
        [
            pytest.param([{"attention_backends": {"FLASH_ATTN": 2}}], id="all layers"),
            pytest.param([{"attention_backends": {"FLASH_ATTN": 2, "GDN_ATTN": 6}}], id="those that have a choice"),
            pytest.param([{"attention_backends": {}}, {"attention_backends": {"FLASH_ATTN": 1}}], id="some worker's"),
            pytest.param([{}], id="unknown"),
        ],
    )
    def test_that_some_layer_uses_is_none(self, running: Running, facts: list[dict[str, Any]]) -> None:
        engine = Engine({"attention_config": {"backend": "FLASH_ATTN"}}, *facts)
        assert read_back(running({"attention_backend": "FLASH_ATTN"}, engine)).differences == ()

    def test_that_was_left_to_the_engine_is_none(self, running: Running) -> None:
        engine = Engine({}, {"attention_backends": {"CPU_ATTN": 2}})
        assert read_back(running({"attention_backend": "auto"}, engine)).differences == ()
        assert read_back(running({}, engine)).differences == ()


SLEEP = "WARNING 11-23 22:23:55 [cpu_worker.py:180] sleep mode is not supported on CPU, ignore it.\n"


def test_the_result_holds_what_the_workers_told(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "replica-0.log"
    log.write_text(
        "WARNING 11-23 22:23:55 [vllm.py:725] using the V1 model runner instead.\n" + SLEEP, encoding="utf-8"
    )
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    monkeypatch.setenv("SECRET_OF_SOMEONE", "x")
    backend = running({}, Engine(ENGINE, {"pid": 1}, {"pid": 2}), str(log))
    backend.warnings.append("told while loading")
    found = read_back(backend)
    assert found.values["engine"] == ENGINE
    assert found.values["workers"] == [{"pid": 1}, {"pid": 2}]
    assert found.values["environment"]["VLLM_LOGGING_LEVEL"] == "INFO"
    assert "SECRET_OF_SOMEONE" not in found.values["environment"]
    assert found.values["log_warnings"] == [
        "using the V1 model runner instead.",
        "sleep mode is not supported on CPU, ignore it.",
    ]
    assert found.warnings == ("told while loading", "vLLM: sleep mode is not supported on CPU, ignore it.")
    assert backend.noticed() == []


@pytest.mark.parametrize("name", ["VLLM_API_KEY", "VLLM_S3_ACCESS_TOKEN", "VLLM_MY_SECRET", "VLLM_DB_PASSWORD_2"])
def test_a_secret_of_the_environment_stays_out_of_the_result(
    running: Running, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "hush")
    environment = read_back(running({}, Engine(ENGINE))).values["environment"]
    assert environment[name] == "(set)"
    assert "hush" not in environment.values()


class Mode(enum.IntEnum):
    NONE = 0


class Kernel(enum.Enum):
    CPU_ATTN = "vllm.v1.attention.backends.cpu_attn.CPUAttentionBackend"


class Graphs(enum.Enum):
    FULL_AND_PIECEWISE = (2, 1)


@dataclasses.dataclass
class Part:
    name: str = "n"
    hf_token: str = "secret"  # noqa: S105 - what must not be told
    _hidden: int = 1
    inner: Any = None

    def __post_init__(self) -> None:
        self.method = lambda: None


class ModelsOwn:
    def to_diff_dict(self) -> dict[str, Any]:
        return {"vocab_size": 1}


class Struct:
    __struct_fields__ = ("n", "stop")
    n, stop = 2, ["x"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (Mode.NONE, 0),
        (Kernel.CPU_ATTN, "CPU_ATTN"),
        (Graphs.FULL_AND_PIECEWISE, "FULL_AND_PIECEWISE"),
        (Part(inner={1: (2, {3, 4})}), {"name": "n", "inner": {"1": [2, [3, 4]]}}),
        (ModelsOwn(), {"class": "ModelsOwn"}),
        (Struct(), {"n": 2, "stop": ["x"]}),
        (Path("a"), "a"),
        (None, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_configuration_object_as_json(value: Any, found: Any) -> None:
    assert as_json(value) == found
