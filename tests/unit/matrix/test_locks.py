"""The project's own locks fit its cells; how one is resolved, with a stand-in for uv."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix import locks
from llenergymeasure.matrix.runners import installing
from llenergymeasure.matrix.spec import Cell, load

ROOT = Path(__file__).parents[3]
CELLS = {cell.name: cell for cell in load(ROOT / "matrix.toml").cells}
EACH = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def pins(text: str) -> dict[str, tuple[str, int]]:
    """Name to version and number of hashes, of a lock."""
    found = {}
    for entry in re.split(r"\n(?=\S)", text):
        line = entry.replace("\\\n", " ")
        if line and not line.startswith("#"):
            requirement = Requirement(line.partition("--hash")[0])
            found[canonicalize_name(requirement.name)] = (str(requirement.specifier), line.count("--hash=sha256:"))
    return found


@EACH
def test_a_cells_lock_is_of_what_is_pinned_now(cell: Cell) -> None:
    """Fails after a change of matrix.toml or of the project's dependencies; `nox -s lock` mends it."""
    assert locks.read(cell, ROOT) is not None


@EACH
def test_a_cells_lock_pins_and_hashes_all_that_the_cell_names_and_nothing_that_it_leaves_out(cell: Cell) -> None:
    pinned = pins(locks.path(ROOT, cell.name).read_text())
    assert all(specifier.startswith("==") and hashes for specifier, hashes in pinned.values())
    assert pinned[canonicalize_name(cell.package)][0] == f"=={cell.version}"
    assert pinned["torch"][0] == f"=={cell.torch}{'+cpu' if cell.platform == 'cpu' else ''}"
    for requirement in map(Requirement, cell.requirements):
        assert pinned[canonicalize_name(requirement.name)][0] == str(requirement.specifier)
    assert not pinned.keys() & {canonicalize_name(name) for name in cell.without}


def test_the_tools_are_pinned_and_hashed() -> None:
    pinned = pins(locks.path(ROOT, locks.TOOLS).read_text())
    asked = {line for line in (ROOT / "docker" / "tools.in").read_text().splitlines() if not line.startswith("#")}
    assert asked <= pinned.keys()
    assert all(hashes for _, hashes in pinned.values())


@pytest.mark.parametrize("name", [*CELLS, locks.TOOLS])
def test_no_lock_holds_an_address(name: str) -> None:
    assert "//" not in locks.path(ROOT, name).read_text()


@pytest.fixture
def project(checkout: Path) -> Path:
    (checkout / "pyproject.toml").write_text('[project]\ndependencies = ["rich", "lxml"]\n[tool.ruff]\n')
    (checkout / locks.FOLDER).mkdir(parents=True)
    return checkout


@pytest.mark.parametrize(
    ("change", "another"),
    [
        ({"version": "5.0.0"}, True),
        ({"torch": "2.14.0"}, True),
        ({"python": "3.12"}, True),
        ({"requirements": ("a==1",)}, True),
        ({"without": ("torchvision",)}, True),
        ({"deadline_s": 1.0}, False),
        ({"base_image": "a:b"}, False),
        ({"system_packages": ("g++",)}, False),
    ],
)
def test_a_lock_is_of_what_is_installed_and_of_nothing_else(
    cell: Cell, project: Path, change: dict[str, Any], another: bool
) -> None:
    assert (locks.made_of(cell, project) != locks.made_of(replace(cell, **change), project)) is another


def test_a_lock_is_of_the_projects_dependencies(cell: Cell, project: Path) -> None:
    before = locks.made_of(cell, project)
    locks.path(project, cell.name).write_text(f"# made of {before}\nrich==1\n")
    assert locks.read(cell, project) is not None
    (project / "pyproject.toml").write_text('[project]\ndependencies = ["rich", "lxml"]\n[tool.ruff]\nx = 1\n')
    assert locks.made_of(cell, project) == before
    (project / "pyproject.toml").write_text('[project]\ndependencies = ["rich", "lxml", "docker"]\n')
    with pytest.raises(RequestError) as caught:
        locks.read(cell, project)
    assert caught.value.cause.startswith("docker/locks/pytorch-5.23.0-cpu.txt is not of what matrix.toml")
    assert "nox -s lock -- pytorch-5.23.0-cpu" in caught.value.remedy


