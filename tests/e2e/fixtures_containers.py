"""Fault containers on a real daemon, and the proof that nothing of them is left."""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.matrix.records import CellRecord, read
from llenergymeasure.matrix.runners import base, owners
from llenergymeasure.matrix.runners.containers import FOLDER, ContainerRunner, Found
from llenergymeasure.matrix.runners.daemon import KINDS, Daemon, DaemonError, connect
from llenergymeasure.matrix.spec import Cell

# Any image with Python 3 in it; nothing is pulled.
VARIABLE = "LLEM_TEST_IMAGE"
IMAGE = os.environ.get(VARIABLE, "local/python-base:bookworm")
MARK = "LLEM_TEST_MARK"

PART = {
    "finished": True,
    "audits": {"coverage": {"outcome": "passed", "reason": "", "report": {}}},
    "tests": {"t.py::test_a": {"outcome": "passed", "duration_s": 0.5}},
    "problems": [],
}
PRELUDE = f"""
import json, os, signal, subprocess, sys, time
from pathlib import Path
out = Path(sys.argv[-1])
def part(**changes):
    (out / "part.json").write_text(json.dumps({{**{PART!r}, **changes}}))
def journal(*events):
    (out / "journal.jsonl").write_text("".join(json.dumps(event) + "\\n" for event in events))
# One test has passed, one is running, one is still to come.
def in_the_middle():
    journal({{"collected": ["t.py::a", "t.py::b", "t.py::c"]}}, {{"start": "t.py::a"}},
            {{"report": "t.py::a", "outcome": "passed", "duration_s": 1, "proves": [], "reason": ""}},
            {{"end": "t.py::a"}}, {{"start": "t.py::b"}})
    part(finished=False, tests={{}})
    print("in the middle", flush=True)
"""


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def daemon(kind: str) -> Iterator[Daemon]:
    try:
        found = connect(kind)
    except DaemonError as error:
        pytest.skip(f"needs a {kind} daemon: {error.cause}")
    with found:
        yield found


@pytest.fixture(scope="session")
def image(daemon: Daemon) -> Found:
    if not daemon.api.images(name=IMAGE):
        pytest.skip(f"needs the image {IMAGE} in {daemon.words}, or another with Python 3 in {VARIABLE}")
    return Found(IMAGE, daemon.api.inspect_image(IMAGE)["Id"])


@dataclass
class Lab:
    """Runs a program as a cell in a container, and knows what to look for afterwards."""

    kind: str
    daemon: Daemon
    image: Found
    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    lines: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def out_dir(self) -> Path:
        return self.folder / "out"

    @property
    def log(self) -> str:
        return (self.out_dir / base.LOG).read_text(errors="replace")

    def cell(self, **limits: float) -> Cell:
        small = {"memory_gib": 0.5, "tmp_gib": 0.05, "results_gib": 0.05, "shm_gib": 0.05, "processes": 64} | limits
        return Cell("pytorch", "0.0.1", "transformers", "cpu", "3.11", limits=small, environment={MARK: self.mark})

    def runner(self, program: Sequence[str], **options: Any) -> ContainerRunner:
        build: Any = lambda *_: self.image  # noqa: E731
        values = {"grace_s": 0.3, **self.options, **options}
        return ContainerRunner(self.kind, build, program=tuple(program), **values)

    def run(
        self, code: str, deadline_s: float = 30, *, options: dict[str, Any] | None = None, **limits: float
    ) -> CellRecord:
        runner = self.runner(["python3", "-c", f"{PRELUDE}\n{code}"], **(options or {}))
        record = runner.run(self.cell(**limits), self.folder, self.out_dir, deadline_s, self.lines.append)
        assert read(self.out_dir / base.RECORD) == record
        return record

    def containers(self) -> list[dict[str, Any]]:
        """Those of this process, in any state."""
        mine = f"{owners.OWNER}={owners.owner(os.getpid())}"
        return list(self.daemon.api.containers(all=True, filters={"label": mine}))

    def processes(self) -> list[str]:
        """Of the cell, wherever they are: its variables tell them."""
        wanted = f"{MARK}={self.mark}".encode()
        return [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if wanted in _bytes(path)]

    def nothing_left(self) -> None:
        assert self.containers() == []
        assert soon(lambda: not self.processes()), self.processes()
        assert not (self.out_dir / FOLDER).exists()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def soon(check: Callable[[], bool], seconds: float = 10) -> bool:
    limit = time.monotonic() + seconds
    while not check():
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def lab(kind: str, daemon: Daemon, image: Found, tmp_path: Path) -> Iterator[Lab]:
    one = Lab(kind, daemon, image, tmp_path)
    yield one
    one.nothing_left()
