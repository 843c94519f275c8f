"""A connector that keeps the KV cache outside the engine: vLLM's example, which writes it into a folder."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from .conftest import Engines
from .fixtures_engine import STEPWISE, Running, core, running, steps
from .fixtures_running import tokens

PROMPT = tuple(range(5, 305))
HOME = "vllm.distributed.kv_transfer.kv_connector.v1"
CLASS = "ExampleConnector"


@pytest.fixture
def run(engines: Engines) -> Running:
    return running(engines)


@pytest.fixture
def section(tmp_path: Path) -> dict[str, Any]:
    """Options of the example connector with a folder of its own."""
    if importlib.util.find_spec(f"{HOME}.example_connector") is None:
        pytest.skip(f"needs a vLLM version with {CLASS}")
    return {
        "kv_connector": CLASS,
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"shared_storage_path": str(tmp_path / "kept")},
    }


def transferring(run: Running, section: dict[str, Any] | None) -> Any:
    return run({**STEPWISE, "block_size": 64, **({"kv_transfer_config": section} if section else {})})


@pytest.mark.field("kv_transfer_config", "observed")
@pytest.mark.field("kv_transfer_config.kv_connector", "observed")
@pytest.mark.field("kv_transfer_config.kv_connector_extra_config", "observed")
def test_the_next_engine_finds_what_one_has_kept(
    engines: Engines, run: Running, section: dict[str, Any], tmp_path: Path
) -> None:
    def first_step() -> tuple[int, tuple[int, ...]]:
        """Tokens that the first step computes, and the answer."""
        engines.close()
        backend = transferring(run, section)
        seen = steps(backend, PROMPT)
        return seen[0].tokens, tokens(backend, PROMPT)[0]

    assert not (tmp_path / "kept").exists()
    computed, answer = first_step()
    assert computed == len(PROMPT)
    assert list((tmp_path / "kept").rglob("*.safetensors"))
    found, same = first_step()
    assert found <= len(PROMPT) - 256
    assert same == answer
    elsewhere = {**section, "kv_connector_extra_config": {"shared_storage_path": str(tmp_path / "other")}}
    assert steps(transferring(run, elsewhere), PROMPT)[0].tokens == len(PROMPT)
    assert core(transferring(run, None)).scheduler.connector is None


@pytest.mark.field("kv_transfer_config.kv_connector_module_path", "observed")
def test_the_class_is_that_of_the_module(
    run: Running, section: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"from {HOME}.example_connector import {CLASS}\n\n\nclass Own({CLASS}):\n    pass\n"
    (tmp_path / "llem_own_connector.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    own = {**section, "kv_connector": "Own", "kv_connector_module_path": "llem_own_connector"}
    for given, name in ((section, CLASS), (own, "Own")):
        assert type(core(transferring(run, given)).scheduler.connector).__name__ == name


@pytest.mark.field("kv_transfer_config.kv_role", "effective")
@pytest.mark.field("kv_transfer_config.kv_load_failure_policy", "effective")
@pytest.mark.parametrize("values", [("kv_both", "recompute"), ("kv_producer", "fail")])
def test_connector_has_the_role_and_the_policy(run: Running, section: dict[str, Any], values: tuple[str, str]) -> None:
    names = ("kv_role", "kv_load_failure_policy")
    backend = transferring(run, {**section, **dict(zip(names, values, strict=True))})
    engine = backend.effective(None).values["engine"]["kv_transfer_config"]
    assert tuple(engine[name] for name in names) == values
