import os
from pathlib import Path

import pytest

from llenergymeasure.matrix.runners import results
from llenergymeasure.matrix.runners.results import MAX_FILE_BYTES, take, used_bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "results"
    made.mkdir()
    return made


@pytest.fixture
def into(tmp_path: Path) -> Path:
    made = tmp_path / "into"
    made.mkdir()
    return made


def test_only_what_was_asked_for_is_taken(folder: Path, into: Path) -> None:
    (folder / "part.json").write_text("{}")
    (folder / "record.json").write_text("forged")
    assert take(["part.json", "junit.xml"], folder, into) == []
    assert [path.name for path in into.iterdir()] == ["part.json"]


def test_no_link_is_followed_out_of_it(folder: Path, into: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "part.json").symlink_to(tmp_path / "secret")
    [problem] = take(["part.json"], folder, into)
    assert problem.startswith("part.json cannot be taken out of the container")
    assert list(into.iterdir()) == []


def test_what_is_no_plain_file_neither_blocks_nor_is_taken(folder: Path, into: Path) -> None:
    os.mkfifo(folder / "part.json")
    (folder / "junit.xml").mkdir()
    problems = take(["part.json", "junit.xml"], folder, into)
    assert problems == ["part.json is no plain file", "junit.xml is no plain file"]
    assert list(into.iterdir()) == []


def test_a_huge_file_is_left(folder: Path, into: Path) -> None:
    with (folder / "part.json").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    [problem] = take(["part.json"], folder, into)
    assert problem.startswith("part.json has 268 MB")


def test_what_it_takes_on_the_disk_is_counted_with_folders_and_empty_files(folder: Path) -> None:
    before = used_bytes(folder, 10**9)
    (folder / "a").write_bytes(b"x" * 100_000)
    (folder / "d").mkdir()
    (folder / "d" / "b").write_bytes(b"x" * 100_000)
    for number in range(50):
        (folder / f"empty-{number}").touch()
    assert used_bytes(folder, 10**9) - before >= 200_000 + 50 * 4096


def test_a_file_with_holes_counts_what_it_really_takes(folder: Path) -> None:
    with (folder / "holes").open("wb") as file:
        file.truncate(10**12)
    assert used_bytes(folder, 10**9) < 10**6


def test_counting_follows_no_link_and_stops_when_it_is_enough(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"x" * 1_000_000)
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "round").symlink_to(folder)
    assert used_bytes(folder, 10**9) < 100_000
    assert used_bytes(folder, 1) <= 2 * 4096
    assert used_bytes(folder / "not there", 1) == 0


def test_what_its_owner_has_closed_is_removed_all_the_same(folder: Path) -> None:
    inner = folder / "closed" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    inner.chmod(0)
    inner.parent.chmod(0)
    results.remove(folder)
    assert not folder.exists()


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path, folder: Path) -> None:
    (folder / "file").touch()
    (folder / "link").symlink_to(tmp_path)
    results.remove(folder)
    assert tmp_path.exists()


def test_a_fresh_folder_is_empty_and_the_containers_alone(folder: Path) -> None:
    (folder / "old").touch()
    numbers = (os.geteuid(), os.getegid())
    made = results.fresh(folder, numbers)
    assert list(made.iterdir()) == []
    assert (made.stat().st_mode & 0o777, made.stat().st_uid) == (0o700, numbers[0])
