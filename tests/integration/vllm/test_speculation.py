"""What drafts are made and accepted while the running engine answers, and that greedy answers stay the same."""

from dataclasses import dataclass
from typing import Any

import pytest

from .conftest import Engines
from .fixtures_engine import STEPWISE, Running, running
from .fixtures_running import drafts_of, require_cuda, steps_of, tokens

# Of the compiler that the search for n-grams uses.
pytestmark = pytest.mark.filterwarnings(r"ignore:\s*Encountered the use of a type that is scheduled for deprecation")

OUTPUT = {"max_tokens": 48}
REPEATING = (9, 10, 11) * 8


@dataclass(frozen=True)
class Drafting:
    """One answer's drafts, by the engine's own count.

    Attributes:
        drafts: checks of a draft.
        most: tokens of the largest step that read no prompt.
    """

    ids: tuple[int, ...]
    drafts: int
    drafted: int
    accepted: int
    steps: int
    most: int


@pytest.fixture
def run(engines: Engines) -> Running:
    return running(engines)


def drafting(run: Running, speculative: dict[str, Any] | None) -> Drafting:
    section = {"speculative_config": speculative} if speculative else {}
    backend = run({**STEPWISE, **section}, output=OUTPUT)
    with steps_of(backend) as seen, drafts_of(backend) as stats:
        (ids,) = tokens(backend, REPEATING)
    drafts, drafted, accepted = (
        sum(getattr(step, f"num_{what}") for step in stats) for what in ("drafts", "draft_tokens", "accepted_tokens")
    )
    return Drafting(ids, drafts, drafted, accepted, len(seen), max(step.tokens for step in seen[1:]))


def without(run: Running) -> Drafting:
    """Every step gives one token."""
    found = drafting(run, None)
    assert (found.drafts, found.accepted, found.most) == (0, 0, 1)
    assert found.steps == len(found.ids)
    return found


@pytest.mark.field("speculative_config", "observed")
@pytest.mark.field("speculative_config.method", "observed")
@pytest.mark.field("speculative_config.num_speculative_tokens", "observed")
@pytest.mark.parametrize("count", [2, 4])
def test_what_was_said_before_is_drafted_and_accepted(run: Running, count: int) -> None:
    found = drafting(run, {"method": "ngram", "num_speculative_tokens": count})
    assert 0 < found.accepted <= found.drafted <= count * found.drafts
    assert found.most == 1 + count
    plain = without(run)
    assert found.steps < plain.steps
    assert found.ids == plain.ids


@pytest.mark.field("speculative_config.prompt_lookup_min", "observed")
@pytest.mark.field("speculative_config.prompt_lookup_max", "observed")
def test_only_long_matches_are_drafted_from(run: Running) -> None:
    def drafts(length: int) -> float:
        sizes = {"prompt_lookup_min": length, "prompt_lookup_max": length}
        return drafting(run, {"method": "ngram", "num_speculative_tokens": 4, **sizes}).drafts

    assert drafts(2) > drafts(30)


@pytest.mark.field("speculative_config", "observed")
@pytest.mark.field("speculative_config.method", "observed")
@pytest.mark.field("speculative_config.model", "observed")
@pytest.mark.field("speculative_config.num_speculative_tokens", "observed")
@pytest.mark.parametrize("count", [2, 4])
def test_model_drafts_what_it_accepts_of_itself(run: Running, count: int) -> None:
    """The same model always agrees; another one, of other random numbers, hardly ever does."""
    own, other = (
        drafting(run, {"method": "draft_model", "model": model, "num_speculative_tokens": count})
        for model in ("model", "assistant")
    )
    assert own.drafted == count * own.drafts
    assert own.accepted > 0.9 * own.drafted
    assert other.accepted < 0.1 * other.drafted
    assert own.steps < other.steps
    assert own.ids == other.ids == without(run).ids


@pytest.mark.field("speculative_config.rejection_sample_method", "observed")
@pytest.mark.field("speculative_config.synthetic_acceptance_length", "observed")
def test_as_many_drafts_are_accepted_as_was_asked_for(run: Running) -> None:
    require_cuda("the sampler for CPUs accepts by the model alone")
    method = {"method": "ngram", "num_speculative_tokens": 4, "rejection_sample_method": "synthetic"}
    none = drafting(run, {**method, "synthetic_acceptance_length": 1.0})
    every = drafting(run, {**method, "synthetic_acceptance_length": 5.0})
    assert none.accepted == 0
    assert every.drafted == every.accepted > 0
