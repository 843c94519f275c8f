from pathlib import Path

import pytest

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix import context

ROOT = Path(__file__).parents[3]
LOCK = Path("docker/locks/a.txt")


@pytest.fixture
def project(checkout: Path) -> Path:
    (checkout / ".dockerignore").write_text("# words\n*\n!src\n!docker\n!pyproject.toml\n**/__pycache__\n")
    for name in ("src/a/b.py", "src/a/__pycache__/b.pyc", "docker/steps.sh", "pyproject.toml", "build/x", ".git/HEAD"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(f"the checkout's {name}")
    return checkout


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


EXPECTED = {".dockerignore", "src/a/b.py", "docker/steps.sh", "pyproject.toml", str(LOCK)}


def test_a_build_sees_what_the_ignore_file_lets_through_and_the_lock(project: Path, tmp_path: Path) -> None:
    context.lay_out(tmp_path / "context", project, (LOCK, "torch==1"), None)
    assert files(tmp_path / "context") == EXPECTED
    assert (tmp_path / "context" / LOCK).read_text() == "torch==1"
    assert (tmp_path / "context" / "src/a/b.py").read_text() == "the checkout's src/a/b.py"


def test_a_lock_made_now_never_changes_the_checkouts_own(project: Path, tmp_path: Path) -> None:
    (project / LOCK).parent.mkdir()
    (project / LOCK).write_text("pinned")
    context.lay_out(tmp_path / "context", project, (LOCK, "pinned"), None)
    context.lay_out(tmp_path / "context", project, (LOCK, "made now"), None)
    assert (project / LOCK).read_text() == "pinned"
    assert (tmp_path / "context" / LOCK).read_text() == "made now"


def test_what_changed_is_brought_and_what_went_is_gone(project: Path, tmp_path: Path) -> None:
    laid_out = tmp_path / "context"
    context.lay_out(laid_out, project, (LOCK, ""), None)
    untouched = (laid_out / "pyproject.toml").stat()
    (project / "src/a/b.py").unlink()
    (project / "src/a/b.py").write_text("new")
    (project / "docker/steps.sh").unlink()
    context.lay_out(laid_out, project, (LOCK, ""), None)
    assert (laid_out / "src/a/b.py").read_text() == "new"
    (project / "src/a/b.py").unlink()
    (project / "src/a/b.py").write_text("old")  # as long as before
    context.lay_out(laid_out, project, (LOCK, ""), None)
    assert (laid_out / "src/a/b.py").read_text() == "old"
    assert files(laid_out) == EXPECTED - {"docker/steps.sh"}
    assert (laid_out / "pyproject.toml").stat() == untouched


def test_only_packages_of_a_wheelhouse_are_brought(project: Path, tmp_path: Path) -> None:
    wheelhouse = tmp_path / "wheels"
    wheelhouse.mkdir()
    for name in ("a-1-py3-none-any.whl", "b-1.tar.gz", "notes.txt"):
        (wheelhouse / name).write_text(name)
    context.lay_out(tmp_path / "context", project, (LOCK, ""), wheelhouse)
    brought = {"docker/wheelhouse/a-1-py3-none-any.whl", "docker/wheelhouse/b-1.tar.gz"}
    assert files(tmp_path / "context") == EXPECTED | brought
    context.lay_out(tmp_path / "context", project, (LOCK, ""), None)
    assert files(tmp_path / "context") == EXPECTED


def test_files_are_copied_where_they_cannot_be_linked(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    context.lay_out(tmp_path / "context", project, (LOCK, ""), None)
    copied, own = tmp_path / "context" / "src/a/b.py", project / "src/a/b.py"
    assert copied.read_text() == own.read_text()
    assert copied.stat().st_mtime_ns == own.stat().st_mtime_ns


def test_a_checkout_without_an_ignore_file_is_no_whole_one(checkout: Path) -> None:
    with pytest.raises(RequestError, match="whole checkout"):
        context.allowed(checkout)


def test_the_projects_own_ignore_file_lets_through_what_its_dockerfiles_copy() -> None:
    copied = {
        part.partition("/")[0]
        for dockerfile in (ROOT / "docker").glob("*.Dockerfile")
        for line in dockerfile.read_text().splitlines()
        if line.startswith("COPY ")
        for part in line.split()[1:-1]
    }
    assert copied
    assert copied <= set(context.allowed(ROOT))
