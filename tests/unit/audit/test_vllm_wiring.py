"""Every field of vLLM, on every pinned version: covered, sent as it is set, and missed where its declaration is."""

from collections.abc import Mapping

import pytest

from llenergymeasure.audit.coverage import UNACCOUNTED, coverage, fields_of, stale_entries
from llenergymeasure.audit.recorder_vllm import VLLMRecorder
from llenergymeasure.audit.sent import check_sent
from llenergymeasure.audit.wiring import ABSENT, PASSED, Wiring, mutation_survivors, never_sent, wiring
from llenergymeasure.config.vllm.entry_points import LLM
from llenergymeasure.surface import snapshots

VERSIONS = snapshots.versions("vllm")


@pytest.fixture(scope="module")
def sent() -> Mapping[str, Wiring]:
    """The wiring audit of every pinned version, to rung `sent`."""
    return {version: wiring(snapshots.load("vllm", version)) for version in VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_field_that_a_version_has_is_sent(version: str, sent: Mapping[str, Wiring]) -> None:
    result = sent[version]
    assert [f"{proof.path}: {proof.reason}" for proof in result.failed] == []
    assert {proof.rung for proof in result.proofs if proof.status == PASSED} == {"sent"}
    assert all(proof.reason for proof in result.proofs if proof.status == ABSENT)
    assert len(result.proofs) == len(fields_of("vllm"))


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_sent_unasked(version: str, sent: Mapping[str, Wiring]) -> None:
    assert sent[version].unowned == ()


def test_every_field_is_in_some_pinned_version(sent: Mapping[str, Wiring]) -> None:
    absent = [{proof.path for proof in result.proofs if proof.status == ABSENT} for result in sent.values()]
    assert set.intersection(*absent) == set()


def test_what_the_ledger_says_that_the_tool_sets_it_sets(sent: Mapping[str, Wiring]) -> None:
    assert never_sent(list(sent.values())) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_without_its_declaration_every_field_turns_the_audit_red(version: str) -> None:
    assert mutation_survivors(snapshots.load("vllm", version)) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_parameter_is_accounted_for(version: str) -> None:
    found = coverage(snapshots.load("vllm", version))
    assert found.problems == ()
    assert found.counts()[UNACCOUNTED] == 0


def test_no_entry_and_no_binding_is_of_a_parameter_that_is_gone() -> None:
    assert stale_entries([snapshots.load("vllm", version) for version in VERSIONS]) == []


class TestTheRecorder:
    """The proof rests on it: it must notice a backend module that loses a value on the way."""

    def fails(self, path: str) -> str:
        field = next(field for field in fields_of("vllm") if field.path == path)
        return check_sent(field, snapshots.load("vllm", "0.32.0"))

    @pytest.mark.parametrize("name", ["max_num_seqs", "compilation_config"], ids=["a value", "an object"])
    def test_notices_an_argument_of_the_engine_that_is_lost(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        assert self.fails(f"vllm.{name}") == ""
        real = VLLMRecorder._engine

        def forgetful(recorder: VLLMRecorder) -> object:
            make = real(recorder)
            return lambda **arguments: make(**{kept: arguments[kept] for kept in arguments if kept != name})

        monkeypatch.setattr(VLLMRecorder, "_engine", forgetful)
        assert self.fails(f"vllm.{name}") == f"vllm.LLM:{name} got nothing"

    def test_refuses_a_name_that_the_version_has_not(self) -> None:
        recorder = VLLMRecorder(snapshots.load("vllm", "0.32.0"))
        with pytest.raises(TypeError, match="unexpected keyword argument 'swap_space'"):
            recorder.resolve(LLM)(model="m", swap_space=4)

    def test_answers_each_prompt_with_one_token_whichever_way_it_is_asked(self) -> None:
        engine = VLLMRecorder(snapshots.load("vllm", "0.32.0")).resolve(LLM)(model="m")
        prompts = [{"prompt_token_ids": [3, 4]}, {"prompt_token_ids": [5]}]
        assert [item.outputs[0].token_ids for item in engine.generate(prompts, use_tqdm=False)] == [[2], [2]]
        beams = engine.beam_search(prompts, params=None)
        assert [item.sequences[0].tokens for item in beams] == [[3, 4, 2], [5, 2]]