def test_a_cell_without_a_lock_has_none(cell: Cell, project: Path) -> None:
    assert locks.read(cell, project) is None


class Programs:
    """Stands for uv and for pip's report: notes what it was asked, and answers."""

    def __init__(self) -> None:
        self.compiled: list[tuple[list[str], list[str]]] = []
        self.earlier: list[str] = []

    def __call__(self, argv: Sequence[str], what: str, cwd: Path, log: Path) -> str:
        if "compile" in argv:
            asked = Path(argv[argv.index("compile") + 1])
            out = Path(argv[argv.index("--output-file") + 1])
            constraints = Path(argv[argv.index("--constraint") + 1]).read_text()
            self.compiled.append((asked.read_text().split("\n")[:-1], [*argv, constraints]))
            self.earlier.append(out.read_text())
            out.write_text(f"pins-of-{len(self.compiled)}==1\n")
        else:
            requires = '["numpy<3", "torchvision>=0.1", "ray; extra == \\"ray\\""]'
            report = '{"install": [{"metadata": {"requires_dist": REQUIRES}}]}'.replace("REQUIRES", requires)
            Path(argv[argv.index("--report") + 1]).write_text(report)
        return ""


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    found = Programs()
    monkeypatch.setattr(installing, "run_logged", found)
    monkeypatch.delenv("LLEM_WHEELHOUSE", raising=False)
    monkeypatch.setattr(locks, "_uv", lambda: ["uv"])
    return found


Make = Callable[..., str]


@pytest.fixture
def make(project: Path, tmp_path: Path) -> Make:
    return lambda cell, **options: locks.make(cell, project, tmp_path, lambda _: None, **options)


@pytest.mark.skipif(sys.platform != "linux", reason="CPU builds of torch have a name of their own on Linux only")
def test_the_package_is_resolved_with_torch_and_the_projects_dependencies(
    cell: Cell, project: Path, programs: Programs, make: Make
) -> None:
    text = make(replace(cell, requirements=("pytest==9.2.0",), torch_index="https://index.invalid/cpu"))
    [(asked, argv)] = programs.compiled
    assert asked == ["transformers==5.23.0", "pytest==9.2.0", "lxml", "rich", "torch==2.13.0+cpu"]
    assert argv[argv.index("--index") + 1] == "https://index.invalid/cpu"
    assert "--generate-hashes" in argv
    assert locks.written_for(text)
    assert text.endswith("\npins-of-1==1\n")


def test_what_a_cell_leaves_out_is_never_asked_for(cell: Cell, programs: Programs, make: Make) -> None:
    text = make(replace(cell, without=("torchvision",), torch=""))
    [(needs, first), (alone, second)] = programs.compiled
    assert needs == ["numpy<3", "lxml", "rich"]
    assert first[-1] == "torchvision<0\n"
    assert alone == ["transformers==5.23.0"]
    assert "--no-deps" in second
    assert text.endswith("\npins-of-1==1\npins-of-2==1\n")


def test_a_package_that_its_base_image_brings_is_not_asked_for(
    make_cell: Callable[..., Cell], programs: Programs, make: Make
) -> None:
    make(replace(make_cell("1.2.1", "tensorrt", "cuda"), torch="", requirements=("pytest==9.2.0",)))
    assert [asked for asked, _ in programs.compiled] == [["pytest==9.2.0", "lxml", "rich"]]


def test_what_was_pinned_stays_unless_the_newest_is_wanted(
    cell: Cell, project: Path, programs: Programs, make: Make
) -> None:
    locks.path(project, cell.name).write_text("rich==1\n")
    make(cell)
    make(cell, upgrade=True)
    assert programs.earlier == ["rich==1\n", ""]


def test_without_uv_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EnvironmentLacksError, match="pip install uv"):
        locks._uv()
