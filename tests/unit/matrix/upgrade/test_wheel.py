import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.version import Version

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix.upgrade import wheel

MakeWheel = Callable[..., Path]
NONE = "ERROR: No matching distribution found for transformers==5.22.99"
PIP = f"ERROR: Could not find a version (from versions: 0.1, 5.9.0, 5.22.2, 5.23.0rc1, 5.23.0, 5.24.0)\n{NONE}"


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A program in the place of the interpreter that would run pip; it gets the real arguments."""

    def say(code: str) -> None:
        program = tmp_path / "interpreter"
        program.write_text(f"#!{sys.executable}\nimport sys, time\nfrom pathlib import Path\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return say


def test_a_wheel_at_hand_is_taken_without_asking_anybody(
    make_wheel: MakeWheel, pip: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip("sys.exit('asked')")
    house = tmp_path / "house"
    monkeypatch.setenv("LLEM_WHEELHOUSE", str(house))
    make_wheel(house, "transformers-8.0.0-py3-none-any.whl")
    path = make_wheel(house, "transformers-9.0.0+local-py3-none-any.whl")
    (house / "transformers.whl").write_text("somebody else's")
    found = wheel.get("transformers", "9.0", tmp_path / "wheels", lambda _: None)
    assert (found.path, found.version) == (path, "9.0.0")
    assert not (tmp_path / "wheels").exists()


def test_what_is_downloaded_lies_whole_in_the_folder_and_is_found_the_next_time(
    pip: Callable[[str], None], tmp_path: Path
) -> None:
    pip(
        "folder = Path(sys.argv[sys.argv.index('--dest') + 1])\n"
        "assert sys.argv[1:4] == ['-m', 'pip', 'download'] and '--no-deps' in sys.argv\n"
        "(folder / (sys.argv[-1].replace('==', '-') + '-py3-none-any.whl')).write_text('x')"
    )
    said: list[str] = []
    for _ in range(2):
        found = wheel.get("transformers", "9.0.0", tmp_path / "wheels", said.append)
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == ["transformers-9.0.0-py3-none-any.whl"]
    assert found.path.read_text() == "x"
    assert [line.split()[1] for line in said] == ["downloading", "transformers-9.0.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (f"sys.exit({PIP!r})", RequestError, "no such version\nthe nearest are 5.22.2, 5.23.0rc1, 5.24.0"),
        (f"sys.exit('ERROR: (from versions: none)\\n' + {NONE!r})", EnvironmentLacksError, "No matching distribution"),
        ("sys.exit('ERROR: no route to host')", EnvironmentLacksError, "no route to host"),
        ("sys.exit(2)", EnvironmentLacksError, "pip gave no reason"),
        ("", EnvironmentLacksError, "pip brought no wheel"),
    ],
)
def test_what_pip_refuses_is_told_apart(
    pip: Callable[[str], None], tmp_path: Path, code: str, kind: type[Exception], words: str
) -> None:
    pip(code)
    with pytest.raises(kind) as caught:
        wheel.get("transformers", "5.22.99", tmp_path / "wheels", lambda _: None)
    assert words in str(caught.value)
    assert list((tmp_path / "wheels").iterdir()) == []


def test_an_interrupted_download_leaves_nothing(
    pip: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, cwd: Path, **__: object) -> None:
        (cwd / "transformers-9.0.0-py3-none-any.whl").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(wheel, "run_group", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wheel.get("transformers", "9.0.0", tmp_path / "wheels", lambda _: None)
    assert list((tmp_path / "wheels").iterdir()) == []


def test_a_wheelhouse_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLEM_WHEELHOUSE", str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match="LLEM_WHEELHOUSE"):
        wheel.get("transformers", "9.0.0", tmp_path, lambda _: None)


@pytest.mark.parametrize("version", ["", "newest", "5.23.0 or so"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(RequestError, match="is no version"):
        wheel.exact(version)
    assert wheel.exact("0.33") == Version("0.33.0")


def test_the_metadata_is_read_from_the_wheel(make_wheel: MakeWheel, tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path, "vllm-9.0.0-py3-none-any.whl", "Requires-Python: >=3.12", "Requires-Dist: torch==2.14.0"
    )
    found = wheel.wants(wheel.read(path))
    assert ([str(item) for item in found.requires], str(found.python)) == (["torch==2.14.0"], ">=3.12")


def test_a_wheel_without_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vllm-9.0.0-py3-none-any.whl"
    path.write_text("no archive")
    with pytest.raises(RequestError, match="not a readable wheel"):
        wheel.wants(wheel.read(path))
