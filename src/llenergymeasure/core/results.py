"""The result of an experiment: its documented, versioned form, written whole or not at all."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llenergymeasure.errors import EnvironmentLacksError, RequestError

SCHEMA: Literal[1] = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Distribution(_Part):
    """Mean and percentiles; linear interpolation between the two nearest values."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float


class RequestResult(_Part):
    """One prompt, answered once."""

    index: int
    """Place of the prompt in the workload, from 0."""
    repeat: int
    """Pass over the workload, from 0."""
    batch: int
    """Call that answered it, in the order of their ends."""
    input_tokens: int
    """Tokens of the prompt, padding not counted."""
    output_tokens: int
    """Tokens generated over all returned sequences, end tokens counted, padding not."""
    sequence_output_tokens: list[int]
    """The same, per returned sequence."""
    time_to_first_token_ms: float | None
    """From its batch's call to the step that brought its first token; null where the API tells no steps."""
    inter_token_latency_ms: float | None
    """(last token - first token) / (tokens - 1); null for fewer than two tokens."""
    request_latency_ms: float
    """From its batch's call to the step that brought its last token."""
    finish_reason: str
    """`stop` (an end token or stop string) or `length`."""


class Energy(_Part):
    """Gross energy of the window, in joules; null is no reading, and `reasons` says why."""

    gpu_energy_j: dict[str, float | None]
    gpu_total_j: float | None
    cpu_package_j: float | None
    reasons: dict[str, str]


class SummaryResult(_Part):
    """All requests of the window."""

    requests: int
    input_tokens: int
    output_tokens: int
    window_s: float
    """Length of the window, from its first call to its last token."""
    output_tokens_per_second: float | None
    requests_per_second: float | None
    time_to_first_token_ms: Distribution | None
    inter_token_latency_ms: Distribution | None
    request_latency_ms: Distribution | None
    energy_j: float | None
    """Energy that the per-token figure uses: the GPUs' where the run used any, else the CPU packages'."""
    energy_per_output_token_j: float | None
    energy_per_request_j: float | None


class Configuration(_Part):
    """What was asked for, what was sent, and what ran."""

    requested: dict[str, Any]
    """The configuration file, defaults filled in."""
    sent: dict[str, dict[str, Any]]
    """Keyword arguments per entry point; nothing else was passed but what `owned` lists."""
    effective: dict[str, Any]
    """The running backend's own configuration, read back after loading."""
    differences: list[dict[str, Any]]
    """Each parameter that runs with another value than was sent: field, sent, effective."""


class Result(_Part):
    """One experiment's result; `schema_version` changes when a field changes its meaning or goes."""

    schema_version: Literal[1] = SCHEMA
    status: Literal["complete", "interrupted"]
    """`interrupted`: Ctrl-C ended the window early; the figures are those of the batches that were finished."""
    backend: str
    started_at: str
    """UTC, ISO 8601."""
    summary: SummaryResult
    energy: Energy
    warnings: list[str]
    """What a reader must know before using the figures; also printed."""
    configuration: Configuration
    replicas: int
    load_s: float
    """Slowest replica's time to load, outside the window."""
    warmup_s: float
    repeats: int
    """Passes over the workload that were finished."""
    environment: dict[str, Any] = Field(default_factory=dict)
    """Versions of the packages, Python, platform, CPU and GPUs."""
    requests: list[RequestResult]


def write_result(result: Result, folder: Path) -> Path:
    """Write result.json; an earlier one stays whole until the new one is complete.

    Raises:
        EnvironmentLacksError: the disk is full or the folder cannot be written.
    """
    return write_whole(folder / "result.json", result.model_dump_json(indent=1) + "\n")


def write_whole(path: Path, text: str) -> Path:
    """Write through a temporary file in the same folder, then rename: the old content or the new, never a part."""
    temporary: str | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise EnvironmentLacksError(
            f"{path}: cannot be written ({error.strerror})",
            "free disk space, or choose another folder with -o; an earlier file is untouched",
        ) from error
    return path


def read_result(path: Path) -> Result:
    """Read a result.json.

    Raises:
        RequestError: not a result, or one of another schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RequestError(
            f"{path}: not a readable result ({error})", "give a result.json that `llem run` wrote"
        ) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA:
        raise RequestError(
            f"{path}: result schema {version}, this version of llem reads {SCHEMA}",
            "read it with the llem version that wrote it",
        )
    try:
        return Result.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}", "the file was changed after it was written"
        ) from None


def prepare_folder(folder: Path, *, overwrite: bool) -> Path:
    """Make the output folder, before anything expensive runs.

    Raises:
        RequestError: it is a file, or holds a result already and overwrite is off.
        EnvironmentLacksError: it cannot be made or written.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder}: is a file, not a folder", "give another folder with -o")
    if (folder / "result.json").exists() and not overwrite:
        raise RequestError(
            f"{folder}: holds a result already", "give another folder with -o, or --overwrite to replace it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EnvironmentLacksError(
            f"{folder}: cannot be written ({error.strerror})", "give a writable folder with -o"
        ) from error
    return folder
