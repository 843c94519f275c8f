"""vLLM: one engine, called with what lowering sends, through `Api` alone; token ids in, exact counts out."""

import gc
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Calls
from llenergymeasure.config.vllm.entry_points import (
    BEAM_SEARCH,
    BEAM_SEARCH_PARAMS,
    GENERATE,
    LLM,
    RANKS,
    SAMPLING_PARAMS,
)
from llenergymeasure.core.api import Api, materialise
from llenergymeasure.core.batching import Answer, Batch, BatchOutput, Prompt
from llenergymeasure.core.inference_backends import vllm_counting, vllm_log, vllm_machine, vllm_readback
from llenergymeasure.core.inference_backends.base import Effective, Share
from llenergymeasure.errors import RequestError

# Installed in every worker by vLLM itself; it reads back what really runs there.
EXTENSION = "llenergymeasure.core.inference_backends.vllm_worker.WorkerExtension"


class VLLMBackend:
    """One engine and, behind it, the worker processes that it starts."""

    def __init__(self, calls: Calls, api: Api, share: Share | None = None) -> None:
        self.calls = calls
        self.api = api
        self.share = share or Share()
        self.llm: Any = None
        self.tokenizer: Any = None
        self.warnings: list[str] = []
        self._told: set[str] = set()
        self._cached: int | None = None  # prompt tokens that the first call found in the cache
        self._seeded = False
        self.params: Any = None
        self._seed: int = calls[LLM].get("seed", 0)

    def load(self) -> None:
        vllm_machine.refuse_revisions_of_folders(self.calls)
        self.warnings += vllm_machine.prepare(self.calls, self.api, self.share)
        self._make_params({})  # what a request may not ask for is refused before the minutes that loading can take
        arguments = materialise(self.calls[LLM], self.api)
        # Without statistics the engine tells no times of single requests.
        self.llm = self.api.resolve(LLM)(**arguments, disable_log_stats=False, worker_extension_cls=EXTENSION)
        # Nobody reads the counters that the engine then keeps of every step, too; they would cost up to 8 % of what is
        # measured (16 requests on a tiny model, vLLM 0.32.0 on a CPU: benchmarks/vllm_throughput.py).
        self.llm.llm_engine.logger_manager = None
        self.tokenizer = self.llm.get_tokenizer()
        self.params = self._make_params(self.llm.llm_engine.model_config.get_diff_sampling_param())

    def _make_params(self, own: Mapping[str, Any]) -> Any:
        """What every request asks for; where nothing is sent the checkpoint's own defaults apply, as in `generate`."""
        if BEAM_SEARCH_PARAMS in self.calls:
            return self.api.resolve(BEAM_SEARCH_PARAMS)(**materialise(self.calls[BEAM_SEARCH_PARAMS], self.api))
        return self.api.resolve(SAMPLING_PARAMS)(**{**own, **materialise(self.calls[SAMPLING_PARAMS], self.api)})

    def encode(self, texts: Sequence[str], *, chat: bool) -> list[list[int]]:
        if not chat:
            return [list(self.tokenizer.encode(text)) for text in texts]
        if getattr(self.tokenizer, "chat_template", None) is None:
            raise RequestError(
                "prompts.chat_template: the model's tokenizer has no chat template", "remove prompts.chat_template"
            )
        turns = [[{"role": "user", "content": text}] for text in texts]
        written = [
            self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) for turn in turns
        ]
        # The template wrote the special tokens; adding them again would change the input.
        return [list(self.tokenizer.encode(text, add_special_tokens=False)) for text in written]

    def vocabulary(self) -> tuple[int, frozenset[int]]:
        return len(self.tokenizer), frozenset(self.tokenizer.all_special_ids)

    def context_limit(self) -> int | None:
        return int(self.llm.llm_engine.model_config.max_model_len)

    def prepare(self, prompts: Sequence[Prompt]) -> list[Batch]:
        """The whole workload in one call: the engine itself decides which requests run together."""
        inputs = [{"prompt_token_ids": list(prompt.ids)} for prompt in prompts]
        return [Batch(tuple(prompts), inputs)] if prompts else []

    def seed(self, replica: int = 0) -> None:
        """Random numbers from the start, and no prompt of an earlier pass in the prefix cache."""
        self.llm.collective_rpc("llem_seed", args=((self._seed + replica) % 2**32,))
        self._forget_prefixes()
        self._seeded = True

    def _forget_prefixes(self) -> None:
        if Target(LLM, "kv_offloading_size") in self.calls.origins or "kv_transfer_config" in self.calls[LLM]:
            emptied = self.llm.reset_prefix_cache(reset_connector=True)
        else:
            emptied = self.llm.reset_prefix_cache()
        if emptied is False:  # some versions say nothing
            self.warnings.append("the prefix cache was not emptied between passes")

    def generate(self, batch: Batch) -> Answer:
        if BEAM_SEARCH_PARAMS in self.calls:
            entry_point, call, arguments = BEAM_SEARCH, self.llm.beam_search, {"params": self.params}
        else:
            entry_point, call, arguments = GENERATE, self.llm.generate, {"sampling_params": self.params}
        arguments = materialise({**arguments, **self._own(entry_point, batch)}, self.api)
        start = time.perf_counter()
        returned = call(batch.inputs, use_tqdm=False, **arguments)
        return Answer(batch.prompts, start, time.perf_counter(), returned)

    def _own(self, entry_point: str, batch: Batch) -> dict[str, Any]:
        """What is sent with the call; of lists with an entry for each prompt, the entries of this batch's prompts."""
        sent = dict(self.calls[entry_point])
        for target in RANKS:
            if target.entry_point == entry_point and isinstance(ranks := sent.get(target.name), list):
                sent[target.name] = [ranks[prompt.index] for prompt in batch.prompts]
        return sent

    def count(self, answer: Answer) -> BatchOutput:
        self._notice_cached(answer)
        beams = self.calls[BEAM_SEARCH_PARAMS]
        if not beams:
            return vllm_counting.counted(answer)
        eos = None if beams.get("ignore_eos") else getattr(self.tokenizer, "eos_token_id", None)
        return vllm_counting.counted(answer, vllm_counting.BeamEnds(beams["max_tokens"], eos))

    def _notice_cached(self, answer: Answer) -> None:
        """A connector may call its store emptied and keep it: a later call then finds more than the first one did.

        What the first call finds its own prompts share. Calls before the first seed may find each other's prompts.
        """
        found = vllm_counting.cached_tokens(answer.returned)
        if found is None or "kv_transfer_config" not in self.calls[LLM]:
            return
        if self._cached is None:
            self._cached = found
        elif self._seeded and found > self._cached:
            self.warnings.append("vllm.kv_transfer_config: the connector kept prompts of one pass for the next")

    def effective(self, batch: Batch) -> Effective:
        del batch
        return vllm_readback.read_back(self)

    def verify_ran(self) -> None:
        """A call that returned has run: the engine compiles while it loads."""

    def noticed(self) -> list[str]:
        log = self.share.log
        known = [*self.warnings, *(vllm_log.changes(Path(log)) if log else [])]
        new = [text for text in dict.fromkeys(known) if text not in self._told]
        self._told.update(new)
        return new

    def compilations(self) -> int | None:
        return None

    def devices(self) -> list[int | str]:
        found = [uuid for worker in self.llm.collective_rpc("llem_device") if (uuid := worker)]
        return list(dict.fromkeys(found))

    def close(self) -> None:
        llm, self.llm = self.llm, None
        self.tokenizer = self.params = None
        if llm is not None:
            llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        if os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0":
            # The engine ran in this process: its groups and its memory are still here.
            self.api.resolve("vllm.distributed.parallel_state.cleanup_dist_env_and_memory")()
