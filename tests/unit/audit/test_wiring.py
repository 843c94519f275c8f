"""How far each field is proven, and the proof of the proof: without its declaration every field turns the audit red."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from llenergymeasure.audit import wiring as wiring_module
from llenergymeasure.audit.coverage import fields_of
from llenergymeasure.audit.samples import BASE, sample_config, sample_value
from llenergymeasure.audit.wiring import ABSENT, FAILED, PASSED, Wiring, mutation_survivors, prove, wiring
from llenergymeasure.config.bindings import BoundField
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import FROM_PRETRAINED, GENERATION_CONFIG, TOKENIZER
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.model import IGNORED, Parameter, Surface

VERSIONS = snapshots.versions("pytorch")
Named = Callable[[str], BoundField]
Changed = Callable[..., Surface]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_field_that_a_version_has_is_sent(version: str, sent_by_version: dict[str, Wiring]) -> None:
    result = sent_by_version[version]
    assert [f"{proof.path}: {proof.reason}" for proof in result.failed] == []
    assert {proof.rung for proof in result.proofs if proof.status == PASSED} == {"sent"}
    assert all(proof.reason for proof in result.proofs if proof.status == ABSENT)
    assert len(result.proofs) == len(fields_of("pytorch"))


def test_every_field_is_in_some_pinned_version() -> None:
    """A field that no version has is a second list of names, kept by nobody."""
    absent = [
        {
            proof.path
            for proof in wiring(snapshots.load("pytorch", version), "declared").proofs
            if proof.status == ABSENT
        }
        for version in VERSIONS
    ]
    assert set.intersection(*absent) == set()


def test_without_its_declaration_every_field_turns_the_audit_red(newest: Surface) -> None:
    assert mutation_survivors(newest) == []


def test_the_mutation_proof_names_a_field_that_nothing_notices(
    newest: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring_module, "check_sent", lambda field, surface: "")
    survivors = mutation_survivors(newest)
    assert "pytorch.num_beams" in survivors
    assert len(survivors) == sum(proof.status != ABSENT for proof in wiring(newest, "declared").proofs)


class TestDeclared:
    def test_a_parameter_that_the_version_lacks_is_absent(
        self, newest: Surface, named: Named, changed: Changed
    ) -> None:
        surface = changed(newest, GENERATION_CONFIG, drop="num_beams")
        proof = prove(named("pytorch.num_beams"), surface, "sent")
        assert (proof.status, proof.rung) == (ABSENT, "")
        assert proof.reason == f"5.23.0 has no {GENERATION_CONFIG}:num_beams"

    def test_a_parameter_that_the_version_ignores_is_absent_too(
        self, newest: Surface, named: Named, changed: Changed
    ) -> None:
        parameter = Parameter("num_beams", "int", 1, status=IGNORED)
        surface = changed(newest, GENERATION_CONFIG, put=parameter)
        proof = prove(named("pytorch.num_beams"), surface, "sent")
        assert (proof.status, proof.reason) == (ABSENT, "5.23.0 accepts it and ignores it")

    def test_one_of_two_parameters_is_enough(self, newest: Surface, named: Named, changed: Changed) -> None:
        surface = changed(newest, TOKENIZER, drop="subfolder")
        assert prove(named("pytorch.subfolder"), surface, "declared").status == PASSED
        surface = changed(surface, FROM_PRETRAINED, drop="subfolder")
        assert prove(named("pytorch.subfolder"), surface, "declared").status == ABSENT

    def test_a_part_is_absent_where_nothing_takes_the_whole(
        self, newest: Surface, named: Named, changed: Changed
    ) -> None:
        surface = changed(newest, FROM_PRETRAINED, drop="distributed_config")
        assert prove(named("pytorch.distributed.tp_size"), surface, "declared").status == ABSENT

    @pytest.mark.parametrize(
        ("path", "entry_point", "parameter", "reason"),
        [
            (
                "pytorch.num_beams",
                GENERATION_CONFIG,
                Parameter("num_beams", "str", "one"),
                "takes str, the field gives 2",
            ),
            (
                "pytorch.use_cache",
                GENERATION_CONFIG,
                Parameter("use_cache", "int", 1),
                "takes int, the field gives False",
            ),
            (
                "pytorch.cache_implementation",
                GENERATION_CONFIG,
                Parameter("cache_implementation", "str", None, choices=("ring", "tree")),
                "takes one of ring, tree, the field one of dynamic, static",
            ),
        ],
    )
    def test_an_incompatible_type_or_choice_turns_it_red(
        self, newest: Surface, named: Named, changed: Changed,
        path: str, entry_point: str, parameter: Parameter, reason: str,
    ) -> None:  # fmt: skip
        surface = changed(newest, entry_point, put=parameter)
        proof = prove(named(path), surface, "declared")
        assert (proof.status, proof.rung) == (FAILED, "")
        assert reason in proof.reason

    def test_a_type_that_only_prose_gives_is_a_hint(self, newest: Surface, named: Named, changed: Changed) -> None:
        surface = changed(newest, GENERATION_CONFIG, put=Parameter("num_beams", "str", "one", via="pop"))
        assert prove(named("pytorch.num_beams"), surface, "declared").status == PASSED


class TestAccepted:
    """The rung above `sent`; what the API says is handed in, here by a stand-in for it."""

    def test_the_apis_own_message_is_the_reason(self, newest: Surface, named: Named) -> None:
        field = named("pytorch.num_beams")
        refused = prove(field, newest, "accepted", lambda *_: "ValueError: no beams today")
        assert (refused.rung, refused.status) == ("sent", PASSED)
        assert refused.reason == "ValueError: no beams today"
        taken = prove(field, newest, "accepted", lambda *_: "")
        assert (taken.rung, taken.reason) == ("accepted", "")

    def test_it_is_not_asked_about_a_field_that_is_not_sent(
        self, newest: Surface, named: Named, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wiring_module, "check_sent", lambda field, surface, seen: "got nothing")

        def accept(*_: Any) -> str:
            raise AssertionError

        proof = prove(named("pytorch.num_beams"), newest, "accepted", accept)
        assert (proof.rung, proof.status, proof.reason) == ("declared", FAILED, "got nothing")


class TestSamples:
    def test_the_sample_is_the_only_difference(self, named: Named) -> None:
        data, without = sample_config(named("pytorch.num_beams"))
        assert data == {**BASE, "pytorch": {"num_beams": 2}}
        assert without == {**BASE, "pytorch": {}}

    def test_what_the_field_needs_stands_in_both(self, named: Named) -> None:
        data, without = sample_config(named("pytorch.temperature"))
        assert data["pytorch"] == {"do_sample": True, "temperature": 0.7}
        assert without["pytorch"] == {"do_sample": True}

    def test_what_it_needs_is_left_out_where_the_version_lacks_it(self, newest: Surface, named: Named) -> None:
        field = named("pytorch.distributed.enable_expert_parallel")
        beside = {
            version: sample_config(field, snapshots.load("pytorch", version))[0]["pytorch"]["distributed"]
            for version in (newest.version, "4.57.6")
        }
        assert beside[newest.version] == {"tp_size": 2, "enable_expert_parallel": True}
        assert beside["4.57.6"] == {"enable_expert_parallel": True}

    def test_a_variant_is_chosen_on_the_way(self, named: Named) -> None:
        data, without = sample_config(named("pytorch.quantization[hqq].nbits"))
        assert data["pytorch"]["quantization"]["method"] == without["pytorch"]["quantization"]["method"] == "hqq"
        assert "nbits" in data["pytorch"]["quantization"]
        assert "nbits" not in without["pytorch"]["quantization"]

    @pytest.mark.parametrize("version", VERSIONS)
    def test_every_sample_is_valid_and_not_what_the_signature_says(self, version: str) -> None:
        surface = snapshots.load("pytorch", version)
        same = []
        for field in fields_of("pytorch"):
            data, without = sample_config(field, surface)
            ExperimentConfig.model_validate(data)
            ExperimentConfig.model_validate(without)
            value = sample_value(field, surface)
            same += [
                field.path
                for target in field.targets("pytorch")
                if not field.nested
                and (parameter := surface.find(target.entry_point, target.name)) is not None
                and type(parameter.default) is type(value)
                and parameter.default == value
            ]
        assert same == []

    def test_a_bool_takes_the_value_that_is_not_the_default(
        self, newest: Surface, named: Named, changed: Changed
    ) -> None:
        field = named("pytorch.disable_mmap")
        found = {
            sample_value(field, changed(newest, FROM_PRETRAINED, put=Parameter("disable_mmap", "bool", default)))
            for default in (True, False)
        }
        assert found == {True, False}


def test_counts_are_by_highest_rung(newest: Surface) -> None:
    result = wiring(newest, "declared")
    first = result.proofs[0]
    spoiled = replace(result, proofs=(replace(first, status=FAILED, rung="", reason="why"), *result.proofs[1:]))
    counts = spoiled.counts()
    assert counts[FAILED] == 1
    assert counts["declared"] == result.counts()["declared"] - 1
    assert sum(counts.values()) == len(result.proofs)
