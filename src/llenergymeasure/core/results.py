"""The result of an experiment in its documented, versioned form: every figure that a run gives is a field here."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA: Literal[1] = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Distribution(_Part):
    """Mean and percentiles, in the unit that the field's name ends with.

    Percentiles interpolate linearly between the two nearest values, at rank (count - 1) · p/100 counted from 0: type 7
    of Hyndman and Fan (1996), numpy's default and what vLLM's benchmark reports.
    """

    count: int
    """Requests that have such a value."""
    mean: float
    """Sum of the values divided by `count`."""
    p50: float
    """Median."""
    p90: float
    """Value that 90 % of the requests do not exceed; percentiles interpolate linearly between the two nearest."""
    p99: float
    """Value that 99 % of the requests do not exceed."""


class RequestResult(_Part):
    """One prompt, answered once."""

    index: int
    """Place of the prompt in the workload, from 0; the same in every pass."""
    repeat: int
    """Pass over the workload that it belongs to, from 0."""
    batch: int
    """Call to the backend that answered it, numbered from 0 in the order of their ends; one call shares a number."""
    start_s: float
    """Start of its batch's call, in seconds from the start of the window."""
    input_tokens: int
    """Tokens of the prompt after cutting, padding not counted."""
    output_tokens: int
    """Tokens generated over all returned sequences, end tokens counted, padding not."""
    sequence_output_tokens: list[int]
    """The same for each returned sequence."""
    time_to_first_token_ms: float | None
    """Milliseconds from its batch's call to the step that brought its first token; null where not told (vLLM, `n`)."""
    inter_token_latency_ms: float | None
    """(last - first token's time) / (tokens - 1), in ms, of its longest sequence; of the one that ended last where only
    that one's times are told (vLLM, `n`); null where one step brought all."""
    request_latency_ms: float
    """Milliseconds from its batch's call to the step that brought its last token."""
    finish_reason: Literal["stop", "length", "time"]
    """Why generation ended: `stop` (an end token or stop string), `length` (the limit on output tokens) or `time`."""


class PassResult(_Part):
    """One whole pass over the workload, to see how much the passes differ."""

    repeat: int
    """Number of the pass, from 0."""
    window_s: float
    """Seconds from the start of the pass's first batch to the end of its last one."""
    requests: int
    """Requests answered in the pass: every prompt once."""
    output_tokens: int
    """Tokens generated in the pass."""
    output_tokens_per_second: float | None
    """`output_tokens / window_s`."""


class Summary(_Part):
    """All requests of the window; null is "undefined or not read", never 0."""

    requests: int
    """Requests answered, over all passes."""
    input_tokens: int
    """Tokens of their prompts, padding not counted."""
    output_tokens: int
    """Tokens generated, padding not counted."""
    window_s: float
    """Seconds from the start of the window to its end; of an interrupted run, to the end of its last finished batch."""
    output_tokens_per_second: float | None
    """`output_tokens / window_s`: tokens of prompts are not in it, what passes between requests is."""
    requests_per_second: float | None
    """`requests / window_s`."""
    time_to_first_token_ms: Distribution | None
    """Milliseconds to the first token, over the requests that have it."""
    inter_token_latency_ms: Distribution | None
    """Milliseconds per further token, over the requests with tokens in more than one step."""
    request_latency_ms: Distribution | None
    """Milliseconds from a batch's call to a request's last token, over all requests."""
    energy_j: float | None
    """Joules that the per-token figure uses: the GPUs' where the run used any, else the CPU packages'; null where one
    of them could not be read and where the run was interrupted (`energy.reasons` says why)."""
    energy_per_output_token_j: float | None
    """`energy_j / output_tokens`, in joules per token; reading the prompts is in it, so it falls as answers grow."""
    energy_per_request_j: float | None
    """`energy_j / requests`, in joules per request."""


