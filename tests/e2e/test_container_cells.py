"""`llem matrix run` with the real program inside the cell's container: pytest, its JUnit files, and Ctrl-C."""

import dataclasses
import importlib.metadata
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.matrix.records import CellRecord, Outcome, read
from llenergymeasure.matrix.runners import owners
from llenergymeasure.matrix.runners.containers import ContainerRunner, Found
from llenergymeasure.matrix.runners.daemon import Daemon

from .fixtures_containers import MARK, Lab, daemon, image, kind, lab, soon

__all__ = ["daemon", "image", "kind", "lab"]

ROOT = Path(__file__).parents[2]
# What the program inside a cell imports; the rest of the project stays outside.
NEEDED = ("lxml", "packaging", "nvidia-ml-py", "pytest", "pluggy", "iniconfig", "pygments")
SUITE = """
import os, time
def test_a():
    if os.environ["FAULT"] == "hang":
        time.sleep(600)
    if os.environ["FAULT"] == "die":
        os.kill(os.getpid(), 9)
"""
# What pytest says just before the one test, whose own words it keeps.
RUNS = "collected 1 item"
# What happens to the JUnit file once pytest has written it.
CONFTEST = """
import os
from pathlib import Path
collect_ignore_glob = ["*"] if os.environ["FAULT"] == "no tests" else []
BOMB = "".join([
    '<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">',
    *('<!ENTITY a%d "%s">' % (n, ("&a%d;" % (n - 1)) * 10) for n in range(1, 12)),
    "]><testsuites><testsuite><testcase name='a'>&a11;</testcase></testsuite></testsuites>",
])
def pytest_unconfigure(config):
    path, fault = Path(config.option.xmlpath), os.environ["FAULT"]
    if fault == "truncated":
        os.truncate(path, path.stat().st_size - 40)
    if fault == "huge":
        os.truncate(path, 300 * 1024 * 1024)
    if fault == "hostile":
        path.write_text(BOMB)
    if fault == "missing":
        path.unlink()
    if fault == "foreign":
        path.write_text("<html/>")
"""


@pytest.fixture(scope="session")
def cell_image(daemon: Daemon, image: Found) -> Iterator[Found]:
    """This checkout's own program on the image's Python, with a stand-in for `llem`, whose audits need more."""
    python = daemon_says(daemon, image, "import sys; print('%d.%d' % sys.version_info[:2])")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python != here:
        pytest.skip(
            f"needs Python {python}, which {image.reference} has: lxml of this Python {here} does not load there"
        )
    tag = f"llem-test:{uuid.uuid4().hex[:12]}"
    built = list(daemon.api.build(fileobj=context(image), custom_context=True, tag=tag, rm=True, decode=True))
    assert not [row for row in built if "error" in row], built
    yield Found(tag, daemon.api.inspect_image(tag)["Id"])
    daemon.api.remove_image(tag, force=True)


def daemon_says(daemon: Daemon, image: Found, code: str) -> str:
    alone = daemon.api.create_host_config(network_mode="none")
    made = daemon.api.create_container(image.image_id, command=["python3", "-c", code], host_config=alone)
    try:
        daemon.api.start(made["Id"])
        daemon.api.wait(made["Id"])
        return str(daemon.api.logs(made["Id"]).decode().strip())
    finally:
        daemon.api.remove_container(made["Id"], force=True)


