"""What vLLM raises, in words that name the field and the way out; messages as its versions write them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from llenergymeasure.audit.recorder_vllm import VLLMRecorder
from llenergymeasure.config.lowering import Calls
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.inference_backends import vllm_failures
from llenergymeasure.core.inference_backends.vllm_failures import died, explain
from llenergymeasure.core.session import version_calls
from llenergymeasure.errors import EnvironmentLacksError, FindingError, LlemError, RequestError

Sent = Callable[..., Calls]
WORKER_FAILED = "Worker failed with error '{}', please check the stack trace above for the root cause"
CORE_FAILED = "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
DOCS = "See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."


class EngineDeadError(Exception):
    """As vLLM's own, which says nothing of the cause."""

    def __init__(self) -> None:
        super().__init__("EngineCore encountered an issue. See stack trace (above) for the root cause.")


@pytest.fixture
def sent(vllm_configured: Callable[..., ExperimentConfig], vllm_recorder: VLLMRecorder) -> Sent:
    def make(vllm: dict[str, Any] | None = None, **fields: Any) -> Calls:
        return version_calls(vllm_configured(vllm, **fields), vllm_recorder)

    return make


@pytest.fixture(autouse=True)
def holders(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Who holds the boards' memory, as NVML would tell."""
    found: list[str] = []
    monkeypatch.setattr(vllm_failures, "memory_holders", lambda: found)
    return found


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., str]:
    def write(*lines: str) -> str:
        place = tmp_path / "replica-0.log"
        place.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return str(place)

    return write


def said(message: str, calls: Calls, doing: str = "loading", log: str = "") -> LlemError:
    found = explain(ValueError(message), calls, "m", doing, log)
    assert "\n" not in found.cause
    assert found.remedy
    return found


OCCUPIED = {
    "0.11.2": (
        "Free memory on device (10.2/79.1 GiB) on startup is less than desired GPU memory utilization (0.9, 71.2 GiB). "
        "Decrease GPU memory utilization or reduce GPU memory used by other processes."
    ),
    "0.19.1 to 0.33.0": (
        "Free memory on device cuda:0 (10.2/79.1 GiB) on startup is less than desired GPU memory utilization "
        "(0.9, 71.2 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
    ),
    "0.26.0 and 0.32.0, CPU": (
        "Available memory on node 0 (10.2/23.5 GiB) on startup is less than desired CPU memory utilization "
        "(0.9, 21.2 GiB). On the CPU backend, the `--gpu-memory-utilization` flag controls the fraction of CPU memory "
        "reserved (despite its name). To resolve: decrease `--gpu-memory-utilization` (e.g. "
        "`--gpu-memory-utilization 0.5`) or reduce CPU memory used by other processes."
    ),
    "0.32.0 and 0.33.0, CPU, for the cache": (
        "Available memory on node 0 (1.2/23.5 GiB) on kv cache allocation is less than requested memory for kv "
        "(9.1/21.2 GiB). Reduce CPU memory used by other processes."
    ),
}


class TestMemoryThatOthersHold:
    @pytest.mark.parametrize("message", OCCUPIED.values(), ids=OCCUPIED)
    def test_is_the_machines_and_names_the_field(self, sent: Sent, message: str) -> None:
        found = said(message, sent())
        assert type(found) is EnvironmentLacksError
        assert found.cause == f"vllm.gpu_memory_utilization: {message.partition(' GiB). ')[0]} GiB)"
        assert found.remedy == "end what holds the memory, or lower vllm.gpu_memory_utilization"

    def test_is_told_with_its_holders(self, sent: Sent, holders: list[str]) -> None:
        holders += ["process 71 (60.1 GiB of GPU 0)", "process 72 (an unknown amount of GPU 1)"]
        assert said(OCCUPIED["0.11.2"], sent()).cause.endswith(
            "(0.9, 71.2 GiB); it is held by process 71 (60.1 GiB of GPU 0), process 72 (an unknown amount of GPU 1)"
        )

    def test_is_that_of_the_field_that_asked_for_it(self, sent: Sent) -> None:
        message = (
            "Available memory on node 0 (1.2/23.5 GiB) on kv cache allocation is less than requested memory for kv "
            "(9.1 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by others."
        )
        found = said(message, sent({"kv_cache_memory_bytes": 9_771_000_000}))
        assert found.cause.startswith("vllm.kv_cache_memory_bytes: Available memory on node 0")
        assert found.remedy == "end what holds the memory, or lower vllm.kv_cache_memory_bytes"


