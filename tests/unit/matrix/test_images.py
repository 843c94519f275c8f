"""What an image's build is told, derived from the project's own cells, and what it comes back with."""

import itertools
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix import builders, images, locks
from llenergymeasure.matrix.build_failures import BuildError
from llenergymeasure.matrix.images import BuildOptions
from llenergymeasure.matrix.runners.installing import SetupTimeoutError
from llenergymeasure.matrix.spec import Cell, load, loads

ROOT = Path(__file__).parents[3]
CELLS = {cell.name: cell for cell in load(ROOT / "matrix.toml").cells}
EACH = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
DIGEST = "sha256:" + "0123456789abcdef" * 4
BUILDX = builders.Builder("docker", "docker", ("buildx", "build", "--load", "--progress=plain"))
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def declared(dockerfile: Path) -> set[str]:
    return set(re.findall(r"^ARG (\S+)$", dockerfile.read_text(), re.MULTILINE))


@EACH
def test_a_dockerfile_gets_each_argument_that_it_declares_and_no_other(cell: Cell) -> None:
    assert images.arguments(cell).keys() == declared(ROOT / images.dockerfile(cell))


def test_the_release_image_of_tensorrt_is_named_by_the_cells_version() -> None:
    text = (ROOT / "matrix.toml").read_text().partition("[[cell]]")[0]
    defaults = (ROOT / "matrix.toml").read_text().partition("[defaults.tensorrt]")[2]
    assert "base_image" in defaults, text
    [cell] = loads(f'[defaults.tensorrt]{defaults}\n[[cell]]\nbackend = "tensorrt"\nversion = "1.2.1"\n').cells
    told = images.arguments(cell)
    assert told["BASE_IMAGE"] == "nvcr.io/nvidia/tensorrt-llm/release:1.2.1"
    assert told.keys() == declared(ROOT / "docker" / "tensorrt.Dockerfile")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_no_version_and_no_frontend_stands_in_a_dockerfile(dockerfile: Path) -> None:
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    assert not [line for line in lines if re.search(r"\d+\.\d+|sha256:|:latest", line)]
    assert not re.search(r"^#\s*syntax\s*=", dockerfile.read_text(), re.MULTILINE)
    users = re.findall(r"^USER (\S+)", dockerfile.read_text(), re.MULTILINE)
    assert users
    assert not users[-1].startswith(("0", "root"))


def test_the_arguments_come_from_the_cell() -> None:
    cell = replace(CELLS["vllm-0.32.0-cpu"], base_digest=DIGEST, python="3.99", system_packages=("g++", "make"))
    assert images.arguments(cell) == {
        "BASE_IMAGE": f"python:3.11-slim-bookworm@{DIGEST}",
        "PYTHON": "3.99",
        "SYSTEM_PACKAGES": "g++ make",
        "LOCK": "vllm-0.32.0-cpu.txt",
        "OFFLINE": "",
        "TORCH_INDEX": "https://download.pytorch.org/whl/cpu",
    }


def test_torchs_index_is_asked_only_where_the_wheelhouse_lacks_it(tmp_path: Path) -> None:
    cell, options = CELLS["pytorch-5.23.0-cpu"], BuildOptions(wheelhouse=tmp_path)
    (tmp_path / f"torch-0.{cell.torch}-cp311.whl").touch()
    assert images.arguments(cell, options)["TORCH_INDEX"] == cell.torch_index
    (tmp_path / f"torch-{cell.torch}+cpu-cp311.whl").touch()
    assert images.arguments(cell, options)["TORCH_INDEX"] == ""
    offline = images.arguments(cell, BuildOptions(offline=True))
    assert (offline["TORCH_INDEX"], offline["OFFLINE"]) == ("", "1")


def test_another_base_image_takes_the_place_of_the_pinned_one() -> None:
    cell = replace(CELLS["pytorch-5.23.0-cpu"], base_digest=DIGEST)
    assert images.arguments(cell, BuildOptions(base_image="local/base:1"))["BASE_IMAGE"] == "local/base:1"


def test_a_cell_without_a_base_image_says_how_to_get_one(cell: Cell) -> None:
    with pytest.raises(RequestError, match="LLEM_BASE_IMAGE"):
        images.arguments(cell)


