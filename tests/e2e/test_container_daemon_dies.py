"""A container daemon that dies, hangs or comes back while a cell runs."""

import contextlib
import gc
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llenergymeasure.cli.matrix import app
from llenergymeasure.matrix.records import CellRecord, Outcome
from llenergymeasure.matrix.runners import owners, tiny
from llenergymeasure.matrix.runners.containers import FOLDER, ContainerRunner
from llenergymeasure.matrix.runners.daemon import connect
from llenergymeasure.matrix.spec import Cell

from .fixtures_containers import soon
from .fixtures_daemons import SLEEP, Dockerd, dockerd

__all__ = ["dockerd"]
# docker-py leaves a socket open where nobody answers on it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def swept() -> Iterator[None]:
    """Such sockets are complained of when they are swept up, which must not be in another test."""
    yield
    gc.collect()


CELL = Cell("pytorch", "0.0.2", "transformers", "cpu", "3.11", limits={"memory_gib": 0.1})


def run(dockerd: Dockerd, folder: Path, number: signal.Signals) -> CellRecord:
    """A cell whose daemon gets a signal once the cell runs."""
    image = dockerd.tiny_image()
    lines: list[str] = []

    def strike() -> None:
        soon(lambda: "in the middle" in lines)
        dockerd.signal(number)

    program = (tiny.SHELL, "-c", f"echo in the middle; {SLEEP} 600; # {dockerd.folder}")
    runner = ContainerRunner("docker", lambda *_: image, program=program, grace_s=0.3, timeout_s=4)
    striker = threading.Thread(target=strike)
    striker.start()
    record = runner.run(CELL, folder, folder / "out", 60, lines.append)
    striker.join()
    assert any("could not be removed" in line for line in lines)
    return record


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_daemon_that_goes_away_is_an_error_and_its_container_can_be_cleaned_up(
    dockerd: Dockerd, tmp_path: Path, number: signal.Signals
) -> None:
    record = run(dockerd, tmp_path, number)
    assert record.status is Outcome.ERROR
    assert record.reason.startswith("the container daemon went away while the cell ran")
    assert "`llem matrix clean` removes it" in record.reason
    assert not (tmp_path / "out" / FOLDER).exists()

    if number is signal.SIGKILL:
        # What is left says so: nothing can be cleaned up without a daemon.
        gone = CliRunner().invoke(app, ["clean"])
        assert "nobody listens there" in str(gone.exception)
        dockerd.start()
    else:
        dockerd.signal(signal.SIGCONT)
    with connect("docker") as daemon:
        [row] = daemon.api.containers(all=True)
        name = row["Names"][0].lstrip("/")
        assert name in record.reason
        # The run that it is of is this process, which has not ended.
        assert owners.clean(daemon.api, everything=False).running == (name,)
        done = CliRunner().invoke(app, ["clean", "--all"])
        assert f"1 removed: {name}" in done.output
        assert daemon.api.containers(all=True) == []
    assert soon(lambda: not processes(dockerd.folder))


def processes(folder: Path) -> list[str]:
    """Those of the cell, which name the folder of its daemon."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"# {folder}".encode() in path.read_bytes():
                found.append(path.parent.name)
    return found