NO_ROOM = {
    "0.11.2": (
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing "
        "the engine."
    ),
    "0.26.0 to 0.33.0": (
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing "
        f"the engine (this flag also controls CPU memory reservation on the CPU backend, despite its name). {DOCS}"
    ),
    "0.11.2, one request": (
        "To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed, which is "
        "larger than the available KV cache memory (7.61 GiB). Based on the available memory, the estimated maximum "
        "model length is 62304. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when "
        "initializing the engine."
    ),
    "0.26.0 to 0.33.0, one request": (
        "To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is needed, which is "
        "larger than the available KV cache memory (7.61 GiB). Based on the available memory, the estimated maximum "
        "model length is 62304. Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU "
        f"backend) or decreasing `max_model_len` when initializing the engine. {DOCS}"
    ),
    "0.19.1 to 0.33.0, max_model_len -1": (
        "Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token. "
        "Try increasing `gpu_memory_utilization`."
    ),
    "0.33.0, CPU": (
        "The worker already uses 3.1 GiB (model weights and runtime), more than the 2.35 GiB of CPU memory reserved "
        "for it on node 0, leaving none for the KV cache. On the CPU backend, the `--gpu-memory-utilization` flag "
        "controls the fraction of CPU memory reserved (despite its name)."
    ),
}


class TestACacheWithoutRoom:
    @pytest.mark.parametrize("message", NO_ROOM.values(), ids=NO_ROOM)
    def test_is_what_the_machine_leaves(self, sent: Sent, message: str) -> None:
        found = said(message, sent({"gpu_memory_utilization": 0.1}))
        assert type(found) is EnvironmentLacksError
        assert found.cause.startswith("vllm.gpu_memory_utilization: no room for the KV cache while loading m: ")
        assert message[:80] in found.cause
        assert found.remedy.startswith("raise vllm.gpu_memory_utilization, or lower vllm.max_model_len")

    @pytest.mark.parametrize("field", ["kv_cache_memory_bytes", "num_gpu_blocks_override"])
    def test_that_was_asked_for_works_nowhere(self, sent: Sent, field: str) -> None:
        found = said(NO_ROOM["0.11.2, one request"], sent({field: 4}))
        assert type(found) is RequestError
        assert found.cause.startswith(f"vllm.{field}: no room for the KV cache")
        assert found.remedy.startswith(f"raise vllm.{field}, or lower")

    def test_of_so_many_blocks_is_not_made_larger_by_more_memory(self, sent: Sent) -> None:
        asked = {"kv_cache_memory_bytes": 2**30, "num_gpu_blocks_override": 1}
        found = said(NO_ROOM["0.26.0 to 0.33.0, one request"], sent(asked))
        assert type(found) is RequestError
        assert found.cause.startswith("vllm.num_gpu_blocks_override: no room for the KV cache")
        assert found.remedy.startswith("raise vllm.num_gpu_blocks_override, or lower")


DRAFT = {"method": "draft_model", "model": "d", "num_speculative_tokens": 2, "max_model_len": 100_000}


class TestAContextThatTheModelHasNot:
    @pytest.mark.parametrize(
        ("derived", "has"),
        [
            ("max_position_embeddings=512 or model_max_length=None", 512),
            ("max_position_embeddings=131072.0 or model_max_length=None", 131072),  # scaled
            ("n_positions=1024 or model_max_length=2048", 2048),
        ],
    )
    @pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "in pydantic's frame"])
    def test_is_refused_with_what_it_has(self, sent: Sent, derived: str, has: int, wrapped: bool) -> None:
        message = (
            "User-specified max_model_len (4096) is greater than the derived max_model_len "
            f"({derived} in model's config.json). To allow overriding this maximum, set the env var "
            "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. VLLM_ALLOW_LONG_MAX_MODEL_LEN must be used with extreme caution."
        )
        error = invalid("max_model_len", message) if wrapped else ValueError(message)
        found = explain(error, sent({"max_model_len": 4096}), "m", "loading", "")
        assert type(found) is RequestError
        assert found.cause == f"vllm.max_model_len: 4096 tokens were asked for, the model's context is {has}"
        assert found.remedy == f"lower it to {has} at most"

    @pytest.mark.parametrize("own", [{}, {"max_model_len": 256}], ids=["alone", "beside the model's"])
    def test_is_the_drafts_where_that_asked_for_it(self, sent: Sent, own: dict[str, Any]) -> None:
        message = (
            "User-specified max_model_len (100000) is greater than the derived max_model_len "
            "(max_position_embeddings=512 or model_max_length=None in model's config.json)."
        )
        found = said(message, sent({**own, "speculative_config": DRAFT}))
        assert found.cause.startswith("vllm.speculative_config.max_model_len: 100000 tokens were asked for")
        assert found.remedy == "lower it to 512 at most"


