"""What is wrong with a field: for every mistake its place and the way out, in the user's own words."""

import json
from pathlib import Path

import pytest

from llenergymeasure.config.origin import spell

from .written import HEAD, refused, write


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
        (
            "pytorch:\n  dtype: BFloat16\n",
            4,
            "pytorch.dtype",
            "'BFloat16' is not one of auto",
            "did you mean bfloat16?",
        ),
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


@pytest.mark.parametrize("backend", ["tensorrt"])
@pytest.mark.parametrize("given", ["{}", "", "{dtype: auto}"])
def test_a_backend_of_another_version_is_named(tmp_path: Path, backend: str, given: str) -> None:
    error = refused(write(tmp_path, f"{HEAD}{backend}: {given}\n"))
    assert f":3: {backend}: this version of llenergymeasure runs pytorch and vllm only" in error.cause


def test_no_backend_at_all(tmp_path: Path) -> None:
    error = refused(write(tmp_path, HEAD))
    assert "give exactly one backend section (pytorch, vllm); this gives none" in error.cause
    assert error.remedy == "add `pytorch: {}` or `vllm: {}`"
    assert "give a backend section" in refused(write(tmp_path, HEAD + "seed: -1\n")).cause


def test_two_backends(tmp_path: Path) -> None:
    error = refused(write(tmp_path, HEAD + "pytorch: {}\nvllm: {}\n"))
    assert "give exactly one backend section (pytorch, vllm); this gives pytorch and vllm" in error.cause
    assert error.remedy == "remove `pytorch:` or `vllm:`"


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
