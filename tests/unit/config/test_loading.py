"""A configuration file: three formats that mean the same, and for every mistake its place and the way out."""

import itertools
import json
from pathlib import Path

import pytest

from llenergymeasure.config.loading import load_config
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
            "pytorch: {torch_compile: true}\n",
            3,
            "pytorch.torch_compile",
            "takes a mapping of fields (given: True)",
            "write torch_compile: {} for its defaults",
        ),
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
    ("fields", "field", "bound"),
    [
        ("prompts: {synthetic: {count: 1000000000000, input_tokens: 5}}", "prompts.synthetic.count", "1000000"),
        ("prompts: {synthetic: {count: 2, input_tokens: 1000000000}}", "prompts.synthetic.input_tokens", "10000000"),
        ("prompts: {synthetic: {count: 1, input_tokens: [5, 0]}}", "prompts.synthetic.input_tokens", "at least 1"),
        ("prompts: {synthetic: {count: 1, input_tokens: [true]}}", "prompts.synthetic.input_tokens[0]", "integer"),
        ("prompts: {synthetic: {count: 1000000, input_tokens: 1000000}}", "prompts.synthetic.count", "100000000"),
        ("prompts: [a]\nmeasurement: {repeats: 1000000000000}", "measurement.repeats", "1000000"),
        ("prompts: [a]\nmeasurement: {warmup_batches: 1000000000000}", "measurement.warmup_batches", "1000000"),
        ("prompts: [a]\nmeasurement: {min_duration_s: 1.0e+300}", "measurement.min_duration_s", "604800"),
        ("prompts: [a]\noutput: {max_tokens: 1000000000000}", "output.max_tokens", "10000000"),
        ("prompts: [a]\ninput: {max_tokens: 1000000000000}", "input.max_tokens", "10000000"),
    ],
)
def test_numbers_beyond_any_run_are_refused_with_their_bound(
    tmp_path: Path, fields: str, field: str, bound: str
) -> None:
    path = write(tmp_path, f"model: m\n{fields}\npytorch: {{}}\n")
    error = refused(path)
    assert f": {field}: " in error.cause
    assert bound in error.cause
    assert len(error.cause.splitlines()) == 1


def test_the_number_of_replicas_has_a_bound(tmp_path: Path) -> None:
    error = refused(write(tmp_path, HEAD + "pytorch: {num_processes: 1000000000}\n"))
    assert "pytorch.num_processes: input should be less than or equal to 1024" in error.cause


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


@pytest.mark.parametrize(
    ("prompts", "field", "says"),
    [
        ("['']", "prompts[0]", "is blank"),
        ("[a, ' ']", "prompts[1]", "is blank"),
        ("[1]", "prompts[0]", "takes text (given: 1)"),
        ("[true]", "prompts[0]", "takes text (given: True)"),
        ("[[a]]", "prompts[0]", "takes text"),
        ("[null]", "prompts[0]", "takes text (given: None)"),
        ("[]", "prompts", "is empty"),
        ("", "prompts", "takes a list of prompts, a file's name, or a mapping"),
        ("3", "prompts", "takes a list of prompts, a file's name, or a mapping"),
        ("''", "prompts", "is blank: name a file"),
        ("{inline: a}", "prompts.inline", "valid list"),
        ("{}", "prompts", "give exactly one of inline, file, synthetic; this gives none"),
        ("{inline: [a], file: b}", "prompts", "this gives inline and file"),
    ],
)
def test_prompts_that_are_none(tmp_path: Path, prompts: str, field: str, says: str) -> None:
    path = write(tmp_path, f"model: m\nprompts: {prompts}\npytorch: {{}}\n")
    error = refused(path)
    assert error.cause.startswith(f"{path}:2: {field}: ")
    assert says in error.cause
    assert len(str(error).splitlines()) == 2


