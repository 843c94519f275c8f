"""Continuous batching on the real API: which generation fields act there, and that the others are refused rightly."""

from collections.abc import Callable
from typing import Any

import pytest

from llenergymeasure.config.pytorch.entry_points import GENERATE_BATCH, GENERATION_CONFIG
from llenergymeasure.core.api import RealApi
from llenergymeasure.errors import RequestError

from .fixtures_running import calls_of, require_continuous_batching, run_ids

Load = Callable[..., Any]
PROMPTS = ((5,), (5, 6, 7), (5, 6, 8, 9, 10, 11), (30, 40))
SMALL = {"num_blocks": 16, "max_batch_tokens": 64}
ROOM = 12  # tokens per answer: enough for a repeated token, a late start or an early end to show


@pytest.fixture(autouse=True)
def _version_can() -> None:
    require_continuous_batching()


@pytest.fixture
def options() -> dict[str, Any]:
    """As small a cache as the version lets one ask for."""
    return SMALL if RealApi().surface("pytorch").entry_points.get("transformers.ContinuousBatchingConfig") else {}


@pytest.fixture
def continuous(load: Load, options: dict[str, Any]) -> Callable[..., Any]:
    """A backend in continuous batching, loaded past the refusals."""

    def _load(fields: dict[str, Any] | None = None, **settings: Any) -> Any:
        section = {**attention(), **(fields or {}), "continuous_batching": options}
        return load(section, **{"max_tokens": ROOM, **settings})

    return _load


def attention() -> dict[str, str]:
    """Transformers 4.57 does not switch to a kernel that reads the cache's pages by itself."""
    surface = RealApi().surface("pytorch")
    return {"attn_implementation": "sdpa_paged"} if surface.version.startswith("4.") else {}


def acts_on() -> tuple[str, ...]:
    return RealApi().surface("pytorch").entry_points[GENERATE_BATCH].acts_on[GENERATION_CONFIG]


def require_acts(name: str) -> None:
    if name not in acts_on():
        pytest.skip(f"needs a transformers version whose generate_batch acts on {name}")


def answers(backend: Any) -> list[tuple[tuple[int, ...], ...]]:
    return [group for output in run_ids(backend, *PROMPTS) for group in output.sequences]


# Each leaves sampling one token only, the likeliest.
NARROW = [
    ("temperature", 1e-4),
    ("top_k", 1),
    ("top_p", 1e-4),
    ("min_p", 1.0),
    ("top_h", 1e-4),
    ("epsilon_cutoff", 0.999),
]


@pytest.mark.parametrize(("name", "value"), NARROW, ids=[name for name, _ in NARROW])
def test_a_field_of_sampling_acts(continuous: Callable[..., Any], name: str, value: float) -> None:
    require_acts(name)
    greedy = answers(continuous({}))
    wide = {"do_sample": True, "top_k": 0, "temperature": 5.0}
    assert answers(continuous(wide)) != greedy
    assert answers(continuous({**wide, name: value})) == greedy


def test_typical_sampling_acts(continuous: Callable[..., Any]) -> None:
    """It keeps what is closest to the expected information, which is not the likeliest token: one and the same."""
    require_acts("typical_p")
    narrow = {"do_sample": True, "top_k": 0, "typical_p": 1e-4}
    assert answers(continuous(narrow, seed=1)) == answers(continuous(narrow, seed=2))


def test_suppressed_tokens_do_not_come(continuous: Callable[..., Any]) -> None:
    require_acts("suppress_tokens")
    greedy = {token for group in answers(continuous({})) for token in group[0]}
    banned = sorted(greedy)[:4]
    if RealApi().surface("pytorch").version.startswith("4."):  # it compares tokens of two devices
        with pytest.raises(RequestError, match="gave no answer"):
            answers(continuous({"suppress_tokens": banned}))
        return
    suppressed = {token for group in answers(continuous({"suppress_tokens": banned})) for token in group[0]}
    assert suppressed.isdisjoint(banned)


@pytest.mark.parametrize("spelling", [lambda token: token, lambda token: [token]], ids=["token", "list of one"])
def test_an_end_token_ends_an_answer(continuous: Callable[..., Any], spelling: Callable[[int], Any]) -> None:
    full = answers(continuous({}))[0][0]
    ended = answers(continuous({"eos_token_id": spelling(full[2])}))[0][0]
    assert ended == full[: full.index(full[2]) + 1]


@pytest.mark.parametrize("limit", [1, 5])
def test_the_limit_on_the_output_holds(continuous: Callable[..., Any], limit: int) -> None:
    assert {len(group[0]) for group in answers(continuous({"eos_token_id": 1}, max_tokens=limit))} == {limit}


def test_several_sequences_are_returned(continuous: Callable[..., Any]) -> None:
    require_acts("num_return_sequences")
    backend = continuous({"do_sample": True, "num_return_sequences": 3})
    if RealApi().surface("pytorch").version == "5.17.0":  # it generates all and returns one of them
        with pytest.raises(RequestError, match="returns one sequence per prompt, and 3 were asked for"):
            answers(backend)
        return
    found = answers(backend)
    assert [len(group) for group in found] == [3] * len(PROMPTS)


PROCESSORS = [
    ("renormalize_logits", True, "LogitNormalization"),
    ("remove_invalid_values", True, "InfNanRemoveLogitsProcessor"),
    ("eta_cutoff", 0.1, "EtaLogitsWarper"),
]


