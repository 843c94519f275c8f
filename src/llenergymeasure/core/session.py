"""One replica's work in whichever process it runs: load, encode its share of the prompts, warm up, run, read back."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llenergymeasure.config.lowering import Calls, lower
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core import prompts as prompt_sources
from llenergymeasure.core.api import Api, RealApi
from llenergymeasure.core.batching import Answer, Batch, BatchOutput, Prompt, prompts_sha256
from llenergymeasure.core.environment import Hardware, describe_hardware, describe_process
from llenergymeasure.core.inference_backends.base import Backend, Effective, Share
from llenergymeasure.core.inference_backends.kinds import kind_of
from llenergymeasure.core.results import Process
from llenergymeasure.errors import RequestError
from llenergymeasure.surface.model import Surface


@dataclass(frozen=True)
class Opened:
    """What a replica tells once it is loaded.

    Attributes:
        requests: prompts in its share.
        batches: calls per pass over its share.
        devices: CUDA ordinals or UUIDs of the GPUs that its model is on.
        load_s: from the start of loading to the first call's readiness, imports included.
        process: its share of the CPU.
        hardware: the GPUs that it sees.
        prompts_sha256: identity of the whole workload, the same in every replica.
    """

    requests: int
    batches: int
    devices: tuple[int | str, ...]
    effective: Effective
    load_s: float
    process: Process
    prompts_sha256: str
    hardware: Hardware


class Session:
    """Holds the loaded backend and the prepared batches of one share."""

    def __init__(self, config: ExperimentConfig, share: Share, api: Api | None = None) -> None:
        self.config = config
        self.share = share
        self.api = api or RealApi()
        self.backend: Backend = kind_of(config.backend).make(version_calls(config, self.api), self.api, share)
        self.batches: list[Batch] = []
        self.answers: list[Answer] = []
        self._compilations: int | None = None
        self._prompts_sha256 = ""
        self._seeded = False

    def open(self) -> Opened:
        """Load and prepare, so that nothing is left to do in the window but to generate."""
        start = time.perf_counter()
        if self.share.threads is not None:
            self.api.resolve("torch.set_num_threads")(self.share.threads)
        self.backend.load()
        self.batches = self.backend.prepare(self._prompts())
        loaded = time.perf_counter()
        effective = self.backend.effective(self.batches[0]) if self.batches else Effective({})
        return Opened(
            requests=sum(len(batch.prompts) for batch in self.batches),
            batches=len(self.batches),
            devices=tuple(self.backend.devices()),
            effective=effective,
            load_s=loaded - start,
            process=describe_process(),
            prompts_sha256=self._prompts_sha256,
            hardware=describe_hardware(),
        )

    def warm_up(self) -> None:
        """Run batches of the real workload, the largest first, so that memory and kernels are at their final size."""
        for batch in self._warmup_batches():
            self.backend.count(self.backend.generate(batch))  # what cannot be counted fails here, not after the window
            self.backend.verify_ran()  # nor what should have been compiled by now
        self._compilations = self.backend.compilations()
        self.seed()

    def seed(self) -> None:
        """Have the next pass start from the seed; it takes up to a millisecond, so the first is before the window."""
        self.backend.seed(self.share.replica)
        self._seeded = True

    def _warmup_batches(self) -> list[Batch]:
        largest = sorted(self.batches, key=lambda batch: -len(batch.prompts) * _width(batch))
        wanted = self.config.measurement.warmup_batches
        if wanted and self.backend.compilations() is not None:
            # A shape that comes up in the window for the first time would be compiled in it.
            shapes = {(len(batch.prompts), _width(batch)): batch for batch in reversed(largest)}
            wanted, largest = max(wanted, len(shapes)), [*shapes.values(), *largest]
        return list(itertools.islice(itertools.cycle(largest), wanted))

    def run(self, should_stop: Callable[[], bool], tick: Callable[[int], None]) -> bool:
        """One pass over the share; answers are kept even when it is interrupted.

        Returns:
            Whether the pass went to its end.
        """
        if not self._seeded:
            self.seed()
        self._seeded = False
        for batch in self.batches:
            if should_stop():
                return False
            try:
                answer = self.backend.generate(batch)
            except KeyboardInterrupt:  # only where a process of its own is told to break off
                if not should_stop():
                    raise
                return False
            self.answers.append(answer)
            tick(len(batch.prompts))
        return True

    def take(self) -> list[BatchOutput]:
        """The outputs since the last call, counted."""
        answers, self.answers = self.answers, []
        return [self.backend.count(answer) for answer in answers]

    def finish(self) -> list[str]:
        """Checks that need a run behind them; what a reader of the figures must know is returned."""
        self.backend.verify_ran()
        found = self.backend.noticed()
        compilations = self.backend.compilations()
        if compilations is not None and self._compilations is not None and compilations > self._compilations:
            count = compilations - self._compilations
            found.append(f"{count} graphs were compiled inside the window: its figures include that time")
        return found

    def close(self) -> None:
        self.batches = []
        self.backend.close()

    def _prompts(self) -> list[Prompt]:
        ids = encoded_prompts(self.config, self.backend)
        self._prompts_sha256 = prompts_sha256(ids)
        shares = prompt_sources.split(ids, self.share.replicas)
        return [Prompt(index, tuple(item)) for index, item in shares[self.share.replica]]


def _width(batch: Batch) -> int:
    return max(len(prompt.ids) for prompt in batch.prompts)


def version_calls(config: ExperimentConfig, api: Api) -> Calls:
    """The calls as the version that is there takes them."""
    return calls_on(config, api.surface(config.backend))


def calls_on(config: ExperimentConfig, surface: Surface) -> Calls:
    """The calls as a version takes them."""
    return lower(
        config, lambda target: surface.find(target.entry_point, target.name) is not None or target.backend == ""
    )


def encoded_prompts(config: ExperimentConfig, backend: Backend) -> list[list[int]]:
    """Token ids of every prompt, cut as the configuration says, the same on every backend.

    Raises:
        RequestError: a prompt has no tokens, or more than the limit or the model's context leave room for.
    """
    source = config.prompts
    size, special = backend.vocabulary()
    if source.synthetic is not None:
        made = prompt_sources.synthetic_token_ids(source.synthetic.lengths, size, special, source.synthetic.seed)
        encoded = made
    else:
        encoded = backend.encode(texts(config), chat=source.chat_template)
    return [_limited(config, ids, number, special, backend.context_limit()) for number, ids in enumerate(encoded, 1)]


def prompt_count(config: ExperimentConfig) -> int:
    """How many prompts the workload has, before any is encoded."""
    return config.prompts.synthetic.count if config.prompts.synthetic is not None else len(texts(config))


def texts(config: ExperimentConfig) -> list[str]:
    """The prompts as text, from the configuration or its file."""
    source = config.prompts
    if source.inline is not None:
        return source.inline
    assert source.file is not None  # noqa: S101 - Prompts holds exactly one source
    try:
        if source.file.suffix == ".jsonl":
            return prompt_sources.read_jsonl_prompts(source.file, source.key)
        return prompt_sources.read_text_prompts(source.file)
    except RequestError as error:
        place = config.place("prompts.file")
        raise RequestError(f"{place}prompts.file: {error.cause}", error.remedy) from None


def _limited(
    config: ExperimentConfig, ids: Sequence[int], number: int, special: frozenset[int], context: int | None
) -> list[int]:
    where = f"prompts: prompt {number}"
    if not ids:
        raise RequestError(f"{where} has no tokens", "remove it, or write something in it")
    limit, overflow = config.input.max_tokens, config.input.overflow
    if limit is not None and len(ids) > limit:
        if overflow == "error":
            raise RequestError(
                f"{where} has {len(ids)} tokens, and input.max_tokens is {limit}",
                "raise input.max_tokens, shorten the prompt, or set input.overflow to truncate_left or truncate_right",
            )
        ids = _cut(ids, limit, overflow == "truncate_left", special)
    room = None if context is None else context - config.output.max_tokens
    if room is not None and len(ids) > room:
        raise RequestError(
            f"{where} has {len(ids)} tokens, and the model's context of {context} leaves {max(room, 0) or 'none'} "
            f"beside output.max_tokens {config.output.max_tokens}",
            "shorten the prompt, lower output.max_tokens, or set input.max_tokens and input.overflow"
            if room > 0
            else f"lower output.max_tokens to less than {context}",
        )
    return list(ids)


def _cut(ids: Sequence[int], limit: int, left: bool, special: frozenset[int]) -> list[int]:  # noqa: FBT001
    """Cut, but keep the special tokens that the tokenizer put at the ends: without them it is another input."""
    head = next((place for place, token in enumerate(ids) if token not in special), len(ids))
    tail = next((place for place, token in enumerate(reversed(ids)) if token not in special), 0)
    kept = limit - head - tail
    if kept < 1:
        return prompt_sources.truncate(ids, limit, "left" if left else "right", "prompt")
    middle = prompt_sources.truncate(ids[head : len(ids) - tail], kept, "left" if left else "right", "prompt")
    return [*ids[:head], *middle, *ids[len(ids) - tail :]]
