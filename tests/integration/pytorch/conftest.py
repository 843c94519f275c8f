"""What the integration tests share: the tiny model, made once per session."""

from pathlib import Path

import pytest
from .tiny import make_tiny_llama


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny random Llama and its tokenizer."""
    return make_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))
