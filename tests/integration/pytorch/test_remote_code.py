"""Models with their own code on the real API: refused without consent, run with it, at the revision asked for."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from llenergymeasure.audit.specimens import hub_repository
from llenergymeasure.errors import LlemError

from .fixtures_running import edit_json, opened, tokens

FROM_PRETRAINED = "transformers.AutoModelForCausalLM.from_pretrained"
TOKENIZER = "transformers.AutoTokenizer.from_pretrained"
CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own-llama"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
    edition = "{edition}"
"""


@pytest.fixture(autouse=True)
def _code_is_copied_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """transformers copies a model's code into its own cache and imports it from there."""
    import sys

    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("transformers_modules"):
            del sys.modules[name]


def with_own_code(folder: Path, tiny_llama: Path, edition: str, prefix: str = "") -> Path:
    shutil.copytree(tiny_llama, folder)
    (folder / "modeling_own.py").write_text(CODE.format(edition=edition))
    classes = {
        "AutoConfig": f"{prefix}modeling_own.OwnConfig",
        "AutoModelForCausalLM": f"{prefix}modeling_own.OwnForCausalLM",
    }
    edit_json(folder / "config.json", model_type="own-llama", architectures=["OwnForCausalLM"], auto_map=classes)
    return folder


@pytest.mark.field("trust_remote_code", "observed")
def test_own_code_runs_only_with_consent(tiny_llama: Path, tmp_path: Path) -> None:
    folder = with_own_code(tmp_path / "model", tiny_llama, "local")
    with opened(folder, {"pytorch": {"trust_remote_code": True}}) as (session, found):
        assert session.backend.model.edition == "local"
        assert found.effective.values["model"]["class"] == "OwnForCausalLM"
        assert len(tokens(session.backend)[0]) == 4


@pytest.mark.field("trust_remote_code", "observed")
@pytest.mark.parametrize("section", [{"trust_remote_code": False}, {}])
def test_own_code_is_refused_without(tiny_llama: Path, tmp_path: Path, section: dict[str, bool]) -> None:
    folder = with_own_code(tmp_path / "model", tiny_llama, "local")
    with pytest.raises((ValueError, LlemError), match="trust_remote_code"), opened(folder, {"pytorch": section}):
        pass
    assert not (tmp_path / "modules").is_dir() or not list((tmp_path / "modules").rglob("modeling_own.py"))


@pytest.mark.field("code_revision", "observed")
@pytest.mark.parametrize(("revision", "edition"), [(None, "new"), ("old", "old")])
def test_code_of_another_revision(tiny_llama: Path, tmp_path: Path, revision: str | None, edition: str) -> None:
    """The weights come from one repository, the code from a second one, at a revision of its own."""
    editions = {
        branch: with_own_code(tmp_path / name, tiny_llama, name) for branch, name in (("main", "new"), ("old", "old"))
    }
    hub_repository(tmp_path / "hub", "tests/code", editions)
    weights = with_own_code(tmp_path / "weights", tiny_llama, "weights", prefix="tests/code--")
    name = hub_repository(tmp_path / "hub", "tests/weights", {"main": weights})
    section = {"trust_remote_code": True, **({"code_revision": revision} if revision else {})}
    cached = {place: {"cache_dir": str(tmp_path / "hub")} for place in (FROM_PRETRAINED, TOKENIZER)}
    with opened(name, {"pytorch": section, "passthrough": cached}) as (session, _):
        assert session.backend.model.edition == edition
