"""What vLLM's processes printed, in excerpts of real logs: paths, process ids and long lines are shortened."""

from pathlib import Path

import pytest

from llenergymeasure.core.inference_backends.vllm_log import changes, death, follows, last_lines, raised, warnings

# The fronts of lines that are too long to stand here with them.
FRONTS = {
    "worker| ": "(Worker_TP1 pid=60) ERROR 11-23 22:23:56 [multiproc_executor.py:1063] ",
    "core| ": "(EngineCore_DP0 pid=39) ERROR 11-23 22:23:56 [core.py:1510] ",
}

STARTING = """
Triton is installed, but doesn't include CPU backend. Disabling Triton.
(llem-replica-0-0 pid=25) INFO 11-23 22:23:41 [model.py:733] Resolved architecture: LlamaForCausalLM
(llem-replica-0-0 pid=25) WARNING 11-23 22:23:41 [vllm.py:1703] Enforce eager set, disabling torch.compile.
(EngineCore pid=39) INFO 11-23 22:23:48 [ompmultiprocessing.py:185] OpenMP thread binding info:\x20
(EngineCore pid=39) INFO 11-23 22:23:48 [ompmultiprocessing.py:185] \tlocal_world_size=1, reserve_cpu_num=1
/venv/site-packages/vllm/triton_utils/dispatcher.py:138: FutureWarning: `torch.distributed.reduce_op` is deprecated
  if hasattr(value, "__dict__"):
(Worker pid=60) WARNING 11-23 22:23:55 [cpu_worker.py:114] libtcmalloc is not found in LD_PRELOAD.
(EngineCore pid=39) WARNING 11-23 22:23:55 [vllm.py:1703] Enforce eager set, disabling torch.compile.
(Worker pid=60) INFO 11-23 22:23:55 [cpu_model_runner.py:68] Starting to load model /models/tiny...
Loading safetensors checkpoint shards:   0% | 0/1 [00:00<?, ?it/s]\rLoading safetensors checkpoint shards: 100%
"""

# A value that the kernel of a worker refuses, 0.32.0.
REFUSED = """
worker| WorkerProc hit an exception.
worker| Traceback (most recent call last):
worker|   File "/v1/worker/utils.py", line 554, in select
worker|     raise ValueError(
worker| ValueError: No common block size for 7 (CPU_ATTN).
core| EngineCore failed to start.
core| Traceback (most recent call last):
core|     raise RuntimeError(
core| RuntimeError: Worker failed with error 'No common block size for 7 (CPU_ATTN).', please check the stack trace
core| Worker proc VllmWorker-0 died unexpectedly (exit code: None), shutting down executor.
(EngineCore pid=39) INFO 11-23 22:23:58 [multiproc_executor.py:479] [shutdown] Executor: waiting for worker exit count=1
Process EngineCore:
Traceback (most recent call last):
  File "/v1/engine/core.py", line 1514, in run_engine_core
    raise e
RuntimeError: Worker failed with error 'No common block size for 7 (CPU_ATTN).', please check the stack trace
"""

# A worker killed while it generated, 0.32.0.
KILLED = """
core| Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor.
(EngineCore pid=24) WARNING 11-23 22:31:10 [multiproc_executor.py:501] [shutdown] Executor: sending SIGKILL count=1
core| Dumping input data for V1 LLM engine (v0.32.0) with config: model='m', speculative_config=None
core| Dumping scheduler output for model execution: SchedulerOutput(scheduled_new_reqs=[])
core| EngineCore encountered a fatal error.
core| Traceback (most recent call last):
core|     raise RuntimeError("cancelled")
core| RuntimeError: cancelled
"""

# The same in 0.11.2, which does not tell how.
KILLED_EARLIER = """
core| Worker proc VllmWorker-1 died unexpectedly, shutting down executor.
core| EngineCore encountered a fatal error.
core| RuntimeError: cancelled
"""

