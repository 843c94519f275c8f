"""Print vLLM's throughput through the tool against a plain `LLM.generate` on the same prompts, in one process.

    python benchmarks/vllm_throughput.py [MODEL_FOLDER] [--prompts 1 16 128] [--tokens N] [--rounds N] [--json FILE]

Without a folder a model in the shape of a 1.1 B Llama is made, whose weights vLLM fills with random numbers; `--tiny`
makes a tiny one for a CPU. The plain engine is a second `LLM` beside the tool's, with the same arguments and without
what the tool adds to them (statistics of each request, the extension of the workers). A round runs the tool once and
the plain call twice, in random order; the second plain call against the first shows the machine's noise. What is timed
is a window of one pass. Prefix caching is off in both, so that no round is easier than the first.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughput import compared

from llenergymeasure.audit.accepted_vllm import SHAPE
from llenergymeasure.audit.tiny import make_tiny_llama
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.api import RealApi, materialise
from llenergymeasure.core.inference_backends.base import Share
from llenergymeasure.core.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
         "num_key_value_heads": 4, "max_position_embeddings": 2048}  # fmt: skip
MEMORY = 0.3  # of the device, for each of the two engines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 16, 128])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or str(_made(Path(folder), tiny=given.tiny))
        memory = {"kv_cache_memory_bytes": 1 << 28} if given.tiny else {"gpu_memory_utilization": MEMORY}
        section: dict[str, Any] = {**memory, "enable_prefix_caching": False}
        if not given.model and not given.tiny:
            section["load_format"] = "dummy"
        first = _session(model, section, given.prompts[0], given.tokens)
        first.open()
        plain = RealApi().resolve("vllm.LLM")(**materialise(first.backend.calls["vllm.LLM"], RealApi()))
        for count in given.prompts:
            session = _session(model, section, count, given.tokens)
            session.backend.llm, session.backend.tokenizer = first.backend.llm, first.backend.tokenizer
            own = first.backend.llm.llm_engine.model_config.get_diff_sampling_param()
            session.backend.params = session.backend._make_params(own)  # noqa: SLF001 - the engine is there already
            session.batches = session.backend.prepare(session._prompts())  # noqa: SLF001
            found[count] = _compare(session, plain, given.rounds, count * given.tokens)
        plain.llm_engine.engine_core.shutdown()
        first.close()
    if given.json:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _made(folder: Path, *, tiny: bool) -> Path:
    return make_tiny_llama(folder, **(SHAPE if tiny else SMALL))


def _session(model: str, section: dict[str, Any], count: int, tokens: int) -> Any:
    config = ExperimentConfig.model_validate(
        {
            "model": model,
            "prompts": {"synthetic": {"count": count, "input_tokens": 128}},
            "output": {"max_tokens": tokens, "min_tokens": tokens},
            "vllm": section,
        }
    )
    return Session(config, Share())


def _compare(session: Any, plain: Any, rounds: int, tokens: int) -> dict[str, list[float]]:
    inputs, params = session.batches[0].inputs, session.backend.params
    runs: dict[str, Callable[[], Any]] = {
        "plain": lambda: plain.generate(inputs, params, use_tqdm=False),
        "plain again": lambda: plain.generate(inputs, params, use_tqdm=False),
        # The tool's engine, called as one would without it: what remains is between the engines, not the tool.
        "plain on the tool's": lambda: session.backend.llm.generate(inputs, params, use_tqdm=False),
        "tool": lambda: session.run(lambda: False, lambda _: None),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 2):
        for name in random.sample(list(runs), len(runs)):
            session.seed()
            start = time.perf_counter()
            runs[name]()
            seconds = time.perf_counter() - start
            if number > 1:  # the first rounds warm up
                times[name].append(seconds)
        session.take()
    both = [statistics.mean(pair) for pair in zip(times["plain"], times["plain again"], strict=True)]
    print(f"{len(inputs)} prompts: {tokens / statistics.median(times['tool']):.0f} tokens/s through the tool")
    print(compared("  tool / plain", both, times["tool"]))
    print(compared("  plain / plain", times["plain"], times["plain again"]))
    print(compared("  tool / plain on the tool's engine", times["plain on the tool's"], times["tool"]))
    return times


if __name__ == "__main__":
    main()