@pytest.mark.parametrize("backend", ["vllm", "tensorrt"])
@pytest.mark.parametrize("given", ["{}", "", "{dtype: auto}"])
def test_a_backend_of_another_version_is_named(tmp_path: Path, backend: str, given: str) -> None:
    error = refused(write(tmp_path, f"{HEAD}{backend}: {given}\n"))
    assert f":3: {backend}: this version of llenergymeasure runs pytorch only" in error.cause


def test_no_backend_at_all(tmp_path: Path) -> None:
    error = refused(write(tmp_path, HEAD))
    assert "give exactly one backend section (pytorch); this gives none" in error.cause
    assert error.remedy == "add `pytorch: {}`"
    assert "give a backend section" in refused(write(tmp_path, HEAD + "seed: -1\n")).cause


def test_the_problems_of_one_section_are_told_together(tmp_path: Path) -> None:
    below = "pytorch: {num_beams: true, batch_size: '2', top_p: 7, zzz: 1}\nseed: x\n"
    error = refused(write(tmp_path, HEAD + below))
    assert [line.split(": ")[1] for line in error.cause.splitlines()] == [
        "seed", "pytorch.num_beams", "pytorch.batch_size", "pytorch.top_p", "pytorch.zzz",
    ]  # fmt: skip
    error = refused(write(tmp_path, HEAD + "pytorch: {temperature: 0.5, top_k: 3}\n"))
    assert [line.split(": ")[1] for line in error.cause.splitlines()] == ["pytorch.temperature", "pytorch.top_k"]


def test_a_page_of_problems_is_cut(tmp_path: Path) -> None:
    error = refused(write(tmp_path, HEAD + "pytorch:\n" + "".join(f"  zz{number}: 1\n" for number in range(300))))
    assert len(error.cause.splitlines()) == 21
    assert error.cause.endswith("and 280 more")
    many = write(tmp_path, json.dumps({"model": "m", "prompts": [1] * 5_000, "pytorch": {}}), "many.json")
    assert refused(many).cause.endswith("and 4980 more")


@pytest.mark.parametrize(
    ("given", "remedy"), [("1e-5", "and with a point: 1.0e-05"), ("'0.5'", "without quotes: 0.5"), ("x", "llem schema")]
)
def test_a_number_that_is_read_as_text(tmp_path: Path, given: str, remedy: str) -> None:
    error = refused(write(tmp_path, f"{HEAD}pytorch: {{do_sample: true, temperature: {given}}}\n"))
    assert "pytorch.temperature: takes a number" in error.cause
    assert remedy in error.remedy


def test_only_the_branch_of_a_union_speaks_that_the_value_belongs_to(tmp_path: Path) -> None:
    error = refused(write(tmp_path, HEAD + "pytorch: {stop_strings: [a, 3]}\n"))
    assert error.cause.endswith(":3: pytorch.stop_strings[1]: takes text (given: 3)")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("~/weights", "{home}/weights"),
        (".", "{folder}"),
        ("inner/model", "{folder}/inner/model"),
        ("owner/model", "owner/model"),
    ],
)
@pytest.mark.parametrize("field", ["model", "tokenizer", "assistant_model"])
def test_every_model_is_found_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, given: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    (tmp_path / "inner" / "model").mkdir(parents=True)
    top = {"model": "m", "prompts": ["one"], "pytorch": {}}
    target: dict[str, object] = top["pytorch"] if field == "assistant_model" else top  # type: ignore[assignment]
    target[field] = given
    config = load_config(write(tmp_path, json.dumps(top), "run.json"))
    found = config.section.assistant_model if field == "assistant_model" else getattr(config, field)
    assert found == expected.format(home="/home/someone", folder=tmp_path)


def test_an_offload_folder_stands_beside_the_configuration(tmp_path: Path) -> None:
    below = "pytorch: {device_map: auto, max_memory: {cpu: 1GiB}, offload_folder: away}\n"
    assert load_config(write(tmp_path, HEAD + below)).section.offload_folder == f"{tmp_path}/away"