@pytest.mark.parametrize(("name", "value", "processor"), PROCESSORS)
def test_a_processor_is_in_the_manager(continuous: Callable[..., Any], name: str, value: Any, processor: str) -> None:
    require_acts(name)
    sampling = {"do_sample": True, "top_k": 0}
    assert processors(continuous({**sampling, name: value})) == [processor]
    assert processors(continuous(sampling)) == []
    assert all(answers(continuous({**sampling, name: value})))


def processors(backend: Any) -> list[str]:
    from llenergymeasure.core.batching import Prompt

    prompts = [Prompt(0, (5, 6, 7))]
    found = backend.effective(backend.prepare(prompts)[0]).values["continuous_batching"]["logits_processors"]
    return list(found)


def test_every_parameter_that_acts_is_shown_here() -> None:
    """A version whose generate_batch acts on more shows itself."""
    shown = {name for name, _ in NARROW}
    shown |= {"typical_p", "suppress_tokens", "eos_token_id", "max_new_tokens", "num_return_sequences", "do_sample"}
    shown |= {name for name, _, _ in PROCESSORS}
    owned = {"continuous_batching_config", "compile_config"}  # sent elsewhere, and for static caches only
    assert set(acts_on()) - owned <= shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repetition_penalty", 50.0),
        ("no_repeat_ngram_size", 1),
        ("bad_words_ids", None),
        ("sequence_bias", None),
        ("forced_eos_token_id", 9),
        ("begin_suppress_tokens", None),
        ("exponential_decay_length_penalty", (1, 1000.0)),
        ("guidance_scale", 5.0),
        ("stop_strings", None),
        ("min_new_tokens", 6),
    ],
)
def test_a_refused_field_would_not_do_what_it_does_elsewhere(
    load: Load, continuous: Callable[..., Any], name: str, value: Any
) -> None:
    """Or it fails: either way the answers would not be those that were asked for."""
    assert name not in acts_on()
    plain = load({}, max_tokens=ROOM)
    first = answers(plain)[0][0]
    words = [plain.tokenizer.decode([token]) for token in first[1:]]
    made = {
        "bad_words_ids": [[first[0], first[1]]],
        "sequence_bias": [([first[0], first[1]], -100.0)],
        "begin_suppress_tokens": [first[0]],
        "stop_strings": [word for word in words if word.isascii()],
    }
    fields = {name: made.get(name, value)}
    if name == "min_new_tokens":
        fields["eos_token_id"] = first[2]
    wanted = answers(load(fields, max_tokens=ROOM))
    assert wanted != answers(plain)
    try:
        found = answers(continuous(fields))
    except Exception:  # noqa: BLE001 - it crashes, one way or another
        return
    assert found != wanted


def test_autocast_would_not_reach_the_managers_thread(load: Load, options: dict[str, Any]) -> None:
    import torch

    dtypes = {}
    for entered in (False, True):
        backend = load({**attention(), "continuous_batching": options})
        projection = backend.model.model.layers[0].self_attn.q_proj
        place = torch.autocast(backend.model.device.type, dtype=torch.bfloat16, enabled=entered)
        with place, calls_of(projection) as outputs:
            answers(backend)
        dtypes[entered] = {output.dtype for output in outputs}
    assert dtypes[True] == dtypes[False]


def test_answers_are_those_of_one_prompt_at_a_time(load: Load, continuous: Callable[..., Any]) -> None:
    alone = load({"batch_size": 1}, max_tokens=ROOM)
    ends = answers(alone)[0][0][3]
    for fields in ({}, {"eos_token_id": ends}):
        together = run_ids(continuous(fields), *PROMPTS)
        single = run_ids(load({"batch_size": 1, **fields}, max_tokens=ROOM), *PROMPTS)
        assert [group for output in together for group in output.sequences] == [
            group for output in single for group in output.sequences
        ]
        assert [how for output in together for how in output.finished] == [
            how for output in single for how in output.finished
        ]


def test_a_kernel_that_cannot_read_the_pages_is_an_error(load: Load, options: dict[str, Any]) -> None:
    """Where the version does not switch: its answers would be those of another text."""
    backend = load({"attn_implementation": "sdpa", "continuous_batching": options})
    if not attention():
        assert processors(backend) == []
        return
    with pytest.raises(RequestError, match="'sdpa' does not read this version's paged cache"):
        processors(backend)


def test_the_models_own_generation_config_is_left_alone(continuous: Callable[..., Any]) -> None:
    backend = continuous({})
    backend.model.generation_config.top_p = 0.5
    before = backend.model.generation_config.to_dict()
    answers(backend)
    assert backend.model.generation_config.to_dict() == before


def test_no_manager_and_no_thread_stays_behind(continuous: Callable[..., Any]) -> None:
    import threading

    from llenergymeasure.core.batching import Prompt

    backend = continuous({})
    before = {thread.name for thread in threading.enumerate()}
    kernel = backend.model.config._attn_implementation
    backend.effective(backend.prepare([Prompt(0, (5, 6, 7))])[0])
    assert {thread.name for thread in threading.enumerate()} <= before
    assert backend.model.config._attn_implementation == kernel
    assert "init_continuous_batching" not in vars(backend.model)
    assert answers(backend)  # and it still runs
