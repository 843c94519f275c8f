"""result.json: whole or not at all, and never over an earlier one by accident."""

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.experiment import run_experiment
from llenergymeasure.core.results import Result
from llenergymeasure.core.writing import prepare_folder, read_result, write_result, write_whole
from llenergymeasure.errors import EnvironmentLacksError, RequestError


@pytest.fixture
def result(configured: Callable[..., ExperimentConfig], installed: Recorder) -> Result:
    return run_experiment(configured())


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_what_is_written_is_read_back_equal(result: Result, tmp_path: Path) -> None:
    path = write_result(result, tmp_path)
    assert path == tmp_path / "result.json"
    assert read_result(path) == result
    assert json.loads(path.read_text())["schema_version"] == 1
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_earlier_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "first, and longer")
    write_whole(path, "second")
    assert files(tmp_path) == {"a.json": "second"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = write_whole(tmp_path / "result.json", "earlier")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), full)
    with pytest.raises(EnvironmentLacksError) as caught:
        write_whole(path, "later")
    assert caught.value.cause == f"{path}: cannot be written (No space left on device)"
    assert "an earlier file is untouched" in caught.value.remedy
    assert files(tmp_path) == {"result.json": "earlier"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_device_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write itself fails, not a stand-in for it."""
    path = write_whole(tmp_path / "result.json", "earlier")
    real = tempfile.NamedTemporaryFile

    def on_full_disk(*arguments: Any, **named: Any) -> Any:
        file = real(*arguments, **named)
        os.dup2(os.open("/dev/full", os.O_WRONLY), file.fileno())
        return file

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", on_full_disk)
    with pytest.raises(EnvironmentLacksError, match="No space left on device"):
        write_whole(path, "later" * 100_000)
    assert files(tmp_path) == {"result.json": "earlier"}


def test_a_folder_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacksError, match="cannot be written"):
        write_whole(tmp_path / "gone" / "result.json", "text")


class TestOutputFolder:
    def test_it_is_made_with_its_parents(self, tmp_path: Path) -> None:
        made = prepare_folder(tmp_path / "a" / "b", overwrite=False)
        assert made.is_dir()
        assert files(made) == {}

    def test_one_that_exists_without_a_result_is_used(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        prepare_folder(tmp_path, overwrite=False)
        assert files(tmp_path) == {"notes.txt": "mine"}

    def test_one_with_a_result_is_not_touched_unless_asked(self, tmp_path: Path) -> None:
        (tmp_path / "result.json").write_text("earlier")
        with pytest.raises(RequestError, match="holds a result already") as caught:
            prepare_folder(tmp_path, overwrite=False)
        assert "--overwrite" in caught.value.remedy
        prepare_folder(tmp_path, overwrite=True)
        assert files(tmp_path) == {"result.json": "earlier"}  # replaced only when the new one is complete

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("x" * 300, "cannot be written (File name too long)"),
            ("file/inside", "cannot be written (Not a directory)"),
            ("a\0b", "cannot hold a NUL byte"),
            ("link", "cannot be written (File exists)"),
            ("loop", "cannot be written (File exists)"),
        ],
    )
    def test_a_name_that_can_be_no_folder_is_a_wrong_request(self, tmp_path: Path, name: str, says: str) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "link").symlink_to("nowhere/else")
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(RequestError) as caught:
            prepare_folder(tmp_path / name, overwrite=False)
        assert says in caught.value.cause
        assert "\0" not in caught.value.cause

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("")
        with pytest.raises(RequestError, match="is a file, not a folder"):
            prepare_folder(tmp_path / "out", overwrite=False)

    def test_one_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Not by its permissions: an administrator may write everywhere.
        def read_only(*_: Any, **__: Any) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
        with pytest.raises(EnvironmentLacksError) as caught:
            prepare_folder(tmp_path, overwrite=False)
        assert caught.value.cause == f"{tmp_path}: cannot be written (Read-only file system)"
        assert "-o" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "not a readable result"),
        ("", "not a readable result"),
        ("{", "not a readable result"),
        ("[]", "result schema None"),
        ('{"schema_version": 2}', "result schema 2, this version of llem reads 1"),
        ('{"schema_version": 1}', "status: Field required"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RequestError) as caught:
        read_result(path)
    assert caught.value.cause.startswith(f"{path}: ")
    assert says in caught.value.cause


def test_a_result_that_was_changed_is_refused_at_its_place(result: Result, tmp_path: Path) -> None:
    path = write_result(result, tmp_path)
    document = json.loads(path.read_text())
    document["requests"][1]["output_tokens"] = "many"
    path.write_text(json.dumps(document))
    with pytest.raises(RequestError, match=r"requests\.1\.output_tokens"):
        read_result(path)
