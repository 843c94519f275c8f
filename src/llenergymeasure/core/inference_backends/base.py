"""What every backend module offers to the experiment."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from llenergymeasure.core.batching import Answer, Batch, BatchOutput, Prompt
from llenergymeasure.errors import EnvironmentLacksError


@dataclass(frozen=True)
class Share:
    """Which part of the run a process does.

    Attributes:
        replica, replicas: its share of the prompts.
        rank, ranks: its share of the model, where one replica is spread over several processes.
        device: the CUDA device it starts on, None on CPU.
        threads: CPU threads it may use, None for the library's own choice.
        port: where the ranks of one replica, or the replicas of one engine, meet.
        log: the file that everything which the process prints goes to, "" where it has none of its own.
    """

    replica: int = 0
    replicas: int = 1
    rank: int = 0
    ranks: int = 1
    device: int | None = None
    threads: int | None = None
    port: int = 0
    log: str = ""


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class NotAsRequestedError(EnvironmentLacksError):
    """The backend loaded something else than was asked for; a measurement of it would claim what did not run."""


@dataclass(frozen=True)
class Difference:
    """A parameter that runs with another value than was sent.

    Attributes:
        field: the path as the user wrote it.
    """

    field: str
    sent: Any
    effective: Any

    def __str__(self) -> str:
        return f"{self.field}: {self.sent!r} was sent, {self.effective!r} runs"


@dataclass(frozen=True)
class Effective:
    """What the loaded backend says it runs with.

    Attributes:
        values: the backend's own configuration, by section, as JSON.
        differences: what the backend changed after accepting it.
        warnings: what a reader of the result should know besides.
    """

    values: dict[str, Any]
    differences: tuple[Difference, ...] = ()
    warnings: tuple[str, ...] = field(default=())


class Backend(Protocol):
    """One loaded engine; methods are called in this order."""

    def load(self) -> None:
        """Load tokenizer and model as sent; raises where what runs is not what was asked for."""

    def encode(self, texts: Sequence[str], *, chat: bool) -> list[list[int]]:
        """Token ids of each text, uncut."""

    def vocabulary(self) -> tuple[int, frozenset[int]]:
        """The vocabulary's size and its special token ids."""

    def context_limit(self) -> int | None:
        """Tokens of prompt and output together that the model can take, None where it does not say."""

    def prepare(self, prompts: Sequence[Prompt]) -> list[Batch]:
        """Cut prompts into calls, inputs on the device."""

    def generate(self, batch: Batch) -> Answer:
        """One call; returns when its tokens are there, and does nothing besides."""

    def count(self, answer: Answer) -> BatchOutput:
        """An answer's tokens, called outside the window."""

    def effective(self, batch: Batch) -> Effective:
        """Read back what runs, compared with what was sent; called outside the window, after a first call."""

    def seed(self, replica: int = 0) -> None:
        """Start everything random anew, so that every pass is the same, and each replica draws other numbers."""

    def verify_ran(self) -> None:
        """Checks that need a finished call, such as that compilation really happened."""

    def noticed(self) -> list[str]:
        """What a reader of the result should know and `effective` did not tell yet; called after the passes."""

    def compilations(self) -> int | None:
        """Graphs compiled so far in this process, None where nothing was asked to be compiled."""

    def devices(self) -> list[int | str]:
        """CUDA ordinals or UUIDs of the GPUs that the model uses, empty on CPU."""

    def close(self) -> None:
        """Free the model and its memory."""
