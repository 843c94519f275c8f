"""A configuration file: three formats that mean the same, and paths that are found beside it."""

import json
from pathlib import Path

import pytest

from llenergymeasure.config.loading import load_config

from .written import HEAD, JSON, TOML, YAML, write


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