def invalid(field: str, message: str = "") -> ValidationError:
    """What pydantic raises for a value, with a message of a validator or its own."""

    class ModelConfig(BaseModel):
        value: int = Field(alias=field, gt=0)

        @field_validator("value")
        @classmethod
        def _refuse(cls, value: int) -> int:
            raise ValueError(message)

    with pytest.raises(ValidationError) as caught:
        ModelConfig.model_validate({field: 1 if message else 0})
    return caught.value


class TestMemoryThatRunsOut:
    @pytest.mark.parametrize(
        "message",
        [
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
            (
                "CUDA out of memory occurred when warming up sampler with 256 dummy requests. Please try lowering "
                "`max_num_seqs` or `gpu_memory_utilization` when initializing the engine."
            ),
            "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate",
        ],
        ids=["CUDA", "warming up the sampler", "CPU"],
    )
    def test_is_the_machines(self, sent: Sent, message: str) -> None:
        found = said(message, sent(), "warming up")
        assert type(found) is EnvironmentLacksError
        assert found.cause.startswith(f"out of memory while warming up m: {message[:60]}")
        assert "lower vllm.gpu_memory_utilization, vllm.max_model_len, vllm.max_num_seqs" in found.remedy


@pytest.mark.parametrize(
    "message",
    [
        "Tensor parallel size (4) cannot be larger than the number of available GPUs (2).",
        (
            "World size (4) is larger than the number of available GPUs (2) in this node. If this is intentional and "
            "you are using:\n- ray, set '--distributed-executor-backend ray'."
        ),
    ],
    ids=["0.11.2", "0.19.1 to 0.33.0"],
)
def test_more_workers_than_gpus_are_named_by_what_multiplies_them(sent: Sent, message: str) -> None:
    found = said(message, sent({"tensor_parallel_size": 2, "pipeline_parallel_size": 2}))
    assert type(found) is EnvironmentLacksError
    assert found.cause.startswith("vllm.tensor_parallel_size times vllm.pipeline_parallel_size: ")
    assert found.cause.endswith("number of available GPUs (2)")


