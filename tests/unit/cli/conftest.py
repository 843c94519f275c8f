import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.cli import main
from llenergymeasure.core import experiment
from llenergymeasure.surface import snapshots

CONFIG = """
model: m
prompts: [a, bb cc, d e f]
pytorch: {batch_size: 2}
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Llem = Callable[..., Ended]


@pytest.fixture
def llem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Llem:
    """The command itself, run in an empty folder that holds `run.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(CONFIG)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["llem", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """As if transformers 5.23.0 were installed; it records and does not compute."""
    recorder = Recorder(snapshots.load("pytorch", "5.23.0"))
    monkeypatch.setattr(snapshots, "installed", lambda _: recorder.version)
    monkeypatch.setattr(experiment, "RealApi", lambda: recorder)
    return recorder


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without any backend, whatever this one has."""
    import importlib.metadata

    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("transformers", "torch", "vllm", "tensorrt-llm"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