# A worker killed while it loaded, 0.32.0.
KILLED_LOADING = """
(EngineCore pid=73) WARNING 11-23 22:35:17 [multiproc_executor.py:501] [shutdown] Executor: sending SIGKILL count=1
core| EngineCore failed to start.
core| Traceback (most recent call last):
core|     raise e from None
core| Exception: WorkerProc initialization failed due to an exception in a background process.
Process EngineCore:
"""

# A board that others hold, 0.11.2 on CUDA; torch prints tracebacks with the rank in front.
OCCUPIED = """
worker| WorkerProc failed to start.
[rank1]: Traceback (most recent call last):
[rank1]:     raise ValueError(
[rank1]: ValueError: Free memory on device (10.2/79.1 GiB) is less than desired GPU memory utilization (0.9).
core| Exception: WorkerProc initialization failed due to an exception in a background process.
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': 1}
"""

OUT_OF_MEMORY = """
\x1b[1;36m(EngineCore pid=7)\x1b[0;0m ERROR 11-23 22:00:02 [core.py:842] torch.OutOfMemoryError: CUDA out of memory.
core| torch.OutOfMemoryError: CUDA out of memory.
"""

# A validation error says on the lines after it what is wrong.
INVALID = """
core| pydantic_core.ValidationError: 1 validation error for CacheConfig
core| block_size
core|   Input should be greater than 0 [type=greater_than, input_value=0, input_type=int]
core|     For further information visit https://errors.pydantic.dev/2.12/v/greater_than
"""

