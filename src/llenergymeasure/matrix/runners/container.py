"""One container from its making to its removal: confined, watched, ended at its deadline, and never left behind."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.matrix.limits import GIB, Limits
from llenergymeasure.matrix.runners import results
from llenergymeasure.matrix.runners.base import OnLine
from llenergymeasure.matrix.runners.daemon import Daemon, failures
from llenergymeasure.matrix.runners.output import BoundedLog, Lines
from llenergymeasure.matrix.runners.process import Ended, oom_kills_so_far, raise_if_stopped

if TYPE_CHECKING:
    from docker.types import DeviceRequest

OUT = "/out"
HOME = "/home/llem"
_POLL_S = 0.1
_ASK_S = 1.0
# What a kill may take: a process in the kernel's hands, on a busy machine.
_KILL_S = 20.0
_DRAIN_S = 5.0


@dataclass(frozen=True)
class Plan:
    """What runs in a container, and what that may touch.

    Attributes:
        image: its id, so that nothing else can be meant.
        folder: of this machine, mounted at `OUT`; None where it has no results.
        user: its numbers inside the container.
        devices: requests for GPUs.
        working_dir: "" for the image's own.
    """

    name: str
    image: str
    argv: Sequence[str]
    labels: Mapping[str, str]
    user: tuple[int, int]
    limits: Limits
    memory_bytes: int
    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    devices: Sequence["DeviceRequest"] = ()
    working_dir: str = ""


def run(
    daemon: Daemon,
    plan: Plan,
    *,
    log: Path,
    on_line: OnLine,
    deadline_s: float,
    grace_s: float = 10.0,
    keep: bool = False,
) -> Ended:
    """Run a container to its end, its deadline or one of its limits, and remove it, whichever way it ended.

    On expiry it gets SIGTERM and, after `grace_s`, SIGKILL; past its limit of results SIGKILL at once. With `keep` it
    is ended and stays for a look. Raises EnvironmentLacksError where it could not be started; a daemon that dies or
    hangs once it has is `Ended.lost`.
    """
    started = time.monotonic()
    watch = _Watch(daemon, plan, started + deadline_s, grace_s)
    output, ended = None, None
    with log.open("ab") as sink:
        try:
            output = _prepare(daemon, plan, BoundedLog(sink, int(plan.limits.log_gib * GIB)), on_line)
            with _or_not_started():
                daemon.api.start(plan.name)
            ended = watch.until_end(output)
        finally:
            if left := _end(daemon, plan.name, grace_s, keep=keep):
                on_line(left)
            if output is not None:
                # Of a daemon that has gone, nothing more comes.
                output.finish(0 if ended is not None and ended.lost else _DRAIN_S)
    return dataclasses.replace(ended, duration_s=time.monotonic() - started)


def create(daemon: Daemon, plan: Plan) -> None:
    """Make it, not started; the one place that says how a cell is confined."""
    from docker.types import LogConfig, Ulimit

    limits = plan.limits
    scratch = f"rw,exec,nosuid,nodev,mode=1777,size={int(limits.tmp_gib * GIB)}"
    options: dict[str, Any] = {
        "init": True,
        "network_mode": "none",
        "read_only": True,
        # Libraries compile into these and load what they compiled, hence exec.
        "tmpfs": {"/tmp": scratch, HOME: scratch},  # noqa: S108 - the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": limits.processes,
        "mem_limit": plan.memory_bytes,
        # No swap beside it: a container that is out of memory ends instead of crawling.
        "memswap_limit": plan.memory_bytes,
        "shm_size": int(limits.shm_gib * GIB),
        # A core file would be written by the host, wherever its pattern says.
        "ulimits": [Ulimit(name="core", soft=0, hard=0)],
        # All output is read as it comes; a copy of the daemon's own could fill the disk.
        "log_config": LogConfig(type="none"),
    }
    if plan.folder is not None:
        relabel = ",Z" if daemon.secured_by("selinux") else ""
        options["binds"] = {str(plan.folder): {"bind": OUT, "mode": f"rw{relabel}"}}
    if daemon.secured_by("userns"):
        # Else the daemon maps the user to another, who cannot write into the folder.
        options["userns_mode"] = "host"
    if plan.devices:
        options["device_requests"] = list(plan.devices)
    own = {"HOME": HOME, "USER": "llem", "LOGNAME": "llem"}
    daemon.api.create_container(
        plan.image,
        name=plan.name,
        entrypoint=[plan.argv[0]],
        command=list(plan.argv[1:]),
        user=f"{plan.user[0]}:{plan.user[1]}",
        labels=dict(plan.labels),
        environment={**plan.environment, **own},
        working_dir=plan.working_dir or None,
        # The caller's proxies are nothing to a container without a network.
        use_config_proxy=False,
        host_config=daemon.api.create_host_config(**options),
    )


class _Output:
    """Reads all that a container says, in a thread, so that it never waits for whoever looks on."""

    def __init__(self, chunks: Any, log: BoundedLog, on_line: OnLine) -> None:
        self._chunks = chunks
        self._log = log
        self._on_line = on_line
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        lines = Lines(self._on_line)
        try:
            for chunk in self._chunks:
                self._log.write(chunk)
                with contextlib.suppress(OSError):  # a terminal that has gone is no reason to stop the cell
                    lines.write(chunk)
            with contextlib.suppress(OSError):
                lines.close()
        except (OSError, ValueError):
            pass  # the daemon's end of it has gone, which the watch finds out by itself
        finally:
            self.over.set()

    def finish(self, patience_s: float) -> None:
        """Once the container has ended: nothing more can come that is not on its way."""
        self.over.wait(patience_s)
        with contextlib.suppress(*failures()):
            self._chunks.close()
        self.over.wait(1)
        # docker-py closes the socket for the reader only, and the connection it is of stays open.
        self._chunks._response.close()  # noqa: SLF001
        self._log.close()


def _prepare(daemon: Daemon, plan: Plan, log: BoundedLog, on_line: OnLine) -> _Output:
    """Attached before it runs: nothing that it says can be missed."""
    with _or_not_started():
        create(daemon, plan)
        return _Output(daemon.api.attach(plan.name, stdout=True, stderr=True, stream=True), log, on_line)


@contextlib.contextmanager
def _or_not_started() -> Iterator[None]:
    try:
        yield
    except failures() as error:
        raise EnvironmentLacksError(f"the container could not be started: {words(error)}") from error


class _Watch:
    """Waits for a container's end, and brings it about where it has gone too far."""

    def __init__(self, daemon: Daemon, plan: Plan, limit: float, grace_s: float) -> None:
        self._daemon = daemon
        self._plan = plan
        self._limit = limit
        self._grace_s = grace_s
        self._oom_before = oom_kills_so_far()
        self._next_ask = self._next_count = 0.0

    def until_end(self, output: _Output) -> Ended:
        timed_out, crashed = False, ""
        try:
            while not self._ended(output):
                raise_if_stopped()
                if time.monotonic() >= self._limit:
                    timed_out = True
                    stop(self._daemon, self._plan.name, self._grace_s)
                elif crashed := self._too_much():
                    stop(self._daemon, self._plan.name, 0)
                if timed_out or crashed:
                    break
                if output.over.wait(_POLL_S):
                    time.sleep(_POLL_S)
            # What it said last may still be on its way, and removing it would cut that off.
            output.over.wait(_DRAIN_S)
            state = self._daemon.api.inspect_container(self._plan.name)["State"]
        except failures() as error:
            return Ended(-1, timed_out=False, duration_s=0, lost=self._lost(error))
        if state["OOMKilled"] and not timed_out and not crashed:
            crashed = f"ran out of memory: its limit is {self._plan.memory_bytes / GIB:.3g} GiB"
        oom_kills = max(0, oom_kills_so_far() - self._oom_before)
        return Ended(state["ExitCode"], timed_out, 0, oom_kills, crashed)

    def _ended(self, output: _Output) -> bool:
        """Asks at once where it has nothing more to say, else now and then: it may have closed its output and live."""
        if not output.over.is_set() and time.monotonic() < self._next_ask:
            return False
        self._next_ask = time.monotonic() + _ASK_S
        return not running(self._daemon, self._plan.name)

    def _too_much(self) -> str:
        started = time.monotonic()
        if self._plan.folder is None or started < self._next_count:
            return ""
        most = int(self._plan.limits.results_gib * GIB)
        used = results.used_bytes(self._plan.folder, most)
        # Counting many files takes a while, and never most of the time.
        self._next_count = time.monotonic() + max(_POLL_S, 10 * (time.monotonic() - started))
        return f"wrote more than {self._plan.limits.results_gib:g} GiB of results" if used > most else ""

    def _lost(self, error: Exception) -> str:
        return (
            f"the container daemon went away while the cell ran ({words(error)}); {self._plan.name} may still run, "
            "and `llem matrix clean` removes it once the daemon is back"
        )


