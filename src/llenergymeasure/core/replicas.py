"""Replicas of the model, in this process or in their own: started together, gathered, never left behind."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from llenergymeasure.config.lowering import lower
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.api import Api, RealApi
from llenergymeasure.core.batching import BatchOutput
from llenergymeasure.core.inference_backends.base import Share, free_port
from llenergymeasure.core.inference_backends.kinds import kind_of
from llenergymeasure.core.isolation import (
    end_group,
    end_with_parent,
    interruptible,
    on_killed_child,
    quiet_tracker,
    stand_alone,
    sweep,
)
from llenergymeasure.core.session import Opened, Session
from llenergymeasure.errors import EnvironmentLacksError, LlemError

Tick = Callable[[int], None]
STOP_WITHIN_S = 15.0  # a batch in flight may end by itself; then the process is killed
_LEAVE_WITHIN_S = 1.5  # what is given up may still tidy


def plan_replicas(num_processes: int = 1, *, ranks: int = 1, devices: int = 0, cores: int = 1) -> list[Share]:
    """The processes of a run: num_processes replicas of `ranks` processes each, spread over the CUDA devices."""
    total = num_processes * ranks
    if ranks > 1 and 0 < devices < total:
        raise EnvironmentLacksError(
            f"{num_processes} replicas of {ranks} processes need {total} GPUs, {devices} are visible",
            "lower tp_size or num_processes",
        )
    threads = max(1, cores // total) if total > 1 else None
    ports = [free_port() for _ in range(num_processes)] if ranks > 1 else [0] * num_processes
    return [
        Share(
            replica=replica,
            replicas=num_processes,
            rank=rank,
            ranks=ranks,
            device=(replica * ranks + rank) % devices if devices else None,
            threads=threads,
            port=ports[replica],
        )
        for replica in range(num_processes)
        for rank in range(ranks)
    ]


class Replicas(Protocol):
    """All replicas of a run, driven in step."""

    def open(self) -> list[Opened]: ...

    def warm_up(self) -> None: ...

    def run(self, tick: Tick) -> bool: ...

    def take(self) -> list[BatchOutput]: ...

    def finish(self) -> list[str]: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


class LocalReplica:
    """The one replica of an ordinary run, in this process."""

    def __init__(self, config: ExperimentConfig, share: Share, api: Api | None = None) -> None:
        self._config = config
        self._session = Session(config, share, api)

    def open(self) -> list[Opened]:
        with _explained(self._config, "loading"):
            return [self._session.open()]

    def warm_up(self) -> None:
        with _explained(self._config, "warming up"):
            self._session.warm_up()

    def run(self, tick: Tick) -> bool:
        with _explained(self._config, "generating with"):
            return self._session.run(lambda: False, tick)

    def take(self) -> list[BatchOutput]:
        return self._session.take()

    def finish(self) -> list[str]:
        return self._session.finish()

    def stop(self) -> None:
        """Nothing runs beside this thread."""

    def close(self) -> None:
        self._session.close()


@contextlib.contextmanager
def _explained(config: ExperimentConfig, doing: str) -> Any:
    try:
        yield
    except LlemError:
        raise
    except Exception as error:
        raise kind_of(config.backend).explain(error, lower(config), config.model, doing, "") from error


class ProcessReplicas:
    """Every replica in a process of its own; a dead one ends the run with its reason, and none outlives it."""

    def __init__(self, config: ExperimentConfig, shares: Sequence[Share]) -> None:
        # spawn, not fork: a forked process cannot use CUDA, nor threads that the parent had.
        context = multiprocessing.get_context("spawn")
        quiet_tracker()
        self._stop = context.Event()
        self._shares = shares
        self._outputs: list[BatchOutput] = []
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []
        self._owing: set[int] = set()  # places of the replicas that have a command and no answer yet
        self._failed = False
        self._kind = kind_of(config.backend)
        self._logs: tempfile.TemporaryDirectory[str] | None = None
        if self._kind.own_process:
            self._logs = tempfile.TemporaryDirectory(prefix="llem-", ignore_cleanup_errors=True)
        for share in shares:
            ours, theirs = context.Pipe()
            log = f"{self._logs.name}/replica-{share.replica}.log" if self._logs else ""
            process = context.Process(
                target=_serve,
                args=(theirs, self._stop, config, dataclasses.replace(share, log=log)),
                name=f"llem-replica-{share.replica}-{share.rank}",
                # A daemon may start no processes, and an engine starts its workers.
                daemon=not self._kind.own_process,
            )
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def open(self) -> list[Opened]:
        opened = self._all("open", lambda _: None)
        return [self._whole(share.replica, opened) for share in self._shares if share.rank == 0]

    def _whole(self, replica: int, opened: Sequence[Opened]) -> Opened:
        """What a replica's first rank tells, with the devices of all its ranks: each of them draws power."""
        ranks = [answer for share, answer in zip(self._shares, opened, strict=True) if share.replica == replica]
        devices = sorted({device for answer in ranks for device in answer.devices})
        return dataclasses.replace(ranks[0], devices=tuple(devices))

    def warm_up(self) -> None:
        self._all("warm_up", lambda _: None)

    def run(self, tick: Tick) -> bool:
        return all(self._all("run", tick))

    def take(self) -> list[BatchOutput]:
        answers = self._all("take", lambda _: None)
        return [
            output
            for share, outputs in zip(self._shares, answers, strict=True)
            if share.rank == 0
            for output in outputs
        ]

    def finish(self) -> list[str]:
        found = [warning for answer in self._all("finish", lambda _: None) for warning in answer]
        return list(dict.fromkeys(found))  # replicas see much the same

    def stop(self) -> None:
        """Let every replica end the batch it is in, and take the answers that are still under way."""
        self._stop.set()
        if self._kind.own_process:
            # The whole workload is one call there: it is broken off, and the passes before it are kept.
            for place in self._owing:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._processes[place].pid, signal.SIGINT)
        until = time.monotonic() + STOP_WITHIN_S
        for pipe in [self._pipes[place] for place in sorted(self._owing)]:
            with contextlib.suppress(EOFError, OSError):
                while pipe.poll(max(0.0, until - time.monotonic())):
                    if pipe.recv()[0] != "tick":
                        break
        self._owing.clear()

    def close(self) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send("close")
        for place, process in enumerate(self._processes):
            # One that still owes an answer is in the middle of loading or of a call that nobody waits for any more.
            given_up = self._stop.is_set() or self._failed or place in self._owing
            process.join(_LEAVE_WITHIN_S if given_up else STOP_WITHIN_S)
            if self._kind.own_process:
                end_group(process)
            if process.is_alive():
                process.kill()
                process.join()
        for pipe in self._pipes:
            pipe.close()
        if self._logs is not None:
            sweep(self._logs.name)
            self._logs.cleanup()

    def _all(self, command: str, tick: Tick) -> list[Any]:
        """Send a command to every replica and gather their answers; ticks are passed on as they come."""
        for place, pipe in enumerate(self._pipes):
            try:
                pipe.send(command)
            except OSError:
                raise self._death(place) from None
            self._owing.add(place)
        answers: dict[int, Any] = {}
        while len(answers) < len(self._pipes):
            waiting = [pipe for place, pipe in enumerate(self._pipes) if place not in answers]
            for ready in wait(waiting):
                place = self._pipes.index(ready)  # type: ignore[arg-type]
                try:
                    kind, answer = self._pipes[place].recv()
                except (EOFError, ConnectionResetError):
                    raise self._death(place) from None
                if kind == "tick":
                    tick(answer if self._shares[place].rank == 0 else 0)
                    continue
                self._owing.discard(place)
                if kind == "error":
                    self._failed = True
                    raise answer
                answers[place] = answer
        return [answers[place] for place in range(len(self._pipes))]

    def _death(self, place: int) -> LlemError:
        share, process = self._shares[place], self._processes[place]
        self._failed = True
        process.join(2.0)
        code = process.exitcode
        how = _killed_by(-code) if isinstance(code, int) and code < 0 else f"exit code {code}"
        who = f"{self._kind.replicas}: replica {share.replica + 1} of {share.replicas}" if share.replicas > 1 else ""
        if self._logs is not None:
            return self._kind.died(who or "the engine's process", how, f"{self._logs.name}/replica-{share.replica}.log")
        return EnvironmentLacksError(f"{who or 'the replica'} died ({how})", "see its messages above")


