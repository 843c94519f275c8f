"""Print generation's throughput through the tool against a plain loop over the same calls, in one process.

    python benchmarks/throughput.py MODEL_FOLDER [--gguf FILE] [--tokens N] [--batch N] [--pairs N]

Without a folder a tiny random model is made. The two are run in turn, and the ratio is taken pair by pair.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from llenergymeasure.audit.tiny import make_tiny_llama
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.api import RealApi
from llenergymeasure.core.experiment import plan
from llenergymeasure.core.session import Session


def plain(session: Session) -> int:
    """What a user would write: generate, batch after batch."""
    model, arguments = session.backend.model, session.backend.generation
    tokens = 0
    for batch in session.batches:
        returned = model.generate(**batch.inputs, **arguments)
        tokens += returned.shape[0] * (returned.shape[1] - batch.inputs["input_ids"].shape[1])
    return tokens


def through_tool(session: Session) -> int:
    """The measured loop of an experiment."""
    session.run(lambda: False, lambda _: None)
    return sum(len(sequence) for output in session.take() for group in output.sequences for sequence in group)


def timed(run, session: Session) -> float:
    start = time.perf_counter()
    tokens = run(session)
    return tokens / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--gguf")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=10)
    given = parser.parse_args()
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
        plain(session), through_tool(session)
        ratios, rates = [], []
        for pair in range(given.pairs):
            order = (plain, through_tool) if pair % 2 else (through_tool, plain)
            rate = {run: timed(run, session) for run in order}
            rates.append(rate[through_tool])
            ratios.append(rate[through_tool] / rate[plain])
        print(f"through the tool: {statistics.median(rates):.1f} tokens/s (median of {given.pairs})")
        print(f"tool / plain loop: median {statistics.median(ratios):.4f}, from {min(ratios):.4f} to {max(ratios):.4f}")


if __name__ == "__main__":
    main()