class TestARefusal:
    @pytest.mark.parametrize(
        ("vllm", "message", "fields"),
        [
            pytest.param(
                {"max_num_seqs": 600, "max_num_batched_tokens": 512},
                "max_num_batched_tokens (512) must be greater than or equal to max_num_seqs (600).",
                ["vllm.max_num_seqs", "vllm.max_num_batched_tokens"],
                id="by their names",
            ),
            pytest.param(
                {"block_size": 7, "max_num_seqs": 4},
                "No common block size for 7 (CPU_ATTN: [MultipleOf(32)]).",
                ["vllm.block_size"],
                id="by its words",
            ),
            pytest.param(
                {"tensor_parallel_size": 3},
                "Total number of attention heads (2) must be divisible by tensor parallel size (3).",
                ["vllm.tensor_parallel_size"],
                id="by several words",
            ),
            pytest.param(
                {"tensor_parallel_size": 3, "decode_context_parallel_size": 2},
                "tp_size=3 must be divisible by dcp_size=2.",
                ["vllm.tensor_parallel_size", "vllm.decode_context_parallel_size"],
                id="by their short names",
            ),
            pytest.param(
                {"decode_context_parallel_size": 2, "tensor_parallel_size": 2},
                "The model's number of query heads per KV head (1) must be divisible by "
                "`--decode-context-parallel-size` (2) for GQA/MQA.",
                ["vllm.decode_context_parallel_size"],
                id="by its option, and the model is not blamed",
            ),
            pytest.param(
                {"temperature": 3.0}, "temperature must be in [0, 2], got 3.0.", ["vllm.temperature"], id="by one word"
            ),
            pytest.param(
                {"compilation_config": {"mode": 3, "cudagraph_mode": "FULL"}},
                "cudagraph_mode FULL is not supported with this attention backend",
                ["vllm.compilation_config.cudagraph_mode"],
                id="inside an object",
            ),
            pytest.param(
                {"max_num_seqs": 2}, "This model has no such kernel.", [], id="the model is no mention of `model`"
            ),
            pytest.param(
                {"quantization": "awq", "dtype": "auto"},
                "Cannot find the config file for awq, auto",
                ["vllm.quantization"],
                id="by its value",
            ),
            pytest.param(
                {"max_model_len": 256, "speculative_config": DRAFT},
                "speculative_max_model_len=100000 cannot be larger than draft_max_model_len=512",
                ["vllm.speculative_config.max_model_len"],
                id="of the draft",
            ),
            pytest.param(
                {"speculative_config": DRAFT, "max_model_len": 256},
                "max_num_batched_tokens (128) is smaller than max_model_len (256).",
                ["vllm.max_model_len"],
                id="of the model and not of the draft",
            ),
            pytest.param(
                {"quantization": "awq", "load_format": "dummy"},
                "Not a dummy: unknown method 'awq'",
                ["vllm.quantization"],
                id="what is quoted before what is a word",
            ),
            pytest.param(
                {"load_format": "pt"}, "Invalid load_format: pt", ["vllm.load_format"], id="short, with its field"
            ),
            pytest.param({"load_format": "pt"}, "The pt of layer 7 has no shape", [], id="a short value is no mention"),
            pytest.param({"load_format": "123"}, "expected 123 rows", [], id="a number is no mention of a value"),
            pytest.param({"n": 2}, "n must be 1 when using greedy sampling, got 2.", [], id="a letter is no mention"),
        ],
    )
    def test_names_the_fields_that_it_speaks_of(
        self, sent: Sent, vllm: dict[str, Any], message: str, fields: list[str]
    ) -> None:
        found = said(message, sent(vllm))
        assert type(found) is RequestError
        assert message in found.cause
        if fields:
            assert found.cause == f"{', '.join(fields)}: refused while loading m: {message}"
            assert found.remedy == f"change or remove {' or '.join(fields)}"
        else:
            assert found.cause.startswith("m: failed while loading (ValueError): ")

    def test_of_pydantics_is_told_without_its_frame(self, sent: Sent) -> None:
        found = explain(invalid("block_size"), sent({"block_size": 7}), "m", "loading", "")
        assert type(found) is RequestError
        assert found.cause == "vllm.block_size: refused while loading m: block_size: Input should be greater than 0"

    def test_of_a_validators_own_is_told_in_its_words(self, sent: Sent) -> None:
        error = invalid("value", "max_num_seqs must be even")
        found = explain(error, sent({"max_num_seqs": 7}), "m", "loading", "")
        assert found.cause == "vllm.max_num_seqs: refused while loading m: value: max_num_seqs must be even"

    def test_that_names_nothing_we_sent_keeps_the_engines_message(self, sent: Sent) -> None:
        found = explain(NotImplementedError("no such kernel here"), sent(), "m", "loading", "")
        assert type(found) is RequestError
        assert found.cause == "m: failed while loading (NotImplementedError): no such kernel here"

    @pytest.mark.parametrize(
        ("error", "kind", "cause"),
        [
            (
                OSError("We couldn't connect to 'https://hub' to load the files"),
                EnvironmentLacksError,
                "model: owner/name: not in the local cache, and the hub cannot be reached while loading",
            ),
            (
                OSError("owner/name does not appear to have a file named config.json"),
                RequestError,
                "model: owner/name: it has no file config.json",
            ),
            (
                ImportError("Please install flashinfer: pip install flashinfer"),
                EnvironmentLacksError,
                "loading owner/name needs a package that is not here",
            ),
        ],
        ids=["the hub", "the folder", "a package"],
    )
    def test_for_what_any_backend_needs_is_told_alike(
        self, sent: Sent, error: Exception, kind: type[LlemError], cause: str
    ) -> None:
        found = explain(error, sent(model="owner/name"), "owner/name", "loading", "")
        assert type(found) is kind
        assert found.cause.startswith(cause)

    def test_of_our_own_stays_as_it_is(self, sent: Sent) -> None:
        own = FindingError("cause", "remedy")
        assert explain(own, sent(), "m", "loading", "") is own


