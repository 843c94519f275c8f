"""From the outputs of a window to its result: passes, requests, summary, and what a reader must know."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from llenergymeasure.config.lowering import as_document
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core import prompts as prompt_sources
from llenergymeasure.core import results
from llenergymeasure.core.api import Api
from llenergymeasure.core.batching import BatchOutput
from llenergymeasure.core.energy.window import Window
from llenergymeasure.core.environment import describe_environment
from llenergymeasure.core.requests import Latencies, from_step_times, rate, summarise
from llenergymeasure.core.session import Opened, version_calls
from llenergymeasure.errors import FindingError

UNSTEADY = 1.25  # passes do the same work; beyond this ratio their mean says little
SHORT_WINDOW_S = 0.5  # below it, one hiccup of the machine decides the figures
NOT_CUT = (
    "the run was interrupted: the meters were read in the middle of a batch, and energy cannot be cut at the end of "
    "the last finished one"
)

Passes = Sequence[Sequence[BatchOutput]]


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a window left behind.

    Attributes:
        passes: the outputs of each pass over the workload; of an interrupted run, the last may be a part of one.
        complete: whether the window went to its end.
    """

    window: Window
    passes: Passes
    complete: bool
    warmup_s: float


def by_pass(outputs: Sequence[BatchOutput]) -> list[list[BatchOutput]]:
    """Outputs grouped by the pass they belong to: the n-th answer to a prompt is of the n-th pass."""
    seen: dict[int, int] = {}
    passes: list[list[BatchOutput]] = []
    for output in outputs:
        first = output.prompts[0].index
        number = seen.get(first, 0)
        seen[first] = number + 1
        while len(passes) <= number:
            passes.append([])
        passes[number].append(output)
    return passes


def finished(passes: Passes, requests: int) -> list[Sequence[BatchOutput]]:
    """The passes in which every prompt was answered."""
    return [outputs for outputs in passes if sum(len(output.prompts) for output in outputs) == requests]


def check_all_came_home(passes: Passes, requests: int, runs: int, *, complete: bool) -> None:
    """Every prompt must be there exactly once in each of the `runs` passes, whichever replica answered it.

    A run that is not complete may have a part of one more.

    Raises:
        FindingError: a figure over fewer or repeated requests would pass for one over all of them.
    """
    for number, outputs in enumerate(passes[:runs], 1):
        if flaw := _flaw(outputs, requests):
            raise _lost(f"pass {number} of the workload: {flaw}")
    if not runs <= len(passes) <= (runs if complete else runs + 1):
        raise _lost(f"{runs} passes ran and answers of {len(passes)} came back")


def _flaw(outputs: Sequence[BatchOutput], requests: int) -> str:
    answered = ([(prompt.index, prompt.index) for prompt in output.prompts] for output in outputs)
    try:
        found = len(prompt_sources.merge(answered))
    except ValueError as error:
        return str(error)
    return "" if found == requests else f"{found} of {requests} results are there"


def _lost(flaw: str) -> FindingError:
    return FindingError(
        f"requests were lost or repeated: {flaw}",
        "nothing was written: this is a defect of llenergymeasure or the backend, report it with the configuration",
    )


def gather(
    config: ExperimentConfig,
    opened: Sequence[Opened],
    measured: Measured,
    started_at: datetime,
    found: Sequence[str],
    api: Api,
) -> results.Result:
    """The result; `found` are the warnings of the checks that needed a run."""
    whole = _whole_passes(opened, measured)
    summary, energy = _figures(opened, measured)
    effective = opened[0].effective
    return results.Result(
        status="complete" if measured.complete else "interrupted",
        backend=config.backend,
        started_at=started_at.isoformat(timespec="seconds"),
        summary=summary,
        energy=energy,
        warnings=_warnings(opened, measured, found, summary),
        configuration=results.Configuration(
            requested=config.model_dump(mode="json", exclude_none=True),
            prompts_sha256=opened[0].prompts_sha256,
            sent=as_document(version_calls(config, api)),
            effective=effective.values,
            differences=[results.Difference(**dataclasses.asdict(item)) for item in effective.differences],
        ),
        replicas=len(opened),
        load_s=max(replica.load_s for replica in opened),
        warmup_s=measured.warmup_s,
        repeats=len(whole),
        passes=whole,
        environment=describe_environment(config.backend, [replica.process for replica in opened], opened[0].hardware),
        requests=_records(measured),
    )