def context(image: Found) -> io.BytesIO:
    texts = {
        "Dockerfile": f"FROM {image.image_id}\nENV PYTHONPATH=/site\nCOPY . /\nWORKDIR /checkout\n",
        "usr/local/bin/python": '#!/bin/sh\nexec python3 "$@"\n',
        "usr/bin/llem": "#!/bin/sh\necho '{}'\n",
        "checkout/tests/integration/pytorch/test_a.py": SUITE,
        "checkout/tests/integration/pytorch/conftest.py": CONFTEST,
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o755
            tar.addfile(member, io.BytesIO(text.encode()))
        tar.add(ROOT / "src" / "llenergymeasure", arcname="site/llenergymeasure", filter=_of_code)
        for package in NEEDED:
            for file in importlib.metadata.files(package) or ():
                if ".." not in file.parts:
                    tar.add(str(file.locate()), arcname=f"site/{file}", filter=_of_code)
    packed.seek(0)
    return packed


def _of_code(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    # With what Python has compiled of it: nothing can be written there, and each container would compile it anew.
    return None if "surface/data" in member.name else member


@dataclass
class Run:
    """One `llem matrix run` of one cell, as a program of its own."""

    lab: Lab
    image: Found
    process: "subprocess.Popen[str] | None" = None
    said: list[str] = field(default_factory=list)
    version: str = field(default_factory=lambda: f"0.{uuid.uuid4().int % 10**9}")

    @property
    def cell(self) -> str:
        return f"pytorch-{self.version}-cpu"

    def start(self, fault: str, *options: str, deadline_s: float = 60) -> None:
        folder = self.lab.folder
        (folder / "matrix.toml").write_text(
            f'[[cell]]\nbackend = "pytorch"\nversion = "{self.version}"\npackage = "transformers"\nplatform = "cpu"\n'
            f'python = "3.11"\ndeadline_s = {deadline_s}\nlimits = {{memory_gib = 1, results_gib = 0.1}}\n'
            f'environment = {{FAULT = "{fault}", {MARK} = "{self.lab.mark}"}}\n'
        )
        argv = [
            sys.executable,
            "-m",
            "llenergymeasure.cli",
            "matrix",
            "run",
            self.cell,
            "-v",
            "-o",
            "records",
            *options,
        ]
        argv += ["--runner", self.lab.kind, "--image", self.image.reference]
        self.process = subprocess.Popen(
            argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.said += iter(lines.readline, "")  # type: ignore[arg-type]

    def end(self) -> int:
        assert self.process is not None
        return self.process.wait(60)

    def record(self) -> CellRecord:
        return read(self.lab.folder / "records" / f"{self.cell}.json")

    def containers(self) -> list[dict[str, Any]]:
        label = f"{owners.CELL}={self.cell}"
        return list(self.lab.daemon.api.containers(all=True, filters={"label": label}))

    def left(self) -> list[Any]:
        soon(lambda: not self.lab.processes())
        return [*self.containers(), *self.lab.processes(), *self.lab.folder.glob("build/cells/*/out/results")]


@pytest.fixture
def run(lab: Lab, cell_image: Found) -> Iterator[Run]:
    one = Run(lab, cell_image)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
    for row in one.containers():
        lab.daemon.api.remove_container(row["Id"], force=True)


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("none", Outcome.PASSED, ""),
        ("truncated", Outcome.ERROR, r"junit\.xml: broken after \d tests?"),
        ("huge", Outcome.ERROR, r"junit\.xml: 315 MB, more than the 268 MB that are read"),
        ("hostile", Outcome.ERROR, r"junit\.xml: declares a DOCTYPE"),
        ("missing", Outcome.ERROR, r"junit\.xml: No such file"),
        ("no tests", Outcome.ERROR, "no test ran"),
        ("die", Outcome.CRASH, "pytest was killed"),
    ],
)
def test_whatever_becomes_of_its_junit_file_it_is_never_green(
    lab: Lab, cell_image: Found, fault: str, status: Outcome, reason: str
) -> None:
    lab.image = cell_image
    cell = lab.cell(results_gib=0.1)
    cell = dataclasses.replace(cell, environment={**cell.environment, "FAULT": fault})
    runner = ContainerRunner(lab.kind, lambda *_: cell_image, grace_s=0.3)
    record = runner.run(cell, lab.folder, lab.out_dir, 60, lab.lines.append)
    assert record.status is status, record.reason
    assert re.search(reason, record.reason)


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("on runner ", signal.SIGINT),
        (RUNS, signal.SIGINT),
        (RUNS, signal.SIGTERM),
    ],
    ids=["at its start", "while it runs", "while it runs, from a scheduler"],
)
def test_interrupted_it_takes_along_what_it_started(run: Run, moment: str, number: signal.Signals) -> None:
    run.start("hang")
    assert run.process is not None
    assert soon(lambda: any(moment in line for line in run.said), 30), run.said
    run.process.send_signal(number)
    run.process.send_signal(number)  # those who press it twice get no less
    assert run.end() == 130, run.said
    assert run.left() == []
    assert read(run.lab.folder / "build" / "cells" / run.cell / "out" / "record.json").reason == "interrupted"
    assert not (run.lab.folder / "records").exists()


def test_what_a_killed_run_leaves_is_cleaned_up_and_nothing_else(run: Run) -> None:
    run.start("hang")
    assert run.process is not None
    assert soon(lambda: any(RUNS in line for line in run.said), 30), run.said
    others = run.lab.daemon.api.create_container(
        run.image.image_id, command=["sleep", "600"], labels=owners.labels("of this process", "0")
    )
    try:
        run.process.kill()
        run.end()
        assert [row["State"] for row in run.containers()] == ["running"]
        done = llem(run, "clean")
        assert run.containers() == []
        assert f"llem-{run.cell}-" in done.stdout
        assert run.lab.daemon.api.inspect_container(others["Id"])["State"]["Status"] == "created"
    finally:
        run.lab.daemon.api.remove_container(others["Id"], force=True)
    assert soon(lambda: not run.lab.processes())


def test_what_is_kept_is_said_and_cleaned_up_later(run: Run) -> None:
    run.start("none", "--keep")
    assert run.end() == 0, run.said
    record = run.record()
    assert (record.status, record.image_digest) == (Outcome.PASSED, run.image.image_id)
    assert record.runner_why.startswith("asked for; ")
    [row] = run.containers()
    name = row["Names"][0].lstrip("/")
    assert any(f"container {name} is kept" in line for line in run.said)
    assert llem(run, "clean").returncode == 0
    assert run.containers() == []


def llem(run: Run, *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "llenergymeasure.cli", "matrix", *arguments]
    return subprocess.run(argv, cwd=run.lab.folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "pytorch-5.23.1-cpu"], 2, "did you mean 'pytorch-5.23.0-cpu'?"),
        (["run", "pytorch-5.23.0-cpu", "--runner", "dokcer"], 2, "did you mean 'docker'?"),
        (["run", "pytorch-5.23.0-cpu", "--image", "x"], 2, "runner venv has no containers"),
        (["run", "--backend", "pytorch", "--image", "x", "--runner", "docker"], 2, "one image for 5 cells"),
        (["run", "pytorch-5.23.0-cpu", "--devices", "0"], 2, "none of these cells is on cuda"),
        (["run", "pytorch-5.23.0-cpu", "--runner", "docker"], 3, "no docker daemon: there is no socket at /no/such"),
        (["clean"], 3, "no docker daemon: there is no socket at /no/such"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(arguments: list[str], code: int, words: str) -> None:
    environ = {**os.environ, "DOCKER_HOST": "unix:///no/such", "CONTAINER_HOST": "unix:///no/such"}
    argv = [sys.executable, "-m", "llenergymeasure.cli", "matrix", *arguments]
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
