"""Configurations written to a file, and the error that reading one ends in."""

import json
from pathlib import Path

import pytest

from llenergymeasure.config.loading import load_config
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
