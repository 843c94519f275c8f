"""Which attributes of a config act on the code that gets it, in the shapes that transformers is written in."""

from pathlib import Path
from textwrap import indent

import pytest

from llenergymeasure.surface import snapshots
from llenergymeasure.surface.extract import from_source
from llenergymeasure.surface.model import from_json, to_json

from .package import source

BATCH = "transformers.GenerationMixin.generate_batch"
CONFIG = "transformers.GenerationConfig"
KNOWN = ("top_k", "num_beams", "_hidden")

READER = """
class ContinuousMixin:
    def generate_batch(self, inputs, generation_config=None):
        self.start(generation_config)

    def start(self, generation_config):
        {reads}
"""
MAKER = """
class GenerationMixin:
    def generate(self, inputs=None, **kwargs): ...

    def _get_logits_processor(self, generation_config, length=None, device=None):
{body}
        return processors
"""
PROCESSORS = """
class LogitsProcessor:
    allowed = supports_continuous_batching = None

class Scores(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores / 2

class Words(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores.scatter(input_ids)

class Allowed(Words):
    supports_continuous_batching: bool = True

class Forbidden(Scores):
    supports_continuous_batching = False
"""


def acting(folder: Path, reads: str = "pass", body: str = "") -> tuple[str, ...]:
    package = source(
        folder,
        **{
            "generation/continuous_batching/continuous_api.py": READER.format(reads=reads),
            "generation/utils.py": MAKER.format(body=indent(f"processors = []\n{body}", " " * 8)),
            "generation/logits_process.py": PROCESSORS,
        },
    )
    return from_source("pytorch", package).entry_points[BATCH].acts_on[CONFIG]


@pytest.mark.parametrize(
    ("reads", "acts"),
    [
        ("x = generation_config.top_k", True),
        ("x = self.generation_config.top_k", True),
        ('x = getattr(generation_config, "top_k", None)', True),
        ("generation_config.top_k = None", False),
        ("x = other.top_k", False),
        ('x = getattr(other, "top_k")', False),
        ("x = 'generation_config.top_k'", False),
    ],
)
def test_an_attribute_that_is_read_acts(tmp_path: Path, reads: str, acts: bool) -> None:
    assert acting(tmp_path, reads) == (("top_k",) if acts else ())


@pytest.mark.parametrize(
    ("made", "acts"),
    [
        ("Scores(generation_config.top_k)", True),
        ("Scores(k=generation_config.top_k, device=device)", True),
        ("Allowed(generation_config.top_k)", True),
        pytest.param("Words(generation_config.top_k)", False, id="it looks at the sequence"),
        pytest.param("Forbidden(generation_config.top_k)", False, id="it says that it may not be used"),
        pytest.param("Scores(generation_config.top_k, length)", False, id="it needs what nobody gives"),
        pytest.param("Scores(generation_config._prepared)", False, id="it needs what only generate prepares"),
        pytest.param("Elsewhere(generation_config.top_k)", False, id="nothing is known of it"),
        pytest.param("generation_config.top_k.processor()", False, id="the object itself makes it"),
    ],
)
def test_a_processor_acts_where_it_can_be_used(tmp_path: Path, made: str, acts: bool) -> None:
    body = f"if generation_config.top_k is not None:\n    processors.append({made})"
    assert acting(tmp_path, body=body) == (("top_k",) if acts else ())


def test_what_is_made_of_a_missing_argument_is_missing_too(tmp_path: Path) -> None:
    body = "start = length + 1\nif generation_config.top_k:\n    processors.append(Scores(start))"
    assert acting(tmp_path, body=body) == ()


def test_a_condition_on_a_missing_argument_is_never_met(tmp_path: Path) -> None:
    body = "if generation_config.top_k and length:\n    processors.append(Scores(1))"
    assert acting(tmp_path, body=body) == ()


def test_a_condition_that_only_encloses_another_does_not_act(tmp_path: Path) -> None:
    body = (
        "if generation_config.num_beams:\n    if generation_config.top_k:\n"
        "        processors.append(Scores(generation_config.top_k))"
    )
    assert acting(tmp_path, body=body) == ("top_k",)


@pytest.mark.parametrize("version", snapshots.versions("pytorch"))
def test_snapshots_say_what_acts(version: str) -> None:
    surface = snapshots.load("pytorch", version, "transformers")
    names = surface.entry_points[BATCH].acts_on[CONFIG]
    assert {"do_sample", "eos_token_id", "max_new_tokens", "temperature"} <= set(names)
    assert not {"num_beams", "use_cache", "repetition_penalty", "guidance_scale"} & set(names)
    assert from_json(to_json(surface)) == surface
