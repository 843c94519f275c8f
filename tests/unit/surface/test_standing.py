"""Whether a parameter is active, deprecated or without effect, as vLLM's source says it."""

import pytest

from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import ACTIVE, DEPRECATED, IGNORED

from .package import constructor


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Number of parts.", ACTIVE),
        ("[DEPRECATED] Use `parts` instead.", DEPRECATED),
        ("(Deprecated) Number of parts.", DEPRECATED),
        ("Deprecated: This option is deprecated and will be removed.", DEPRECATED),
        ("How to cut.\n\n    Deprecated: cutting is being removed.", DEPRECATED),
        ("How to cut. This flag is deprecated and will go.", DEPRECATED),
        ("`old` is deprecated and has been replaced.", DEPRECATED),
        ("old will be deprecated, please use new.", DEPRECATED),
        ("Deprecated: parts have been removed, so this has no effect.", IGNORED),
        ("Whether to allow deprecated methods.", ACTIVE),
        ("Enable deprecated metrics hidden since a version.", ACTIVE),
        ('Which one. The "words" old is deprecated.', ACTIVE),
    ],
)
def test_the_text_under_a_field(text: str, expected: str) -> None:
    read = constructor(f'@config\nclass C:\n    old: int = 1\n    """{text}"""\n    new: int = 2\n')
    assert (read.parameters["old"].status, read.parameters["new"].status) == (expected, ACTIVE)


def test_pydantic_is_told() -> None:
    read = constructor(
        "@config\nclass C:\n    old: int = Field(default=1, deprecated=('old goes',))\n    new: int = 1\n"
    )
    assert (read.parameters["old"].status, read.parameters["new"].status) == (DEPRECATED, ACTIVE)


def test_a_field_stands_as_the_one_whose_default_it_takes() -> None:
    read = constructor(
        '@config\nclass Other:\n    parts: int = 1\n    """Deprecated: no more parts."""\n'
        "@dataclass\nclass C:\n    number: int = Other.parts\n    plain: int = 1\n"
    )
    assert (read.parameters["number"].status, read.parameters["plain"].status) == (DEPRECATED, ACTIVE)


MESSAGE = '_MESSAGE = (\n    "--the-old is deprecated and will be removed. "\n    "It has no effect."\n)\n'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("if self.the_old is not None:\n            logger.warning_once(_MESSAGE)", IGNORED),
        ("if self.the_old:\n            warnings.warn('`the_old` is deprecated')", DEPRECATED),
        ("if self.the_old:\n            raise ValueError('the_old is deprecated')", ACTIVE),
        ("if self.the_old:\n            log.warning('the_older is deprecated')", ACTIVE),
        ("if self.the_old in ('a', 'b'):\n            log.warning('the_old `%s` is deprecated')", ACTIVE),
        ("if self.the_old == 'a':\n            log.warning('the a of the_old is deprecated')", ACTIVE),
        ("group.add_argument('--the-old', **more, deprecated=True)", DEPRECATED),
        ("group.add_argument('--the-old', **{**more, 'help': _MESSAGE})", IGNORED),
        ("group.add_argument('--the-old', help='allows deprecated things')", ACTIVE),
        ("group.add_argument('--another', help='the_other is deprecated')", ACTIVE),
    ],
)
def test_what_methods_announce(body: str, expected: str) -> None:
    read = constructor(
        f"{MESSAGE}@dataclass\nclass C:\n    the_old: str | None = None\n    def create(self, group):\n        {body}\n"
    )
    assert read.parameters["the_old"].status == expected


@pytest.mark.parametrize(
    ("version", "entry_point", "name", "status"),
    [
        ("0.11.2", "vllm.LLM", "task", DEPRECATED),
        ("0.11.2", "vllm.LLM", "eplb_window_size", DEPRECATED),
        ("0.11.2", "vllm.config.PoolerConfig", "softmax", DEPRECATED),
        ("0.19.1", "vllm.LLM", "calculate_kv_scales", DEPRECATED),
        ("0.32.0", "vllm.LLM", "disable_cascade_attn", IGNORED),
        ("0.32.0", "vllm.LLM", "mamba_cache_mode", ACTIVE),
        ("0.33.0", "vllm.LLM", "mamba_cache_mode", IGNORED),
        ("0.33.0", "vllm.LLM", "allow_deprecated_quantization", ACTIVE),
        ("0.33.0", "vllm.config.StructuredOutputsConfig", "backend", ACTIVE),
        *((version, "vllm.config.SpeculativeConfig", "method", ACTIVE) for version in snapshots.versions("vllm")),
    ],
)
def test_standing_in_vllm(version: str, entry_point: str, name: str, status: str) -> None:
    found = snapshots.load("vllm", version).find(entry_point, name)
    assert found is not None
    assert found.status == status
