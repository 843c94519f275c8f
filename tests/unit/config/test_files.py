"""A file that the user names: read, or refused by what is wrong with its name or with itself."""

import os
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.config.files import read_file
from llenergymeasure.errors import RequestError


def refused(path: Path) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read_file(path, 1, "look again")
    assert "\n" not in caught.value.cause
    assert len(caught.value.cause) < 400
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("name", "says", "remedy"),
    [
        ("x" * 300, "cannot be read (File name too long)", "check the path"),
        ("x" * 300 + "/y", "cannot be read (File name too long)", "check the path"),
        ("a\0b", "a\\x00b: a path cannot hold a NUL byte", "real name"),
        ("there.txt/x", "cannot be read (Not a directory)", "check the path"),
        ("link", "is a link to nowhere, which is not there", "mend the link"),
        ("loop", "cannot be read (Too many levels of symbolic links)", "check the path"),
        ("folder", "is a folder", "name a file in it"),
        ("pipe", "is no ordinary file", "cannot be read twice"),
        ("large", "has 2 MiB, and at most 1 are read", "smaller"),
        ("theer.txt", "no such file", "did you mean "),
        ("quite else", "no such file", "look again"),
        ("nowhere/x", "no such file", "there is no folder "),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str, says: str, remedy: str) -> None:
    (tmp_path / "there.txt").write_text("text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "large").write_bytes(bytes(2 * 2**20))
    os.mkfifo(tmp_path / "pipe")
    error = refused(tmp_path / name)
    assert says in error.cause
    assert remedy in error.remedy


def test_devices_are_no_ordinary_files() -> None:
    assert refused(Path("/dev/zero")).cause == "/dev/zero: is no ordinary file"


def test_only_a_shell_reads_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "write it out" in refused(Path("~/run.yaml")).remedy


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").touch()

    def denied(path: Path) -> Any:
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert refused(tmp_path / "secret").cause.endswith("secret: cannot be read (Permission denied)")


def test_a_folder_that_may_not_be_listed_only_costs_the_nearest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> Any:
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    assert refused(tmp_path / "x").remedy == "look again"