def _figures(opened: Sequence[Opened], measured: Measured) -> tuple[results.Summary, results.Energy]:
    """Throughput over what was finished; energy over the whole window, and per token only where the two are one."""
    energy = measured.window.energy()
    used_gpus = any(replica.devices for replica in opened)
    figure_j = energy.gpu_total_j if used_gpus else energy.cpu_package_j
    window_s, reasons = measured.window.duration_s, dict(energy.reasons)
    if not measured.complete:
        ends = [output.end_s for outputs in measured.passes for output in outputs]
        window_s = max(ends) - measured.window.start_s if ends else 0.0
        if figure_j is not None:
            figure_j, reasons["summary"] = None, NOT_CUT
    summary = summarise(_records(measured), window_s, figure_j)
    return summary, results.Energy(
        window_s=energy.duration_s,
        gpu_energy_j=energy.gpu_energy_j,
        gpu_total_j=energy.gpu_total_j,
        cpu_package_j=energy.cpu_package_j,
        reasons=reasons,
    )


def _warnings(
    opened: Sequence[Opened], measured: Measured, found: Sequence[str], summary: results.Summary
) -> list[str]:
    effective = opened[0].effective
    warnings = [
        *(f"{difference}" for difference in effective.differences),
        *effective.warnings,
        *measured.window.energy().warnings,
        *found,
    ]
    if not measured.complete:
        warnings.insert(
            0,
            "interrupted: the figures are those of the batches that were finished, up to the end of the last one; "
            "energy cannot be cut there, so none is given per token",
        )
    rates = [rate(found.output_tokens, found.window_s) or 0.0 for found in _whole_passes(opened, measured)]
    if len(rates) > 1 and min(rates) * UNSTEADY < max(rates):
        warnings.append(
            f"the passes differ: {min(rates):.4g} to {max(rates):.4g} tokens/s; something else used the machine, "
            "or the warm-up was too short"
        )
    if summary.window_s < SHORT_WINDOW_S:
        warnings.append(
            f"the window lasted {summary.window_s:.3f} s: figures of so short a run are mostly chance; "
            "set measurement.min_duration_s"
        )
    return warnings


def _whole_passes(opened: Sequence[Opened], measured: Measured) -> list[results.PassResult]:
    whole = finished(measured.passes, sum(replica.requests for replica in opened))
    return [_pass(number, outputs) for number, outputs in enumerate(whole)]


def _pass(number: int, outputs: Sequence[BatchOutput]) -> results.PassResult:
    window_s = max(output.end_s for output in outputs) - min(output.start_s for output in outputs)
    tokens = sum(len(sequence) for output in outputs for sequences in output.sequences for sequence in sequences)
    return results.PassResult(
        repeat=number,
        window_s=window_s,
        requests=sum(len(output.prompts) for output in outputs),
        output_tokens=tokens,
        output_tokens_per_second=rate(tokens, window_s),
    )


def _records(measured: Measured) -> list[results.RequestResult]:
    ordered = sorted(
        ((output.end_s, repeat, output) for repeat, outputs in enumerate(measured.passes) for output in outputs),
        key=lambda item: item[:2],
    )
    return [
        record
        for batch, (_, repeat, output) in enumerate(ordered)
        for record in _records_of(output, repeat, batch, measured.window.start_s)
    ]


def latencies(output: BatchOutput) -> list[Latencies]:
    """Of each of its requests, as far as the backend tells when the tokens came."""
    if not output.steps:
        return [Latencies(None, None, (output.end_s - output.start_s) * 1000)] * len(output.prompts)
    if not output.last_only:
        counts = [max(map(len, sequences)) for sequences in output.sequences]
        return [
            from_step_times(output.start_s, steps, count) for steps, count in zip(output.steps, counts, strict=True)
        ]
    # Another sequence may have had its first token earlier.
    return [
        dataclasses.replace(from_step_times(output.start_s, steps, count), time_to_first_token_ms=None)
        for steps, count in zip(output.steps, output.last_only, strict=True)
    ]


def _records_of(output: BatchOutput, repeat: int, batch: int, window_start_s: float) -> list[results.RequestResult]:
    records = []
    for prompt, sequences, took, reason in zip(
        output.prompts, output.sequences, latencies(output), output.finished, strict=True
    ):
        counts = [len(sequence) for sequence in sequences]
        records.append(
            results.RequestResult(
                index=prompt.index,
                repeat=repeat,
                batch=batch,
                # Linux and macOS have one monotonic clock for all processes, the replicas' included.
                start_s=output.start_s - window_start_s,
                input_tokens=len(prompt.ids),
                output_tokens=sum(counts),
                sequence_output_tokens=counts,
                time_to_first_token_ms=took.time_to_first_token_ms,
                inter_token_latency_ms=took.inter_token_latency_ms,
                request_latency_ms=took.request_latency_ms,
                finish_reason=reason,
            )
        )
    return records
