"""What is wrong with the file itself: its name, its bytes, its syntax, and what it would grow to."""

import itertools
from pathlib import Path

import pytest

from llenergymeasure.config.loading import load_config

from .written import HEAD, JSON, TOML, YAML, refused, write


@pytest.mark.parametrize(
    ("name", "text", "place", "says"),
    [
        pytest.param("a.yaml", "model: m\nprompts: [a\npytorch: {}\n", ":3:8", "not valid YAML", id="open bracket"),
        pytest.param("a.yaml", "model: m\n\tprompts: a\n", ":2:1", "not valid YAML", id="tabulator"),
        pytest.param("a.yaml", f"{HEAD}pytorch: {{}}\n---\n{HEAD}", ":4:1", "another document", id="two documents"),
        pytest.param("a.yaml", f"{HEAD}pytorch: !!python/object:os.system {{}}\n", ":3:10", "tag", id="python object"),
        pytest.param("a.yaml", f"{HEAD}seed: 1\nseed: 2\n", ":4", "seed stands twice, first on line 3", id="twice"),
        pytest.param(
            "a.yaml",
            f"{HEAD}pytorch:\n  num_beams: 2\n  num_beams: 3\n",
            ":5",
            "pytorch.num_beams stands twice, first on line 4",
            id="twice in a section",
        ),
        pytest.param("a.yaml", f"{HEAD}? [a]\n: 2\n", ":3", "a key is a name", id="a list as key"),
        pytest.param(
            "a.yaml", f"{HEAD}pytorch: &a {{b: *a}}\n", ":3", "an alias contains itself", id="alias of itself"
        ),
        pytest.param("a.json", '{"model": "m",\n "seed": }', ":2:10", "not valid JSON", id="JSON"),
        pytest.param("a.json", '{"seed": 1, "seed": 2}', "", "seed stands twice", id="JSON twice"),
        pytest.param("a.toml", 'model = "m"\nseed = \n', ":2:8", "Invalid value", id="TOML"),
        pytest.param("a.toml", "seed = 1\nseed = 2\n", ":2:9", "not valid TOML", id="TOML twice"),
    ],
)
def test_broken_syntax_is_shown_at_its_place(tmp_path: Path, name: str, text: str, place: str, says: str) -> None:
    path = write(tmp_path, text, name)
    error = refused(path)
    assert error.cause.startswith(f"{path}{place}: ")
    assert says in error.cause
    assert error.remedy


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n", "this is a list"),
        ("just words", "this is a str"),
        ("", "this is empty"),
        ("# nothing but a comment\n", "this is empty"),
    ],
)
def test_a_configuration_is_a_mapping(tmp_path: Path, text: str, says: str) -> None:
    error = refused(write(tmp_path, text))
    assert says in error.cause
    assert "llem schema" in error.remedy


def test_bytes_that_are_not_utf8_are_located(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"model: caf\xe9\n")
    error = refused(path)
    assert f"{path}:1: not UTF-8: byte 0xe9 at offset 10" in error.cause
    assert "UTF-8" in error.remedy


def test_a_missing_file_gets_the_nearest_name(tmp_path: Path) -> None:
    there = write(tmp_path, HEAD, "experiment.yaml")
    error = refused(tmp_path / "experimnt.yaml")
    assert "no such file" in error.cause
    assert error.remedy == f"did you mean {there}?"


def test_a_missing_file_in_a_missing_folder(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "nowhere" / "run.yaml").cause


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").mkdir()
    assert "is a folder" in refused(tmp_path / "run.yaml").cause


def test_another_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    error = refused(write(tmp_path, HEAD, "run.ini"))
    assert "run.ini" in error.cause
    assert ".yaml" in error.remedy
    assert ".toml" in error.remedy


def test_a_merged_mapping_is_no_duplicate(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, HEAD + "pytorch:\n  device_map: auto\n  max_memory: {<<: {a: 2GiB}, b: 1GiB}\n")
    )
    assert config.section.max_memory == {"a": "2GiB", "b": "1GiB"}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in itertools.pairwise("abcdefghi")
)


