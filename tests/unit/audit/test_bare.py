"""What is sent with nothing set: on every pinned version what the tool owns, and red for whatever else comes in."""

from collections.abc import Callable
from typing import Any

import pytest

from llenergymeasure.audit.bare import bare_configurations, unowned
from llenergymeasure.audit.wiring import Wiring, never_sent, wiring
from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Calls
from llenergymeasure.config.pytorch.entry_points import (
    FROM_PRETRAINED,
    GENERATE_BATCH,
    GENERATION_CONFIG,
    SET_SEED,
    TOKENIZER,
    TORCH_COMPILE,
)
from llenergymeasure.core import session as session_module
from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend
from llenergymeasure.surface import ledger, snapshots
from llenergymeasure.surface.ledger import Entry, Ledger
from llenergymeasure.surface.model import Surface

VERSIONS = snapshots.versions("pytorch")


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_but_the_tools_own_is_sent(version: str) -> None:
    seen: set[Target] = set()
    assert unowned(snapshots.load("pytorch", version), seen) == []
    assert {Target(SET_SEED, "seed"), Target(FROM_PRETRAINED, "pretrained_model_name_or_path")} <= seen


def test_each_section_that_is_a_call_is_run_empty(newest: Surface) -> None:
    seen: set[Target] = set()
    unowned(newest, seen)
    assert {TORCH_COMPILE, GENERATE_BATCH} <= {target.entry_point for target in seen}
    assert len(list(bare_configurations(newest))) >= 4


def test_a_backend_module_that_always_sends_one_extra_turns_it_red(
    newest: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PyTorchBackend._generation_arguments
    monkeypatch.setattr(PyTorchBackend, "_generation_arguments", lambda self: {"repetition_penalty": 1.1, **real(self)})
    (problem,) = wiring(newest).unowned
    says = "gets 1.1 with nothing set: it is neither required nor owned in the ledger"
    assert problem == f"{GENERATION_CONFIG}:repetition_penalty {says}"


@pytest.mark.parametrize(
    ("entry_point", "name", "value"),
    [(FROM_PRETRAINED, "use_safetensors", True), (TOKENIZER, "use_fast", True), (TORCH_COMPILE, "dynamic", False)],
)
def test_so_does_one_at_any_entry_point(
    newest: Surface, monkeypatch: pytest.MonkeyPatch, entry_point: str, name: str, value: Any
) -> None:
    spoil_lowering(monkeypatch, lambda calls: _add(calls, entry_point, name, value))
    (problem,) = unowned(newest, set())
    assert problem.startswith(f"{entry_point}:{name} gets {value} with nothing set")


@pytest.mark.parametrize(
    ("entry_point", "name", "value"), [(SET_SEED, "seed", 1), (GENERATION_CONFIG, "max_new_tokens", 7)]
)
def test_so_does_another_value_of_what_is_required(
    newest: Surface, monkeypatch: pytest.MonkeyPatch, entry_point: str, name: str, value: int
) -> None:
    spoil_lowering(monkeypatch, lambda calls: _add(calls, entry_point, name, value))
    (problem,) = unowned(newest, set())
    assert problem.startswith(f"{entry_point}:{name} gets {value} with nothing set, not ")


def test_a_backend_module_that_fails_turns_it_red(newest: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("no engine")

    monkeypatch.setattr(PyTorchBackend, "load", fail)
    assert unowned(newest, set()) == ["the backend module failed with nothing set: RuntimeError: no engine"]


def test_everything_that_the_ledger_calls_owned_is_sent_in_some_version(sent_by_version: dict[str, Wiring]) -> None:
    assert never_sent(list(sent_by_version.values())) == []


def test_an_owned_parameter_that_is_never_sent_is_reported(newest: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Ledger((*ledger.load("pytorch").entries, Entry("owned", FROM_PRETRAINED, ("proxies",), "", "Ours.")))
    monkeypatch.setattr(ledger, "load", lambda _: book)
    assert (
        f"the ledger says that the tool sets {FROM_PRETRAINED}:proxies, and it was sent in no observed run"
        in never_sent([wiring(newest)])
    )


def spoil_lowering(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Calls], None]) -> None:
    real = session_module.version_calls

    def lower(*given: Any) -> Calls:
        calls = real(*given)
        spoil(calls)
        return calls

    monkeypatch.setattr(session_module, "version_calls", lower)


def _add(calls: Calls, entry_point: str, name: str, value: Any) -> None:
    if entry_point in calls or entry_point != TORCH_COMPILE:
        calls.arguments.setdefault(entry_point, {})[name] = value
