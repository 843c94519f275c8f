"""Print generation's throughput through the tool against a plain loop over the same calls, in one process.

    python benchmarks/throughput.py [MODEL_FOLDER] [--gguf FILE] [--tokens N] [--batch N] [--rounds N] [--threads N]

Without a folder a tiny random model is made. A round runs the tool once and the plain loop twice, in random order: the
second plain loop against the first shows how much of a ratio is the machine's noise. What is timed is a window of one
pass; the tool seeds before it and counts after it, as in a run.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from llenergymeasure.audit.tiny import make_tiny_llama
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.api import RealApi
from llenergymeasure.core.experiment import plan
from llenergymeasure.core.session import Session


def plain(session: Session) -> None:
    """What a user would write: generate, batch after batch."""
    for batch in session.batches:
        session.backend.model.generate(**batch.inputs, **session.backend.generation)


def through_tool(session: Session) -> None:
    """One pass of an experiment's window."""
    session.run(lambda: False, lambda _: None)


def timed(run: Callable[[Session], None], session: Session) -> float:
    session.seed()
    start = time.perf_counter()
    run(session)
    return time.perf_counter() - start


def compared(name: str, base: Sequence[float], others: Sequence[float]) -> str:
    """The median of the rounds' ratios, with the interval that holds 95 % of the medians of resampled rounds."""
    ratios = [one / other for one, other in zip(base, others, strict=True)]
    medians = sorted(statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(1000))  # noqa: S311
    return f"{name}: median {statistics.median(ratios):.4f}, 95 % from {medians[25]:.4f} to {medians[975]:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--gguf")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--threads", type=int, help="of torch on the CPU")
    given = parser.parse_args()
    if given.threads:
        RealApi().resolve("torch.set_num_threads")(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or str(make_tiny_llama(Path(folder)))
        pytorch = {"batch_size": given.batch, **({"gguf_file": given.gguf} if given.gguf else {})}
        config = ExperimentConfig.model_validate(
            {
                "model": model,
                "prompts": {"synthetic": {"count": given.count, "input_tokens": 16}},
                "output": {"max_tokens": given.tokens, "min_tokens": given.tokens},
                "pytorch": pytorch,
            }
        )
        session = Session(config, plan(config, RealApi())[0])
        session.open()
        runs = {"plain": plain, "plain again": plain, "tool": through_tool}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(given.rounds + 1):
            for name in random.sample(list(runs), len(runs)):
                seconds = timed(runs[name], session)
                if number:  # the first round warms up
                    times[name].append(seconds)
            tokens = sum(len(row) for output in session.take() for group in output.sequences for row in group)
        print(f"through the tool: {tokens / statistics.median(times['tool']):.1f} tokens/s, {given.rounds} rounds")
        both = [statistics.mean(pair) for pair in zip(times["plain"], times["plain again"], strict=True)]
        print(compared("tool / plain loop", both, times["tool"]))
        print(compared("plain loop / plain loop", times["plain"], times["plain again"]))


if __name__ == "__main__":
    main()