def running(daemon: Daemon, name: str) -> bool:
    return bool(daemon.api.inspect_container(name)["State"]["Running"])


def stop(daemon: Daemon, name: str, grace_s: float) -> None:
    """SIGTERM, `grace_s` for it, SIGKILL; it has ended when this comes back, unless the kernel holds it."""
    if grace_s > 0 and _kill(daemon, name, "SIGTERM") and _ends_within(daemon, name, grace_s):
        return
    if _kill(daemon, name, "SIGKILL"):
        _ends_within(daemon, name, _KILL_S)


def _kill(daemon: Daemon, name: str, signal: str) -> bool:
    """False where there was nothing to signal any more."""
    from docker.errors import APIError

    try:
        daemon.api.kill(name, signal)
    except APIError as error:
        # Daemons do not agree on what they say of one that does not run.
        if error.status_code != 404 and running(daemon, name):
            raise
        return False
    return True


def _ends_within(daemon: Daemon, name: str, seconds: float) -> bool:
    return _comes_true(lambda: not running(daemon, name), seconds)


def _comes_true(check: Callable[[], bool], seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while not check():
        if time.monotonic() >= limit:
            return False
        time.sleep(_POLL_S)
    return True


def _end(daemon: Daemon, name: str, grace_s: float, *, keep: bool) -> str:
    """End and remove it; what remains of it in words, "" where nothing does."""
    try:
        if keep:
            stop(daemon, name, grace_s)
            return f"container {name} is kept; `llem matrix clean` removes it once this run has ended"
        stop(daemon, name, 0)
        return "" if _comes_true(lambda: _removed(daemon, name), _KILL_S) else f"container {name} could not be removed"
    except failures() as error:
        return f"container {name} could not be removed: {words(error)}"


def _removed(daemon: Daemon, name: str) -> bool:
    from docker.errors import APIError

    try:
        daemon.api.remove_container(name, force=True, v=True)
    except APIError as error:
        # 409: its removal is under way; 5xx: a mount is still busy.
        return bool(error.status_code == 404)
    return True


def words(error: Exception) -> str:
    """What a daemon said, without the address it was asked at."""
    return str(getattr(error, "explanation", None) or error)
