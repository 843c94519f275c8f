"""A configuration file: three formats that mean the same, and for every mistake its place and the way out."""

import json
from pathlib import Path

import pytest

from llenergymeasure.config.loading import load_config
from llenergymeasure.config.nearest import field_names
from llenergymeasure.config.origin import spell
from llenergymeasure.errors import RequestError

HEAD = "model: tiny\nprompts: [one]\n"

YAML = """
model: tiny
prompts:
  inline: [one, two]
output: {max_tokens: 5}
pytorch:
  batch_size: 2
  device_map: {lm_head: 0, model: cpu}
  exponential_decay_length_penalty: [4, 1.5]
"""
TOML = """
model = "tiny"
output = {max_tokens = 5}
[prompts]
inline = ["one", "two"]
[pytorch]
batch_size = 2
device_map = {lm_head = 0, model = "cpu"}
exponential_decay_length_penalty = [4, 1.5]
"""
JSON = json.dumps(
    {
        "model": "tiny",
        "prompts": {"inline": ["one", "two"]},
        "output": {"max_tokens": 5},
        "pytorch": {
            "batch_size": 2,
            "device_map": {"lm_head": 0, "model": "cpu"},
            "exponential_decay_length_penalty": [4, 1.5],
        },
    }
)


def write(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path) -> RequestError:
    with pytest.raises(RequestError) as caught:
        load_config(path)
    return caught.value


def test_yaml_toml_and_json_load_alike(tmp_path: Path) -> None:
    loaded = [
        load_config(write(tmp_path, text, name))
        for name, text in (("a.yaml", YAML), ("a.yml", YAML), ("a.toml", TOML), ("a.json", JSON))
    ]
    assert all(config == loaded[0] for config in loaded)
    config = loaded[0]
    assert config.prompts.inline == ["one", "two"]
    assert config.output.max_tokens == 5
    assert config.pytorch is not None
    assert config.pytorch.batch_size == 2
    assert config.pytorch.device_map == {"lm_head": 0, "model": "cpu"}
    assert config.pytorch.exponential_decay_length_penalty == (4, 1.5)


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        pytest.param("[one, two]", {"inline": ["one", "two"]}, id="a list is inline"),
        pytest.param("work.txt", {"file": "work.txt"}, id="a word is a file"),
    ],
)
def test_short_forms_of_prompts(tmp_path: Path, prompts: str, expected: dict[str, object]) -> None:
    short = load_config(write(tmp_path, f"model: m\nprompts: {prompts}\npytorch: {{}}\n"))
    long = load_config(write(tmp_path, f"model: m\nprompts: {json.dumps(expected)}\npytorch: {{}}\n"))
    assert short == long


def test_a_bare_backend_section_is_the_backend_with_its_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, HEAD + "pytorch:\n"))
    assert config.backend == "pytorch"
    assert config.section.model_dump(exclude_none=True) == {}


