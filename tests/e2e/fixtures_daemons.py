"""Daemons that a test starts for itself, so that it may kill them."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from llenergymeasure.matrix.runners import tiny
from llenergymeasure.matrix.runners.containers import Found
from llenergymeasure.matrix.runners.daemon import DaemonError, connect

from .fixtures_containers import soon

SLEEP = shutil.which("sleep") or "/bin/sleep"


@dataclass
class Dockerd:
    """A Docker Engine with a folder, a socket and a containerd namespace of its own."""

    folder: Path
    options: Sequence[str] = ()
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"unix://{self.folder}/sock"

    def start(self) -> None:
        own = re.sub(r"\W", "", self.folder.name)
        argv = [
            # One without a bridge takes away the bridge of the machine's own daemon, if it sees it.
            *("unshare", "--net"),
            *("dockerd", "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"),
            *("--pidfile", f"{self.folder}/pid", "--host", self.address, "--bridge", "none", "--iptables=false"),
            *("--containerd-namespace", own, "--containerd-plugins-namespace", f"{own}-plugins"),
            *self.options,
        ]
        # Of a containerd that was killed with its dockerd; where nobody has reaped it yet, it would be waited for.
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if not soon(self.answers, 30):
            words = (self.folder / "log").read_text(errors="replace")[-600:]
            self.end()
            pytest.skip(f"needs a dockerd that starts here: {words}")

    def answers(self) -> bool:
        try:
            with connect("docker", {"DOCKER_HOST": self.address}):
                return True
        except DaemonError:
            return False

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            self.process.wait()

    def end(self) -> None:
        if self.process is None:
            return
        if self.process.poll() == -signal.SIGKILL:
            self.start()  # it alone can end what it has left running
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(30)

    def tiny_image(self) -> Found:
        """A shell and `sleep`: it takes no time to load."""
        with connect("docker", {"DOCKER_HOST": self.address}) as daemon:
            return Found("tiny", tiny.load(daemon, [tiny.SHELL, SLEEP]))


@pytest.fixture
def dockerd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dockerd]:
    """The one that this test's runners find."""
    with started(monkeypatch) as one:
        yield one


@pytest.fixture
def dockerd_with_cdi(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dockerd]:
    """One that hands out devices by their CDI specifications, from the folder `cdi` in its own."""
    said = subprocess.run(["dockerd", "--help"], capture_output=True, text=True, check=False).stdout if _can() else ""
    if "--cdi-spec-dir" not in said:
        pytest.skip("needs root and a dockerd that knows CDI: Docker Engine 25 or newer")
    with started(monkeypatch, "--cdi-spec-dir", "{folder}/cdi", "--config-file", "{folder}/daemon.json") as one:
        yield one


@contextmanager
def started(monkeypatch: pytest.MonkeyPatch, *options: str) -> Iterator[Dockerd]:
    if not _can():
        pytest.skip("needs root and dockerd, to start a daemon that may be killed")
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="llem-own-dockerd-"))
    (folder / "cdi").mkdir()
    (folder / "daemon.json").write_text('{"features": {"cdi": true}}')
    one = Dockerd(folder, [option.format(folder=folder) for option in options])
    monkeypatch.setenv("DOCKER_HOST", one.address)
    try:
        one.start()
        yield one
    finally:
        one.end()
        # One that was killed has mounted its folder once more than it has unmounted it.
        for place in _mounted(folder):
            subprocess.run(["umount", place], check=False)
        shutil.rmtree(folder, ignore_errors=True)
        assert not folder.exists()


def _can() -> bool:
    return os.geteuid() == 0 and shutil.which("dockerd") is not None


def _mounted(folder: Path) -> list[str]:
    """The innermost first."""
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [place for place in reversed(places) if Path(place).is_relative_to(folder)]