MERGES = "a: &a {x: 1}\n" + "".join(
    f"{after}: &{after} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, after in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize("text", [BOMB, MERGES], ids=["lists", "merges"])
def test_aliases_that_would_fill_the_memory_are_refused_before_they_are_written_out(tmp_path: Path, text: str) -> None:
    error = refused(write(tmp_path, text + HEAD + "pytorch: {}\n"))
    assert "more than 1000000 values, its aliases written out" in error.cause
    assert error.cause.startswith(f"{tmp_path}/run.yaml:")


def test_few_aliases_are_taken(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "model: m\nprompts: [&a one, *a]\npytorch: {}\n"))
    assert config.prompts.inline == ["one", "one"]


@pytest.mark.parametrize(
    ("name", "text", "place", "says", "remedy"),
    [
        ("a.yaml", f"{HEAD}revision: a\x07b\n", ":3:12", "the character U+0007", "remove it"),
        ("a.yaml", f"{HEAD}revision: a\x00b\n", ":3:12", "the character U+0000", "remove it"),
        ("a.yaml", f"{HEAD}seed: !!python/name:os.system\n", ":3:7", "unknown tag", "remove the tag"),
        ("a.yaml", f"{HEAD}seed: !own 3\n", ":3:7", "unknown tag '!own'", "remove the tag"),
        ("a.yaml", f"{HEAD}\tseed: 3\n", ":3:1", "a tabulator", "spaces"),
        ("a.yaml", f"{HEAD}seed: {'9' * 5000}\n", ":3:7", "Exceeds the limit", "mend"),
        ("a.yaml", f"{HEAD}seed: !!set {{a}}\n", ":3", "seed: takes no set", "quotes"),
        ("a.yaml", f"{HEAD}on: 3\n", "", "a key is read as True", "quotes"),
        ("a.yaml", f"{HEAD}pytorch: {{temperature: .nan}}\n", ":3", "pytorch.temperature: nan is no finite", "number"),
        ("a.yaml", "[" * 5_000, "", "too many levels", "few"),
        ("a.yaml", HEAD + "pytorch: " + "{a: " * 50 + "1" + "}" * 50, ":3", "deeper than 40", "few"),
        ("a.json", "[" * 100_000, "", "too many levels", "few"),
        ("a.json", '{"passthrough": ' + "[" * 100 + "]" * 100 + "}", "", "passthrough[0][0]…: deeper than 40", "few"),
        ("a.json", '{"model": "a\x07"}', ":1:13", "Invalid control character", "mend"),
        ("a.json", '{"model": "\\ud800"}', "", "model: holds half of a surrogate pair", "escape"),
        ("a.json", '{"seed": NaN}', "", "seed: nan is no finite number", "number"),
        ("a.toml", "a = " + "[" * 100_000, "", "too many levels", "few"),
        ("a.toml", 'model = "m', ":1:11", "not valid TOML", "mend"),
        ("a.toml", "seed = 2024-01-01", "", "seed: takes no date", "quotes"),
    ],
)
def test_what_is_no_plain_data_is_refused_at_its_place(
    tmp_path: Path, name: str, text: str, place: str, says: str, remedy: str
) -> None:
    path = write(tmp_path, text, name)
    error = refused(path)
    assert error.cause.startswith(f"{path}{place}: ")
    assert says in error.cause
    assert remedy in error.remedy
    assert len(str(error).splitlines()) == 2


@pytest.mark.parametrize("name", ["a.yaml", "a.toml", "a.json"])
def test_a_byte_order_mark_is_no_part_of_the_configuration(tmp_path: Path, name: str) -> None:
    text = {"a.yaml": YAML, "a.toml": TOML, "a.json": JSON}[name]
    assert load_config(write(tmp_path, f"\ufeff{text}", name)) == load_config(write(tmp_path, text, name))


def test_a_date_is_text_as_in_quotes(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, HEAD + "revision: 2024-01-01\npytorch: {}\n")).revision == "2024-01-01"