def test_labels_say_what_an_image_is_of_and_nothing_that_is_not_known() -> None:
    cell = CELLS["pytorch-5.23.0-cpu"]
    whole = images.labels(cell, f"python:3.11@{DIGEST}", "c0ffee", dirty=True, lock="torch==1")
    assert whole["org.opencontainers.image.revision"] == "c0ffee-dirty"
    assert whole["org.opencontainers.image.base.name"] == "python:3.11"
    assert whole["org.opencontainers.image.base.digest"] == DIGEST
    assert whole["llenergymeasure.package"] == "transformers==5.23.0"
    other = images.labels(cell, "python:3.11", "c0ffee", dirty=False, lock="torch==2")
    assert other["llenergymeasure.lock"] != whole["llenergymeasure.lock"]
    assert other["org.opencontainers.image.revision"] == "c0ffee"
    unknown = images.labels(replace(cell, torch=""), "python:3.11", None, dirty=None, lock=None)
    missing = {"revision", "base.digest"}
    assert whole.keys() - unknown.keys() == {
        *(f"org.opencontainers.image.{name}" for name in missing),
        "llenergymeasure.torch",
        "llenergymeasure.lock",
    }
    assert all(unknown.values())


def test_the_command_names_file_context_arguments_labels_and_secrets(tmp_path: Path) -> None:
    cell = CELLS["pytorch-5.23.0-cpu"]
    options = BuildOptions(base_image="local/base:1", ca_bundle=Path("/certs/ca.pem"), offline=True)
    argv = images.command(BUILDX, cell, options, tmp_path, {"a.b": "c d"})
    assert argv[:4] == ["docker", "buildx", "build", "--load"]
    assert argv[-1] == str(tmp_path / "context")
    pairs = list(itertools.pairwise(argv))
    assert ("--file", str(tmp_path / "context" / "docker" / "pytorch.Dockerfile")) in pairs
    assert ("--tag", "llenergymeasure/pytorch:5.23.0-cpu") in pairs
    assert ("--build-arg", "BASE_IMAGE=local/base:1") in pairs
    assert ("--label", "a.b=c d") in pairs
    assert ("--secret", "id=ca_bundle,src=/certs/ca.pem") in pairs
    assert ("--network", "none") in pairs


def test_a_proxy_is_handed_on_by_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:password@proxy.invalid")
    argv = images.command(BUILDX, CELLS["pytorch-5.23.0-cpu"], BuildOptions(), tmp_path, {})
    assert ("--build-arg", "https_proxy") in list(itertools.pairwise(argv))
    assert not [part for part in argv if "password" in part]