@pytest.mark.parametrize(
    ("below", "line", "field", "says", "remedy"),
    [
        # misspelt and unknown
        ("pytorch:\n  num_beam: 2\n", 4, "pytorch.num_beam", "no such field", "did you mean pytorch.num_beams?"),
        ("pytorch: {}\nsede: 3\n", 4, "sede", "no such field", "did you mean seed?"),
        ("pytorch: {}\noutput:\n  max_token: 3\n", 5, "output.max_token", "no such field", "output.max_tokens?"),
        ("pytorch: {}\nxyzzy: 3\n", 4, "xyzzy", "no such field", "known here: input, measurement, model"),
        (
            "pytorch:\n  quantization:\n    method: hqq\n    nbit: 4\n",
            6,
            "pytorch.quantization.nbit",
            "no such field",
            "did you mean pytorch.quantization.nbits?",
        ),
        # wrong type
        ("pytorch:\n  num_beams: two\n", 4, "pytorch.num_beams", "takes a number", "'two'"),
        ("pytorch:\n  num_beams: 2.5\n", 4, "pytorch.num_beams", "fractional", "2.5"),
        ("pytorch:\n  stop_strings: 3\n", 4, "pytorch.stop_strings", "takes text (given: 3)", 'quotes: "3"'),
        ("pytorch:\n  bad_words_ids: [[a]]\n", 4, "pytorch.bad_words_ids[0][0]", "valid integer", "'a'"),
        ("pytorch: [a]\n", 3, "pytorch", "takes a mapping of fields", ""),
        (
            "pytorch:\n  quantization: hqq\n",
            4,
            "pytorch.quantization",
            "takes a mapping (given: 'hqq')",
            "quantization: {method: hqq}",
        ),
        # bounds and choices
        ("pytorch:\n  batch_size: 0\n", 4, "pytorch.batch_size", "greater than or equal to 1", "0"),
        ("pytorch:\n  do_sample: true\n  top_p: 1.5\n", 5, "pytorch.top_p", "less than or equal to 1", "1.5"),
        ("pytorch: {}\nseed: -1\n", 4, "seed", "greater than or equal to 0", "-1"),
        ("pytorch:\n  dtype: bfloat\n", 4, "pytorch.dtype", "'bfloat' is not one of auto", "did you mean bfloat16?"),
        ("pytorch: {}\ninput:\n  overflow: cut\n", 5, "input.overflow", "is not one of error", "take one of them"),
        # contradictions
        (
            "pytorch:\n  device_map: auto\n  tp_plan: auto\n",
            5,
            "pytorch.tp_plan",
            "contradicts device_map",
            "set only one of them",
        ),
        (
            "pytorch:\n  continuous_batching:\n    block_size: 16\n    page_size: 16\n",
            6,
            "pytorch.continuous_batching.page_size",
            "contradicts block_size",
            "",
        ),
        (
            "pytorch: {}\noutput:\n  max_tokens: 2\n  min_tokens: 4\n",
            4,
            "output",
            "min_tokens (4) is above max_tokens (2)",
            "",
        ),
        # accepted by the backend, and ignored
        (
            "pytorch:\n  temperature: 0.5\n",
            4,
            "pytorch.temperature",
            "acts only with do_sample: true",
            "remove pytorch.temperature",
        ),
        ("pytorch:\n  tp_size: 2\n", 4, "pytorch.tp_size", "acts only with tp_plan", "remove pytorch.tp_size"),
        (
            "pytorch: {}\ninput: {overflow: truncate_left}\n",
            4,
            "input",
            "overflow would be ignored: it acts only with max_tokens",
            "",
        ),
        # variants
        (
            "pytorch:\n  quantization:\n    nbits: 4\n",
            4,
            "pytorch.quantization",
            "method must say which kind",
            "method is one of bitsandbytes_8bit, bitsandbytes_4bit",
        ),
        ("pytorch:\n  quantization: {method: gptqq}\n", 4, "pytorch.quantization", "'gptqq'", "did you mean gptq?"),
        (
            "pytorch:\n  quantization: {method: xyzzy}\n",
            4,
            "pytorch.quantization",
            "'xyzzy' is no known kind",
            "one of bitsandbytes_8bit",
        ),
        (
            "pytorch:\n  do_sample: true\n  watermarking_config: {kind: synthid, keys: [1]}\n",
            5,
            "pytorch.watermarking_config.ngram_len",
            "must be given",
            "add pytorch.watermarking_config.ngram_len",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_line_and_the_way_out(
    tmp_path: Path, below: str, line: int, field: str, says: str, remedy: str
) -> None:
    path = write(tmp_path, HEAD + below)
    error = refused(path)
    first = error.cause.splitlines()[0]
    assert first.startswith(f"{path}:{line}: {field}: ")
    assert says in first
    assert remedy in f"{first} {error.remedy}"


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "seeds: 1\npytorch: {num_beam: 2}\n"))
    assert [line.split(": ")[1] for line in error.cause.splitlines()] == [
        "model", "prompts", "pytorch.num_beam", "seeds",
    ]  # fmt: skip
    assert "add model" in error.remedy
    assert "did you mean seed?" in error.remedy


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


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ("model: ./weights", "model", "{folder}/weights"),
        ("model: ../weights", "model", "{parent}/weights"),
        ("model: owner/name", "model", "owner/name"),
        ("model: /elsewhere/weights", "model", "/elsewhere/weights"),
        ("model: m\ntokenizer: ./words", "tokenizer", "{folder}/words"),
        ("model: m\ntokenizer: owner/words", "tokenizer", "owner/words"),
    ],
)
def test_local_folders_are_found_beside_the_configuration(
    tmp_path: Path, given: str, field: str, expected: str
) -> None:
    config = load_config(write(tmp_path, f"{given}\nprompts: [one]\npytorch: {{}}\n"))
    assert getattr(config, field) == expected.format(folder=tmp_path, parent=tmp_path.parent)


def test_a_local_folder_stays_one_where_the_command_runs_beside_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "model: ./weights\nprompts: [one]\npytorch: {}\n")
    # A bare `weights` would be looked for on the hub.
    assert load_config("run.yaml").model == "./weights"


@pytest.mark.parametrize(("given", "expected"), [("work.txt", "{folder}/work.txt"), ("/data/w.txt", "/data/w.txt")])
def test_a_prompts_file_is_found_beside_the_configuration(tmp_path: Path, given: str, expected: str) -> None:
    config = load_config(write(tmp_path, f"model: m\nprompts: {{file: {given}}}\npytorch: {{}}\n"))
    assert str(config.prompts.file) == expected.format(folder=tmp_path)


def test_a_merged_mapping_is_no_duplicate(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, HEAD + "pytorch:\n  device_map: auto\n  max_memory: {<<: {a: 2GiB}, b: 1GiB}\n")
    )
    assert config.section.max_memory == {"a": "2GiB", "b": "1GiB"}


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (("pytorch", "max_memory"), "pytorch.max_memory"),
        (("prompts", "inline", 2), "prompts.inline[2]"),
        (("pytorch", "bad_words_ids", 0, 1), "pytorch.bad_words_ids[0][1]"),
        ((), ""),
    ],
)
def test_locations_are_spelled_as_written(location: tuple[str | int, ...], text: str) -> None:
    assert spell(location) == text


def test_names_at_a_union_are_those_of_every_variant() -> None:
    names = field_names(("pytorch", "quantization"))
    assert {"method", "nbits", "bnb_4bit_quant_type"} <= set(names)
    assert "num_beams" not in names