def _killed_by(number: int) -> str:
    name = signal.Signals(number).name
    return f"{name}: most often the machine ran out of memory" if number == signal.SIGKILL else name


def _serve(pipe: Connection, stop: Any, config: ExperimentConfig, share: Share) -> None:
    """A replica's process: answers commands until it is told to close or its parent is gone."""
    # Ctrl-C reaches every process of the terminal; the parent decides, so that finished work comes home.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kind = kind_of(config.backend)
    if kind.own_process:
        stand_alone(share.log)
    end_with_parent(str(Path(share.log).parent) if share.log else "")
    if share.ranks > 1:
        os.environ |= {
            "RANK": str(share.rank), "LOCAL_RANK": str(share.rank), "WORLD_SIZE": str(share.ranks),
            "LOCAL_WORLD_SIZE": str(share.ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(share.port),
        }  # fmt: skip
    try:
        session = Session(config, share, RealApi())
    except Exception as error:  # noqa: BLE001 - as below
        pipe.recv()
        pipe.send(("error", kind.explain(error, lower(config), config.model, "loading", share.log)))
        return

    def run(tick: Tick) -> bool:
        if not kind.own_process:
            return session.run(stop.is_set, tick)
        with interruptible():
            return session.run(stop.is_set, tick)

    busy, sending = threading.Event(), threading.Lock()

    def send(kind_of_answer: str, answer: Any) -> None:
        with sending:
            pipe.send((kind_of_answer, answer))

    def give_up(name: str, number: int) -> None:
        send("error", kind.died(f"the engine's process {name}", _killed_by(number), share.log))
        os._exit(1)

    if kind.own_process:
        on_killed_child(busy, give_up)
    commands: dict[str, tuple[str, Callable[[], Any]]] = {
        "open": ("loading", session.open),
        "warm_up": ("warming up", session.warm_up),
        "run": ("generating with", lambda: run(lambda count: send("tick", count))),
        "take": ("collecting from", session.take),
        "finish": ("checking", session.finish),
    }
    with contextlib.suppress(EOFError, BrokenPipeError):
        while (command := pipe.recv()) != "close":
            doing, act = commands[command]
            busy.set()
            try:
                answer = ("done", act())
            except Exception as error:  # noqa: BLE001 - whatever the backend raises goes home as an error with a remedy
                answer = ("error", kind.explain(error, lower(config), config.model, doing, share.log))
            busy.clear()
            send(*answer)
        session.close()
