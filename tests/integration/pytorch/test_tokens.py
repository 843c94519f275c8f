"""Tokenizing on the real API: which tokenizer runs, which tokens it adds, and what the model gets."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.audit.specimens import hub_repository
from llenergymeasure.errors import RequestError

from .fixtures_running import TEXT, opened, run, watched

Load = Callable[..., Any]
TOKENIZER = "transformers.AutoTokenizer.from_pretrained"
TEMPLATE = (
    "{% for message in messages %}<s>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>{% endif %}"
)


def with_start_token(folder: Path, tiny_llama: Path) -> Path:
    """A tokenizer that starts every text with a special token."""
    shutil.copytree(tiny_llama, folder)
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    path.write_text(json.dumps(data))
    return folder


def with_other_merges(folder: Path, tiny_llama: Path) -> Path:
    """A tokenizer that knows single bytes only."""
    shutil.copytree(tiny_llama, folder)
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    data["model"]["merges"] = []
    path.write_text(json.dumps(data))
    return folder


@pytest.mark.field("add_special_tokens", "observed")
@pytest.mark.parametrize(("added", "start"), [(True, 1), (False, 0), (None, 1)])
def test_start_token(load: Load, tiny_llama: Path, tmp_path: Path, added: bool | None, start: int) -> None:
    folder = with_start_token(tmp_path / "model", tiny_llama)
    backend = load({} if added is None else {"add_special_tokens": added}, model=folder)
    (output,) = run(backend)
    assert list(output.prompts[0].ids[:1]).count(0) == start
    with watched(backend.model) as seen:
        run(backend)
    assert seen.widths[0] == len(output.prompts[0].ids)


@pytest.mark.field("split_special_tokens", "observed")
@pytest.mark.parametrize("split", [True, False, None])
def test_special_tokens_in_the_text(load: Load, tiny_llama: Path, split: bool | None) -> None:
    backend = load({} if split is None else {"split_special_tokens": split})
    (ids,) = backend.encode(["The <s> energy"], chat=False)
    assert (0 in ids) is not bool(split)


@pytest.mark.field("tokenizer", "observed")
def test_tokenizer_is_the_one(tiny_llama: Path, tmp_path: Path) -> None:
    other = with_other_merges(tmp_path / "bytes", tiny_llama)
    lengths = []
    for settings in ({}, {"tokenizer": str(other)}):
        with opened(tiny_llama, {"pytorch": {}, **settings}) as (session, _), watched(session.backend.model) as seen:
            session.backend.generate(session.batches[0])
        lengths.append(seen.widths[0])
    assert lengths[1] == len(TEXT) > lengths[0]


@pytest.mark.field("tokenizer_revision", "observed")
@pytest.mark.parametrize(("revision", "bytes_only"), [("main", False), ("bytes", True)])
def test_revision_of_the_tokenizer(tiny_llama: Path, tmp_path: Path, revision: str, bytes_only: bool) -> None:
    other = with_other_merges(tmp_path / "bytes", tiny_llama)
    name = hub_repository(tmp_path / "hub", "tests/tokenizers", {"main": tiny_llama, "bytes": other})
    data = {
        "pytorch": {}, "tokenizer": name, "tokenizer_revision": revision,
        "passthrough": {TOKENIZER: {"cache_dir": str(tmp_path / "hub")}},
    }  # fmt: skip
    with opened(tiny_llama, data) as (session, _):
        assert (len(session.batches[0].prompts[0].ids) == len(TEXT)) is bytes_only


@pytest.mark.field("use_fast", "observed")
def test_compiled_tokenizer_or_not(load: Load, tmp_path: Path) -> None:
    import transformers

    if int(transformers.__version__.split(".")[0]) >= 5:
        pytest.skip(f"needs transformers 4: {transformers.__version__} has one kind of tokenizer only")
    folder = plain_gpt2_tokenizer(tmp_path / "model")
    assert load({"use_fast": True}, model=folder).tokenizer.is_fast
    assert not load({"use_fast": False}, model=folder).tokenizer.is_fast


def plain_gpt2_tokenizer(folder: Path) -> Path:
    """A model whose tokenizer exists in both kinds."""
    from llenergymeasure.audit.tiny import make_tiny_llama

    make_tiny_llama(folder)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("\n".join(" ".join(pair) for pair in model["merges"]))
    settings = {
        "tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
        "unk_token": "<pad>", "model_max_length": 512,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_chat_template_wraps_each_prompt(tiny_llama: Path, tmp_path: Path) -> None:
    folder = with_start_token(tmp_path / "model", tiny_llama)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    prompts = {"inline": [TEXT], "chat_template": True}
    with opened(folder, {"pytorch": {}, "prompts": prompts}) as (session, _):
        ids = session.batches[0].prompts[0].ids
        plain = session.backend.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert list(ids) == [0, *plain, 1, 0]  # the template's own start token, and no second one


def test_chat_template_that_is_missing(tiny_llama: Path) -> None:
    prompts = {"inline": [TEXT], "chat_template": True}
    with pytest.raises(RequestError, match="no chat template"), opened(tiny_llama, {"pytorch": {}, "prompts": prompts}):
        pass


def test_synthetic_prompts_have_the_lengths(tiny_llama: Path) -> None:
    data = {"pytorch": {"batch_size": 2}, "prompts": {"synthetic": {"count": 3, "input_tokens": [4, 9]}}}
    with opened(tiny_llama, data) as (session, _), watched(session.backend.model) as seen:
        special = set(session.backend.tokenizer.all_special_ids)
        ids = {token for batch in session.batches for prompt in batch.prompts for token in prompt.ids}
        for batch in session.batches:
            session.backend.generate(batch)
    assert [shape for shape in seen.shapes if shape[1] > 1] == [(2, 9), (1, 4)]
    assert not ids & special


@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation_keeps_the_start_token(tiny_llama: Path, tmp_path: Path, side: str) -> None:
    folder = with_start_token(tmp_path / "model", tiny_llama)
    data = {"pytorch": {}, "input": {"max_tokens": 3, "overflow": f"truncate_{side}"}}
    with opened(folder, data) as (session, _):
        ids = session.batches[0].prompts[0].ids
        plain = session.backend.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert list(ids) == [0, *(plain[-2:] if side == "left" else plain[:2])]


def test_a_model_without_padding_token_is_padded_with_its_end_token(
    load: Load, tiny_llama: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "pad_token"})
    )
    backend = load({"batch_size": 2}, model=folder)
    assert backend.tokenizer.pad_token == backend.tokenizer.eos_token == "</s>"  # noqa: S105 - a marker, no secret
    (output,) = run(backend, ["A", TEXT])
    assert [len(group[0]) for group in output.sequences] == [4, 4]
