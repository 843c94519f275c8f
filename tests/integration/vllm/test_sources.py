"""Where model and tokenizer come from: the weights and the words of the folder, and of the revision, that is named."""

from pathlib import Path

import pytest

from llenergymeasure.audit.specimens import edit_json, hub_repository

from .conftest import Engines
from .fixtures_engine import Running, running
from .fixtures_requests import PROMPTS, surface
from .fixtures_running import tokens


@pytest.fixture
def run(engines: Engines) -> Running:
    return running(engines)


@pytest.mark.field("model", "observed")
def test_another_model_answers_otherwise(run: Running) -> None:
    assert tokens(run(model="elsewhere"), *PROMPTS) != tokens(run(), *PROMPTS)


@pytest.fixture
def repository(stand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A downloaded repository whose `side` has other weights, and a tokenizer with one token more."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    side = tmp_path / "side"
    side.mkdir()
    for file in (stand / "elsewhere").iterdir():
        (side / file.name).write_bytes(file.read_bytes())
    more = {"id": 400, "content": "<more>", "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": False}  # fmt: skip
    edit_json(side / "tokenizer.json", added_tokens=lambda tokens: [*tokens, more])
    return hub_repository(tmp_path, "tests/sources", {"main": stand / "model", "side": side})


@pytest.mark.field("revision", "observed")
def test_weights_are_those_of_the_revision(run: Running, repository: str) -> None:
    main = tokens(run(model=repository), *PROMPTS)
    assert tokens(run(model=repository, revision="main"), *PROMPTS) == main == tokens(run(), *PROMPTS)
    assert tokens(run(model=repository, revision="side"), *PROMPTS) == tokens(run(model="elsewhere"), *PROMPTS) != main


@pytest.mark.field("tokenizer_revision", "observed")
def test_tokenizer_is_that_of_its_revision(run: Running, repository: str) -> None:
    def cut(**settings: str) -> int:
        (ids,) = run(tokenizer=repository, **settings).encode(["<more>"], chat=False)
        return len(ids)

    assert cut(tokenizer_revision="side") == 1 < cut(tokenizer_revision="main") == cut()


@pytest.mark.field("tokenizer_mode", "effective")
def test_tokenizer_runs_in_the_mode_that_is_named(run: Running) -> None:
    def mode(**section: str) -> str:
        return str(run(section).effective(None).values["engine"]["model_config"]["tokenizer_mode"])

    named = "hf"
    choices = surface().find("vllm.LLM", "tokenizer_mode").choices
    if choices and named not in choices:
        pytest.skip(f"needs a vLLM version with tokenizer_mode {named}: {surface().version} has {', '.join(choices)}")
    assert mode(tokenizer_mode=named) == named != mode()
