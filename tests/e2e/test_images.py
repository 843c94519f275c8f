"""Images built by a real engine from the project's own Dockerfiles, with tiny wheels and no network.

They need a container engine that builds (docker, or what LLEM_TEST_ENGINE names), and LLEM_BASE_IMAGE: an image that it
has, with Python and ensurepip in it.
"""

import functools
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.matrix import builders, images, locks
from llenergymeasure.matrix.build_failures import BuildError
from llenergymeasure.matrix.spec import Cell

ROOT = Path(__file__).parents[2]
# Read, not imported: inside an image the same text stands for the tool that builds this project.
TINY_WHEELS = (Path(__file__).parent / "tiny_wheels.py").read_text()
ENGINE = os.environ.get("LLEM_TEST_ENGINE", "docker")
BACKENDS = ("pytorch", "vllm", "tensorrt")
SBOM = "import sys\ndef main(): open(sys.argv[sys.argv.index('--output-file') + 1], 'w').write('{}')\n"
EDITABLE = """
def build_editable(folder):
    scripts = {"llem": "llenergymeasure.cli:main"}
    write_wheel(Path(folder), "llenergymeasure", "0.1.0", {"llem.pth": "/opt/llem/src"}, scripts)
"""


tiny_wheels: dict[str, Any] = {}
exec(compile(TINY_WHEELS, "tiny_wheels.py", "exec"), tiny_wheels)  # noqa: S102 - this project's own
write_wheel, pin = tiny_wheels["write_wheel"], tiny_wheels["pin"]


@functools.cache
def lacking() -> str:
    """What this machine lacks for these tests, "" where it has it."""
    base_image = os.environ.get("LLEM_BASE_IMAGE")
    if not base_image:
        return "LLEM_BASE_IMAGE names no base image"
    try:
        builder = builders.find(ENGINE)
    except EnvironmentLacksError as error:
        return error.cause
    if builder.ask("info") is None:
        return "no container daemon answers"
    if builder.ask("image", "inspect", base_image) is None:
        return f"the engine has no image {base_image}"
    return ""


pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"not run: {lacking()}")


@functools.cache
def base_python() -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    base_image = os.environ["LLEM_BASE_IMAGE"]
    argv = [builders.find(ENGINE).client, "run", "--rm", "--network", "none", base_image, "python3", "-c", code]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=120).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with this project's own Dockerfiles and a package of three lines in the place of its source."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "docker", checkout / "docker", ignore=shutil.ignore_patterns("locks", "*.whl"))
    shutil.copy(ROOT / ".dockerignore", checkout)
    source = checkout / "src" / "llenergymeasure"
    (checkout / locks.FOLDER).mkdir()
    (checkout / "tests" / "integration").mkdir(parents=True)
    source.mkdir(parents=True)
    for name in ("README.md", "LICENSE", "tests/integration/conftest.py", "src/llenergymeasure/__init__.py"):
        (checkout / name).write_text("")
    (checkout / "pyproject.toml").write_text('[project]\nname = "llenergymeasure"\ndependencies = []\n')
    (source / "cli.py").write_text("def main(): print('source one')\n")
    return checkout


@pytest.fixture
def wheelhouse(tmp_path: Path, project: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    tools = [
        write_wheel(
            folder, "hatchling", "1.0", {"hatchling/__init__.py": "", "hatchling/build.py": TINY_WHEELS + EDITABLE}, {}
        ),
        write_wheel(folder, "cyclonedx_bom", "1.0", {"tiny_sbom.py": SBOM}, {"cyclonedx-py": "tiny_sbom:main"}),
    ]
    locks.path(project, locks.TOOLS).write_text("".join(map(pin, tools)))
    write_wheel(folder, "tiny", "1.0", {"tiny.py": "answer = 42\n"}, {})
    return folder


@pytest.fixture
def make(project: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Cell]]:
    made = []
    python = base_python()
    # One of each test's own, the same every time: tests run beside each other, and a build's cache serves the next run.
    version = f"0.0.{zlib.crc32(request.node.name.encode())}"

    def cell(backend: str = "pytorch") -> Cell:
        made.append(Cell(backend, version, "tiny", "cpu", python, base_image="unused:1"))
        return made[-1]

    yield cell
    for one in made:
        builders.find(ENGINE).ask("image", "rm", "--force", images.reference(one))


class Built:
    """Builds a cell's image from the fixtures above, and runs programs in it."""

    def __init__(self, project: Path, wheelhouse: Path, tmp_path: Path) -> None:
        self.project, self.wheelhouse = project, wheelhouse
        self.log = tmp_path / "build" / "out" / "image.log"

    def lock(self, cell: Cell, lines: str | None = None) -> None:
        pins = pin(self.wheelhouse / "tiny-1.0-py3-none-any.whl") if lines is None else lines
        locks.path(self.project, cell.name).write_text(f"# made of {locks.made_of(cell, self.project)}\n{pins}")

    def __call__(self, cell: Cell, ca_bundle: Path | None = None) -> images.Image:
        options = images.BuildOptions(
            engine=ENGINE,
            base_image=os.environ["LLEM_BASE_IMAGE"],
            wheelhouse=self.wheelhouse,
            ca_bundle=ca_bundle,
            offline=True,
        )
        self.log.unlink(missing_ok=True)
        return images.build(cell, self.project, self.log, lambda _: None, options)

    def run(self, image: images.Image, *argv: str) -> str:
        client = builders.find(ENGINE).client
        confined = [
            "--network",
            "none",
            "--read-only",
            "--tmpfs",
            "/tmp:exec",  # noqa: S108 - inside the container
            "--user",
            "54321:54321",
            "--cap-drop",
            "ALL",
        ]
        command = [client, "run", "--rm", *confined, image.image_id, *argv]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.fixture
