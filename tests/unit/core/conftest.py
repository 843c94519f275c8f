from collections.abc import Callable
from typing import Any

import pytest

from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.audit.recorder_vllm import VLLMRecorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core import experiment
from llenergymeasure.surface import snapshots


@pytest.fixture
def recorder() -> Recorder:
    """transformers' names and signatures without its computation: a word is a token, each answer the token 2."""
    return Recorder(snapshots.load("pytorch", "5.23.0"))


@pytest.fixture
def installed(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """As if that version were installed: experiments run on the recorder, whole."""
    monkeypatch.setattr(snapshots, "installed", lambda _: recorder.version)
    monkeypatch.setattr(experiment, "RealApi", lambda: recorder)
    return recorder


@pytest.fixture
def configured() -> Callable[..., ExperimentConfig]:
    def make(pytorch: dict[str, Any] | None = None, **fields: Any) -> ExperimentConfig:
        return ExperimentConfig.model_validate(
            {"model": "m", "prompts": ["a", "bb cc", "d e f"], "pytorch": pytorch or {}, **fields}
        )

    return make


@pytest.fixture
def vllm_recorder() -> VLLMRecorder:
    """vLLM's names and signatures without an engine: a word is a token, each answer the token 2."""
    return VLLMRecorder(snapshots.load("vllm", "0.32.0"))


@pytest.fixture
def vllm_configured() -> Callable[..., ExperimentConfig]:
    def make(vllm: dict[str, Any] | None = None, **fields: Any) -> ExperimentConfig:
        return ExperimentConfig.model_validate(
            {"model": "m", "prompts": ["a", "bb cc", "d e f"], "vllm": vllm or {}, **fields}
        )

    return make