# A platform that lacks something often raises without a word of why.
WORDLESS = """
worker| WorkerProc failed to start.
worker| Traceback (most recent call last):
worker|   File "/v1/worker/worker_base.py", line 90, in load_model
worker|     raise NotImplementedError
worker| NotImplementedError
core| Traceback (most recent call last):
core|     raise e from None
core| Exception: WorkerProc initialization failed due to an exception in a background process.
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "replica-0.log"


def written(log: Path, *parts: str) -> Path:
    text = "".join(part.lstrip("\n") for part in parts)
    for short, front in FRONTS.items():
        text = text.replace(short, front)
    log.write_text(text, encoding="utf-8")
    return log


@pytest.mark.parametrize(
    ("excerpt", "found"),
    [
        pytest.param(
            REFUSED,
            ("ValueError", "No common block size for 7 (CPU_ATTN)."),
            id="what a worker raised",
        ),
        pytest.param(
            OCCUPIED,
            (
                "ValueError",
                "Free memory on device (10.2/79.1 GiB) is less than desired GPU memory utilization (0.9).",
            ),
            id="a rank in front",
        ),
        pytest.param(
            OUT_OF_MEMORY,
            ("OutOfMemoryError", "CUDA out of memory."),
            id="in colour, by module",
        ),
        pytest.param(
            INVALID,
            ("ValidationError", "1 validation error for CacheConfig block_size Input should be greater than 0"),
            id="on several lines",
        ),
        pytest.param(WORDLESS, ("NotImplementedError", "NotImplementedError"), id="without a message"),
        pytest.param("core| SystemError\n", None, id="a word alone, at no traceback's end"),
        pytest.param(KILLED, None, id="killed"),
        pytest.param(KILLED_EARLIER, None, id="killed, and nobody tells how"),
        pytest.param(KILLED_LOADING, None, id="killed while loading"),
        pytest.param("ImportError: an optional thing is not here, going on\n" + KILLED, None, id="killed, later"),
        pytest.param("", None, id="nothing more"),
    ],
)
def test_the_exception_that_ended_the_engine(log: Path, excerpt: str, found: tuple[str, str] | None) -> None:
    assert raised(written(log, STARTING, excerpt)) == found


@pytest.mark.parametrize(
    ("excerpt", "found"),
    [
        (KILLED, "Worker proc VllmWorker-1 died unexpectedly (exit code: -9)"),
        (KILLED_EARLIER, "Worker proc VllmWorker-1 died unexpectedly"),
        (KILLED_LOADING, ""),
    ],
)
def test_the_death_that_the_engine_noticed(log: Path, excerpt: str, found: str) -> None:
    assert death(written(log, STARTING, excerpt)) == found


@pytest.mark.parametrize(
    ("excerpt", "lines"),
    [
        (
            KILLED,
            [
                "Starting to load model /models/tiny...",
                "Loading safetensors checkpoint shards:   0% | 0/1 [00:00<?, ?it/s]",
                "Loading safetensors checkpoint shards: 100%",
                "Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor.",
                "EngineCore encountered a fatal error.",
                "RuntimeError: cancelled",
            ],
        ),
        (
            KILLED_LOADING,
            [
                "Loading safetensors checkpoint shards: 100%",
                "EngineCore failed to start.",
                "Exception: WorkerProc initialization failed due to an exception in a background process.",
            ],
        ),
    ],
)
def test_the_last_lines_say_what_happened_and_not_how_the_rest_was_put_away(
    log: Path, excerpt: str, lines: list[str]
) -> None:
    assert last_lines(written(log, STARTING, excerpt), len(lines)) == lines


def test_a_line_is_short_enough_to_stand_in_a_message(log: Path) -> None:
    (line,) = last_lines(written(log, f"INFO 11-23 22:00:02 [core.py:133] Initializing {'x' * 5000} (end)\n"))
    assert line.startswith("Initializing xxx")
    assert line.endswith("(end)")
    assert len(line) < 200


def test_a_line_that_many_processes_say_stands_once(log: Path) -> None:
    assert last_lines(written(log, *["(Worker pid=1) INFO 11-23 22:00:02 [a.py:1] the same\n"] * 9)) == ["the same"]


def test_warnings_are_the_engines_own_each_once_in_order(log: Path) -> None:
    assert warnings(written(log, STARTING)) == [
        "Enforce eager set, disabling torch.compile.",
        "libtcmalloc is not found in LD_PRELOAD.",
    ]


@pytest.mark.parametrize(
    "says",
    [
        # Each is vLLM's, cut short.
        "Both are set; the latter will be used, and the former will be ignored.",
        "Ignoring unreadable startup plan",
        "Falling back to CUTLASS.",
        "Async scheduling will be disabled because it is not supported with this",
        "Feature is not yet supported on XPU",
        "Failed to reset prefix cache because some blocks (3) are not freed yet",
    ],
)
def test_what_the_engine_does_otherwise_than_asked_is_told(log: Path, says: str) -> None:
    line = f"(EngineCore pid=39) WARNING 11-23 22:23:55 [vllm.py:1703] {says}\n"
    assert changes(written(log, STARTING, line, line)) == [f"vLLM: {says}"]


def test_of_what_the_engine_does_otherwise_ten_are_told(log: Path) -> None:
    lines = [f"WARNING 11-23 22:23:55 [a.py:1] thing {number} is disabled\n" for number in range(12)]
    assert changes(written(log, *lines)) == [f"vLLM: thing {number} is disabled" for number in range(10)]


@pytest.mark.parametrize(
    "says",
    [
        "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': 1}",
        "Frontend process failed during engine core initialization. See root cause above.",
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "WorkerProc initialization failed due to an exception in a background process.",
        "Worker failed with error 'x', please check the stack trace above for the root cause",
        "Executor failed.",
        "cancelled",
    ],
)
def test_who_waited_for_the_engine_knows_no_cause(says: str) -> None:
    assert follows(says)
    assert not follows("the request was cancelled by a rule")


def test_a_log_that_is_not_there_says_nothing(log: Path) -> None:
    assert (raised(log), death(log), last_lines(log), warnings(log)) == (None, "", [], [])


def test_a_log_that_is_no_text_is_read_as_far_as_it_goes(log: Path) -> None:
    log.write_bytes(b"\xff\xfe\nWARNING 11-23 22:00:02 [a.py:1] half of \xc3 a letter\n")
    assert warnings(log) == ["half of \N{REPLACEMENT CHARACTER} a letter"]