def build(project: Path, wheelhouse: Path, tmp_path: Path) -> Built:
    return Built(project, wheelhouse, tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_image_holds_what_its_lock_pins_and_works_under_any_uid(
    build: Built, make: Callable[..., Cell], backend: str
) -> None:
    cell = make(backend)
    build.lock(cell)
    image = build(cell)
    assert build.run(image, "python", "-c", "import tiny; print(tiny.answer)") == "42\n"
    assert build.run(image, "llem") == "source one\n"
    assert build.run(image, "sh", "-c", 'cat "$LLEM_SBOM"; pwd; id -u; touch "$HOME/a"') == "{}/opt/llem\n54321\n"
    # What builds and installs is lent to the build and no part of the image.
    assert build.run(image, "sh", "-c", "find /opt/tools /tmp/llem -type f -size +0 2>/dev/null; true") == ""


def test_nothing_changed_gives_the_same_image_and_a_change_of_source_installs_nothing(
    build: Built, make: Callable[..., Cell]
) -> None:
    cell = make()
    build.lock(cell)
    first = build(cell)
    assert build(cell).image_id == first.image_id
    assert "Installing" not in build.log.read_text()
    (build.project / "src" / "llenergymeasure" / "cli.py").write_text("def main(): print('source two')\n")
    second = build(cell)
    assert second.image_id != first.image_id
    assert build.run(second, "llem") == "source two\n"
    assert "Installing" not in build.log.read_text()


def test_an_image_says_what_it_is_made_of(build: Built, make: Callable[..., Cell]) -> None:
    cell = make()
    build.lock(cell)
    image = build(cell)
    labels = builders.labels_of(builders.find(ENGINE), image.image_id)
    assert labels["llenergymeasure.cell"] == cell.name
    assert labels["org.opencontainers.image.base.name"] == os.environ["LLEM_BASE_IMAGE"]
    # One of the same packages needs little room.
    assert images.needed_gb(Cell(**{**vars(cell), "disk_gb": 50.0}), labels, labels) < 2


def test_a_package_of_another_hash_is_refused(build: Built, make: Callable[..., Cell]) -> None:
    cell = make()
    build.lock(cell, f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(BuildError) as caught:
        build(cell)
    assert "DO NOT MATCH THE HASHES" in build.log.read_text()
    assert str(build.log) in caught.value.remedy


def test_certificates_are_in_no_layer(build: Built, make: Callable[..., Cell], tmp_path: Path) -> None:
    known = ssl.get_default_verify_paths().cafile
    if known is None:
        pytest.skip("not run: this machine has no bundle of certificates")
    bundle = tmp_path / "ca.pem"
    bundle.write_text(Path(known).read_text() + "\n# the mark of this bundle\n")
    cell = make()
    build.lock(cell)
    image = build(cell, ca_bundle=bundle)
    saved = tmp_path / "image.tar"
    client = builders.find(ENGINE).client
    history = [client, "history", "--no-trunc", image.image_id]
    assert "mark of this bundle" not in subprocess.run(history, check=True, capture_output=True, text=True).stdout
    subprocess.run([client, "save", "--output", str(saved), image.image_id], check=True, timeout=120)
    assert subprocess.run(["grep", "-qa", "source one", str(saved)], check=False).returncode == 0
    assert subprocess.run(["grep", "-qa", "mark of this bundle", str(saved)], check=False).returncode == 1


CHILD = """
import sys
from pathlib import Path
from llenergymeasure.matrix import images, locks
from llenergymeasure.matrix.spec import Cell
checkout, version, python, base_image, engine = Path(sys.argv[1]), *sys.argv[2:]
cell = Cell("pytorch", version, "tiny", "cpu", python, base_image="unused:1")
options = images.BuildOptions(engine, base_image=base_image, offline=True)
images.build(cell, checkout, checkout.parent / "build" / "out" / "image.log", print, options)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_an_interrupted_build_leaves_nothing_running(
    build: Built, make: Callable[..., Cell], how: signal.Signals
) -> None:
    cell = make()
    build.lock(cell)
    # Started again and again, so that no layer of an earlier run answers.
    mark = f"98765.{time.time_ns()}"
    (build.project / "docker" / "pytorch.Dockerfile").write_text(
        f"ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\nRUN echo begun && sleep {mark}\n"
    )
    argv = [sys.executable, "-c", CHILD, str(build.project), cell.version, cell.python, os.environ["LLEM_BASE_IMAGE"]]
    argv.append(ENGINE)
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            wait_for(lambda: mark in running() and " begun" in build.log.read_text())
            child.send_signal(how)
            assert child.wait(timeout=30) != 0
            wait_for(lambda: mark not in running())
        finally:
            child.kill()


def running() -> str:
    return subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout


def wait_for(happened: Callable[[], bool], seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.2)


def test_the_bake_file_is_one_that_buildx_reads(tmp_path: Path) -> None:
    client = builders.find(ENGINE).client
    if builders.find(ENGINE).ask("buildx", "version") is None:
        pytest.skip(f"not run: {client} has no buildx")
    llem = Path(sys.executable).with_name("llem")
    file = tmp_path / "bake.json"
    printed = subprocess.run([llem, "matrix", "bake"], cwd=ROOT, check=True, capture_output=True, text=True)
    file.write_text(printed.stdout)
    argv = [client, "buildx", "bake", "--print", "--file", str(file)]
    read = json.loads(subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert read["target"].keys() == json.loads(printed.stdout)["target"].keys()