class Energy(_Part):
    """Gross energy, idle draw included, between the meters' readings at the two edges of the window."""

    window_s: float
    """Seconds between the two readings; in an interrupted run the unfinished batch is in it."""
    gpu_energy_j: dict[str, float | None]
    """Joules of each GPU in use, by its UUID; null where it could not be read."""
    gpu_total_j: float | None
    """Their sum in joules; null as soon as one of them could not be read, or where the run used no GPU."""
    cpu_package_j: float | None
    """Joules of all CPU packages of the machine, other programs' share included; null where they could not be read."""
    reasons: dict[str, str]
    """Why a figure is null: by GPU UUID, CPU package, `gpu`, `cpu`, or `summary` for the summary's figures."""


class Difference(_Part):
    """A parameter that runs with another value than was sent."""

    field: str
    """Path of the field in the configuration."""
    sent: Any
    """Value that was sent."""
    effective: Any
    """Value that the running backend reads back."""


class Configuration(_Part):
    """What was asked for, what was sent, and what ran."""

    requested: dict[str, Any]
    """The configuration file with the tool's own defaults filled in."""
    prompts_sha256: str
    """SHA-256 over the token ids of all prompts in order, after cutting, as the JSON text `[[1,2],[3]]` without
    spaces: two results with the same one had the same input."""
    sent: dict[str, dict[str, Any]]
    """Parameters that the configuration set, by entry point and name; what the tool itself hands over in every run
    (the prepared prompts, for example) is not repeated here, the reference of the backend lists it as `owned`."""
    effective: dict[str, Any]
    """The running backend's own configuration, read back after loading, by its part (model, generation, …)."""
    differences: list[Difference]
    """Parameters that run with another value than was sent."""


class GPU(_Part):
    """One GPU that the backend sees."""

    uuid: str
    """Identity of the board, as NVML and nvidia-smi show it."""
    name: str
    """Product name."""
    memory_gib: float
    """Memory in GiB."""
    driver: str | None
    """Version of NVIDIA's driver; null where NVML does not answer."""
    power_limit_w: float | None
    """Watts that the driver holds the board to; null where NVML does not say."""


class Process(_Part):
    """One replica's process and its share of the CPU."""

    cpu_threads: int | None
    """Threads that the backend computes with (`torch.get_num_threads`); null where it does not say."""
    cpu_affinity: int
    """Logical cores that the operating system lets the process use."""


class Environment(_Part):
    """The machine and the packages that the result was measured with; no host or user names."""

    packages: dict[str, str]
    """Versions of this tool, the backend and what it computes with, by package."""
    python: str
    """Version of Python."""
    platform: str
    """Operating system and architecture."""
    cpu: str
    """Model of the processor."""
    cpu_cores: int | None
    """Logical cores of the machine; null where the system does not say."""
    cuda: str | None
    """Version of CUDA that the backend was built with; null where it sees no GPU."""
    gpus: list[GPU]
    """GPUs that the backend sees, in its order, used or not."""
    processes: list[Process]
    """One entry for each replica."""


class Result(_Part):
    """One experiment's result."""

    schema_version: Literal[1] = SCHEMA
    """Version of this form; it changes when a field changes its meaning or goes."""
    status: Literal["complete", "interrupted"]
    """`interrupted`: Ctrl-C ended the window early; all figures but `energy` are those of the finished batches."""
    backend: str
    """Backend that ran: the name of its section in the configuration."""
    started_at: str
    """Start of the run, UTC, ISO 8601."""
    summary: Summary
    """Figures over all requests of the window."""
    energy: Energy
    """What the meters read."""
    warnings: list[str]
    """What a reader must know before using the figures; also printed."""
    configuration: Configuration
    """What was asked for, what was sent, and what ran."""
    replicas: int
    """Replicas of the model that ran side by side."""
    load_s: float
    """Seconds that the slowest replica took to load, imports included, outside the window."""
    warmup_s: float
    """Seconds of warm-up, outside the window."""
    repeats: int
    """Passes over the workload that were finished."""
    passes: list[PassResult]
    """Figures of each finished pass."""
    environment: Environment
    """Packages, machine and processes."""
    requests: list[RequestResult]
    """Every request that was answered, in the order of the batches' ends."""