class TestAnotherProcess:
    """The engine and its workers are processes of their own: who waits for them only knows that they failed."""

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError(CORE_FAILED.format("{'EngineCore_DP0': 1}")),
            RuntimeError(CORE_FAILED.format("{}")),
            Exception("WorkerProc initialization failed due to an exception in a background process."),
            EngineDeadError(),
        ],
        ids=["the core", "a core that still ends", "a worker", "while it ran"],
    )
    def test_told_the_cause_in_the_log(self, sent: Sent, log: Callable[..., str], error: Exception) -> None:
        place = log(
            "(Worker pid=60) ERROR 11-23 22:23:56 [multiproc_executor.py:1063] ValueError: No common block size for 7.",
            f"(EngineCore pid=39) ERROR 11-23 22:23:56 [core.py:1510] RuntimeError: {WORKER_FAILED.format('No')}",
        )
        found = explain(error, sent({"block_size": 7}), "m", "loading", place)
        assert type(found) is RequestError
        assert found.cause == "vllm.block_size: refused while loading m: No common block size for 7."

    def test_told_the_machines_lack_in_the_log(self, sent: Sent, log: Callable[..., str]) -> None:
        place = log(f"(EngineCore_DP0 pid=7) ERROR 11-23 22:00:02 [core.py:842] ValueError: {OCCUPIED['0.11.2']}")
        found = explain(RuntimeError(CORE_FAILED.format("{'EngineCore_DP0': 1}")), sent(), "m", "loading", place)
        assert type(found) is EnvironmentLacksError
        assert found.cause.startswith("vllm.gpu_memory_utilization: Free memory on device (10.2/79.1 GiB)")

    def test_may_hand_the_cause_on_by_itself(self, sent: Sent) -> None:
        """Where the engine runs in this process there is no log to look into."""
        error = RuntimeError(WORKER_FAILED.format("No common block size for 7."))
        found = explain(error, sent({"block_size": 7}), "m", "loading", "")
        assert found.cause == "vllm.block_size: refused while loading m: No common block size for 7."

    def test_that_was_killed_is_a_death_with_its_last_lines(self, sent: Sent, log: Callable[..., str]) -> None:
        place = log(
            "ImportError: something optional, long before",
            "(Worker pid=60) INFO 11-23 22:23:55 [cpu_model_runner.py:68] Starting to load model m...",
            "(EngineCore pid=24) ERROR 11-23 22:31:01 [multiproc_executor.py:315] Worker proc VllmWorker-1 died "
            "unexpectedly (exit code: -9), shutting down executor.",
            "(EngineCore pid=24) ERROR 11-23 22:31:10 [core.py:1512] RuntimeError: cancelled",
        )
        found = explain(EngineDeadError(), sent(), "m", "generating with", place)
        assert type(found) is EnvironmentLacksError
        assert found.cause.startswith(
            "vLLM's engine, while generating with m, died (Worker proc VllmWorker-1 died unexpectedly "
            "(exit code: -9)); its last lines: "
        )
        assert "Starting to load model m... | Worker proc VllmWorker-1 died" in found.cause
        assert "lower gpu_memory_utilization, max_model_len or max_num_seqs" in found.remedy

    def test_whose_death_only_its_exit_code_tells(self, sent: Sent, log: Callable[..., str]) -> None:
        place = log("ImportError: something optional, long before", "INFO 11-23 22:00:02 [a.py:1] Loading m")
        error = RuntimeError(CORE_FAILED.format("{'EngineCore_DP0': -9}"))
        found = explain(error, sent(), "m", "loading", place)
        assert type(found) is EnvironmentLacksError
        assert found.cause.endswith(
            f"died ({error}); its last lines: ImportError: something optional, long before | Loading m"
        )

    @pytest.mark.parametrize(
        "message", ["CUDA error: an illegal memory access was encountered", "NCCL error: unhandled system error"]
    )
    def test_that_crashed_on_the_device_is_a_death_too(self, sent: Sent, message: str) -> None:
        found = said(message, sent(), "generating with")
        assert type(found) is EnvironmentLacksError
        assert found.cause == f"vLLM's engine, while generating with m, died ({message})"


def test_an_engine_that_printed_nothing_died_without_lines() -> None:
    found = died("the engine's process", "SIGKILL", "")
    assert (found.cause, found.exit_code) == ("the engine's process died (SIGKILL)", 3)