def test_options_come_from_the_environment(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    environ = {
        "LLEM_BASE_IMAGE": "local/base:1",
        "LLEM_WHEELHOUSE": str(tmp_path),
        "LLEM_CA_BUNDLE": str(bundle),
        "LLEM_OFFLINE": "1",
    }
    with pytest.raises(RequestError, match=r"LLEM_CA_BUNDLE=.*: no such file"):
        BuildOptions.from_environment(environ=environ)
    bundle.touch()
    assert BuildOptions.from_environment("podman", environ) == BuildOptions(
        "podman", "local/base:1", tmp_path, bundle, offline=True
    )
    assert BuildOptions.from_environment(environ={"LLEM_OFFLINE": "0"}) == BuildOptions()
    with pytest.raises(RequestError, match="LLEM_WHEELHOUSE"):
        BuildOptions.from_environment(environ={"LLEM_WHEELHOUSE": "/nowhere"})


def test_the_bake_file_says_what_the_build_is_told() -> None:
    document = images.bake(CELLS.values(), ROOT)
    assert json.loads(json.dumps(document)) == document
    targets = document["target"]
    assert document["group"]["default"]["targets"] == list(targets)
    assert len(targets) == len(CELLS)
    for cell, target in zip(CELLS.values(), targets.values(), strict=True):
        assert target["args"] == images.arguments(cell)
        assert target["tags"] == [images.reference(cell)]
        assert (ROOT / target["context"] / target["dockerfile"]).is_file()
        assert target["labels"]["llenergymeasure.cell"] == cell.name
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", name) for name in targets)


SAME = {"llenergymeasure.lock": "a", "org.opencontainers.image.base.name": "python:3.11"}


@pytest.mark.parametrize(
    ("there", "needed"),
    [
        ({}, 3.5),
        (SAME, 1.0),
        ({**SAME, "org.opencontainers.image.revision": "other"}, 1.0),
        ({**SAME, "llenergymeasure.lock": "b"}, 3.5),
        ({**SAME, "org.opencontainers.image.base.name": "python:3.12"}, 3.5),
    ],
)
def test_room_is_needed_for_all_of_it_unless_its_packages_are_there(there: dict[str, str], needed: float) -> None:
    assert images.needed_gb(replace(CELLS["pytorch-5.23.0-cpu"], disk_gb=3.5), SAME, there) == needed


class Engine:
    """A stand-in for an engine's client: answers by a table, and builds as told."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.calls = folder / "calls"
        self.program = folder / "docker"
        self._root = root
        self.builds('printf sha256:abc > "$iid"')

    def builds(self, script: str) -> None:
        self.program.write_text(
            "#!/bin/sh\n"
            f'echo "$@" >> {self.calls}\n'
            'case "$1 $2" in\n'
            '"buildx version") echo v0.13 ;;\n'
            f'"info "*) echo {self._root} ;;\n'
            '"image inspect") exit 1 ;;\n'
            '"buildx build") while [ $# -gt 0 ]; do [ "$1" = --iidfile ] && iid=$2; shift; done\n'
            f"{script} ;;\n"
            "esac\n"
        )
        self.program.chmod(0o755)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return Engine(folder, tmp_path)


@pytest.fixture
def project(checkout: Path) -> Path:
    """A checkout with nothing in it but what a build reads."""
    (checkout / "pyproject.toml").write_text('[project]\ndependencies = ["rich"]\n')
    (checkout / ".dockerignore").write_text("*\n!docker\n!pyproject.toml\n")
    (checkout / "docker" / "locks").mkdir(parents=True)
    return checkout


Build = Callable[..., images.Image]


@pytest.fixture
def build(project: Path, tmp_path: Path) -> Build:
    def run(cell: Cell = CELLS["pytorch-5.23.0-cpu"], said: list[str] | None = None, **options: object) -> images.Image:
        text = f"# made of {locks.made_of(cell, project)}\ntorch==1\n"
        locks.path(project, cell.name).write_text(text)
        lines: list[str] = [] if said is None else said
        log = tmp_path / "work" / "out" / "image.log"
        return images.build(cell, project, log, lines.append, BuildOptions(**options))  # type: ignore[arg-type]

    return run


def test_a_build_gives_the_images_identity_and_says_that_its_base_is_not_pinned(engine: Engine, build: Build) -> None:
    said: list[str] = []
    image = build(replace(CELLS["pytorch-5.23.0-cpu"], disk_gb=0), said)
    assert (image.reference, image.image_id) == ("llenergymeasure/pytorch:5.23.0-cpu", "sha256:abc")
    assert (image.base, image.base_resolved) == ("python:3.11-slim-bookworm", False)
    assert any("has no digest" in line for line in said)
    assert "--label llenergymeasure.cell=pytorch-5.23.0-cpu" in engine.calls.read_text()


def test_an_identity_says_what_kind_of_number_it_is(engine: Engine, build: Build) -> None:
    engine.builds('printf abc > "$iid"')
    assert build(replace(CELLS["pytorch-5.23.0-cpu"], disk_gb=0)).image_id == "sha256:abc"


def test_a_pinned_base_is_not_spoken_of(engine: Engine, build: Build) -> None:
    said: list[str] = []
    image = build(replace(CELLS["pytorch-5.23.0-cpu"], disk_gb=0, base_digest=DIGEST), said)
    assert image.base_resolved
    assert not any("digest" in line for line in said)


def test_a_failed_build_ends_with_its_last_lines_and_leaves_no_identity_of_an_earlier_one(
    engine: Engine, build: Build, tmp_path: Path
) -> None:
    cell = replace(CELLS["pytorch-5.23.0-cpu"], disk_gb=0)
    build(cell)
    engine.builds("echo '#9 1.0 it went wrong'; exit 1")
    with pytest.raises(BuildError, match="it went wrong"):
        build(cell)
    assert "it went wrong" in (tmp_path / "work" / "out" / "image.log").read_text()
    assert not (tmp_path / "work" / "image" / "image-id").exists()


def test_a_build_that_does_not_end_is_ended(engine: Engine, build: Build) -> None:
    engine.builds("exec sleep 60")
    with pytest.raises(SetupTimeoutError, match=r"was not built after 0\.2 s"):
        build(replace(CELLS["pytorch-5.23.0-cpu"], disk_gb=0), deadline_s=0.2)


def test_too_little_room_is_said_before_the_build(engine: Engine, build: Build) -> None:
    with pytest.raises(EnvironmentLacksError, match=r"its image needs 1e\+06 GB, and .* has [\d.]+ GB free"):
        build(replace(CELLS["pytorch-5.23.0-cpu"], disk_gb=1e6))
    assert "buildx build" not in engine.calls.read_text()


def test_a_lock_of_other_pins_is_refused_before_anything_is_built(engine: Engine, project: Path) -> None:
    cell = CELLS["pytorch-5.23.0-cpu"]
    locks.path(project, cell.name).write_text("# made of 0123\n")
    with pytest.raises(RequestError, match=r"nox -s lock -- pytorch-5\.23\.0-cpu"):
        images.build(cell, project, project / "image.log", lambda _: None, BuildOptions())
    assert "buildx build" not in engine.calls.read_text()


def test_a_commit_is_in_the_labels_of_a_checkout(engine: Engine, build: Build, project: Path) -> None:
    git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    build(replace(CELLS["pytorch-5.23.0-cpu"], disk_gb=0))
    assert f"org.opencontainers.image.revision={head}-dirty" in engine.calls.read_text()
