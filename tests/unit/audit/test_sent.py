"""Rung `sent`: the real backend module on the recorder, and every way in which a value can get lost on the way."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from llenergymeasure.audit.coverage import coverage
from llenergymeasure.audit.recorder import Built, Recorder, Reference
from llenergymeasure.audit.samples import BASE
from llenergymeasure.audit.sent import arrived, check_sent, observe, unbound
from llenergymeasure.config.bindings import BoundField, Target, binding_of
from llenergymeasure.config.lowering import Calls, Loaded
from llenergymeasure.config.pytorch.entry_points import (
    FROM_PRETRAINED,
    GENERATE,
    GENERATE_BATCH,
    GENERATION_CONFIG,
    MAKE_BATCHES,
    TOKENIZER,
)
from llenergymeasure.core import session as session_module
from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend
from llenergymeasure.surface.model import Parameter, Surface

Named = Callable[[str], BoundField]
NUM_BEAMS = Target(GENERATION_CONFIG, "num_beams")


def sent(surface: Surface, pytorch: dict[str, Any], **fields: Any) -> dict[Target, list[Any]]:
    return observe({**BASE, "pytorch": pytorch, **fields}, surface)


def test_unset_fields_reach_nothing(newest: Surface) -> None:
    seen = sent(newest, {})
    assert {target.name for target in seen if target.entry_point == FROM_PRETRAINED} == {
        "pretrained_model_name_or_path",
        "output_loading_info",
    }
    assert {target.name for target in seen if target.entry_point == GENERATION_CONFIG} == {"max_new_tokens"}


@pytest.mark.parametrize(
    ("pytorch", "target", "value"),
    [
        ({"num_beams": 3}, NUM_BEAMS, 3),
        ({"batch_size": 2}, Target(MAKE_BATCHES, "batch_size"), 2),
        ({"dtype": "bfloat16"}, Target(FROM_PRETRAINED, "dtype"), Reference("torch.bfloat16")),
        (
            {"quantization": {"method": "hqq", "nbits": 4}},
            Target(FROM_PRETRAINED, "quantization_config"),
            Built("transformers.HqqConfig", (("nbits", 4),)),
        ),
        ({"continuous_batching": {"persistent_manager": True}}, Target(GENERATE_BATCH, "persistent_manager"), True),
        (
            {"assistant_model": "draft"},
            Target(GENERATE, "assistant_model"),
            None,  # a model, whose source is compared below
        ),
    ],
)
def test_a_set_field_reaches_its_parameter(
    newest: Surface, pytorch: dict[str, Any], target: Target, value: Any
) -> None:
    (found, *_) = sent(newest, pytorch)[target]
    assert (found.source if value is None else found) == ("draft" if value is None else value)


def test_passthrough_reaches_the_call(newest: Surface) -> None:
    """Every parameter that the ledger calls reachable by name is reached."""
    rows = [row for row in coverage(newest).rows if row.kind == "passthrough"]
    assert rows
    for row in rows:
        # torch.autocast and torch.compile are called because something is set for them.
        value = object()
        seen = observe({**BASE, "pytorch": {}, "passthrough": {row.entry_point: {row.name: value}}}, newest)
        assert seen[Target(row.entry_point, row.name)][0] is value, row


@pytest.fixture
def lowering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Calls], None]], None]:
    """Spoils what lowering hands to the backend module."""
    real = session_module.lower

    def spoil(change: Callable[[Calls], None]) -> None:
        def lower(*arguments: Any) -> Calls:
            calls = real(*arguments)
            change(calls)
            return calls

        monkeypatch.setattr(session_module, "lower", lower)

    return spoil


def drop(calls: Calls) -> None:
    calls.arguments[GENERATION_CONFIG].pop("num_beams", None)


def change(calls: Calls) -> None:
    if "num_beams" in calls[GENERATION_CONFIG]:
        calls.arguments[GENERATION_CONFIG]["num_beams"] = 4


def retype(calls: Calls) -> None:
    if "num_beams" in calls[GENERATION_CONFIG]:
        calls.arguments[GENERATION_CONFIG]["num_beams"] = float(calls[GENERATION_CONFIG]["num_beams"])


def add(calls: Calls) -> None:
    if "num_beams" in calls[GENERATION_CONFIG]:
        calls.put(Target(GENERATION_CONFIG, "do_sample"), value=False, path="nobody")


def always(calls: Calls) -> None:
    calls.put(NUM_BEAMS, 2, "nobody")


def misname(calls: Calls) -> None:
    if "num_beams" in calls[GENERATION_CONFIG]:
        calls.arguments[GENERATION_CONFIG]["num_beam"] = calls.arguments[GENERATION_CONFIG].pop("num_beams")


@pytest.mark.parametrize(
    ("spoiled", "says"),
    [
        (drop, f"{NUM_BEAMS} got nothing"),
        (change, f"{NUM_BEAMS} got 4, not 2"),
        (retype, f"{NUM_BEAMS} got 2.0, not 2"),
        (add, f"{GENERATION_CONFIG}:do_sample changed, too: None became [False"),
        (always, f"{NUM_BEAMS} gets 2 without the field, too"),
        (misname, "unexpected keyword argument 'num_beam'"),
    ],
)
def test_lowering_that_loses_or_changes_a_value_turns_it_red(
    newest: Surface, named: Named, lowering: Any, spoiled: Callable[[Calls], None], says: str
) -> None:
    field = named("pytorch.num_beams")
    assert check_sent(field, newest) == ""
    lowering(spoiled)
    assert says in check_sent(field, newest)


@pytest.mark.parametrize(
    ("entry_point", "path", "name"),
    [
        (TOKENIZER, "pytorch.trust_remote_code", "trust_remote_code"),
        (FROM_PRETRAINED, "pytorch.use_safetensors", "use_safetensors"),
        (FROM_PRETRAINED, "pytorch.quantization[hqq].nbits", "quantization_config"),
    ],
)
def test_a_backend_module_that_drops_an_argument_turns_it_red(
    newest: Surface, named: Named, monkeypatch: pytest.MonkeyPatch, entry_point: str, path: str, name: str
) -> None:
    field = named(path)
    assert check_sent(field, newest) == ""
    real = PyTorchBackend._call

    def without(given: Any) -> dict[str, Any]:
        return {key: item for key, item in given.items() if key != name}

    def forgetful(self: PyTorchBackend, called: str) -> Any:
        if called == entry_point:
            self.calls.arguments[called] = without(self.calls[called])
        return real(self, called)

    loads = PyTorchBackend._load

    def forgetful_load(self: PyTorchBackend, given: Any) -> Any:
        self.calls.arguments[FROM_PRETRAINED] = without(given)
        return loads(self, without(given))

    if entry_point == FROM_PRETRAINED:
        monkeypatch.setattr(PyTorchBackend, "_load", forgetful_load)
    else:
        monkeypatch.setattr(PyTorchBackend, "_call", forgetful)
    assert "got nothing" in check_sent(field, newest)


def test_a_backend_module_that_sends_a_default_of_its_own_turns_it_red(
    newest: Surface, named: Named, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: setting one field makes the tool send mined defaults."""
    real = PyTorchBackend._generation_arguments

    def generous(self: PyTorchBackend) -> dict[str, Any]:
        arguments = real(self)
        return {**arguments, "early_stopping": True} if "num_beams" in arguments else arguments

    monkeypatch.setattr(PyTorchBackend, "_generation_arguments", generous)
    assert "early_stopping changed, too" in check_sent(named("pytorch.num_beams"), newest)


def test_a_field_whose_targets_are_reached_only_in_part_turns_it_red(
    newest: Surface, named: Named, lowering: Any
) -> None:
    def drop_second(calls: Calls) -> None:
        calls.arguments[TOKENIZER].pop("revision", None)

    lowering(drop_second)
    assert check_sent(named("revision"), newest) == f"{TOKENIZER}:revision got nothing"


def test_a_section_that_is_a_call_must_be_called(newest: Surface, named: Named, lowering: Any) -> None:
    lowering(lambda calls: calls.arguments.pop("torch.compile", None))
    assert "torch.compile" in check_sent(named("pytorch.torch_compile"), newest)


def test_an_unbound_field_is_bound_again_afterwards(named: Named) -> None:
    field = named("pytorch.num_beams")
    with unbound(field):
        assert binding_of(field.info) is None
    assert binding_of(field.info) is field.binding


@pytest.mark.parametrize(
    ("value", "recorded", "is_it"),
    [
        (3, 3, True),
        (3, 3.0, False),
        (True, 1, False),
        ("bfloat16", Reference("torch.bfloat16"), True),
        ("float16", Reference("torch.bfloat16"), False),
        (True, "high", True),
        (True, "highest", False),
        (False, "highest", True),
        ([1, 2], (1, 2), True),
        ([1, 2], [1], False),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ("draft", Loaded("draft"), True),
        ("draft", Loaded("other"), False),
        ({"nbits": 4}, Built("x.Config", (("nbits", 4),)), True),
        ({"nbits": 4}, Built("x.Config", (("nbits", 8),)), False),
        (4, Built("x.Config", (("nbits", 4),)), False),
        (3, None, False),
    ],
)
def test_what_counts_as_arrived(value: Any, recorded: Any, is_it: bool) -> None:
    assert arrived(value, recorded) is is_it


class TestRecorder:
    """The test double refuses what the version would refuse; else it could hide a wiring gap."""

    def test_it_refuses_a_name_that_the_version_lacks(self, newest: Surface) -> None:
        with pytest.raises(TypeError, match="unexpected keyword argument 'num_beam'"):
            Recorder(newest).note(GENERATION_CONFIG, {"num_beam": 2})

    def test_it_takes_a_name_that_the_version_gained(self, newest: Surface, changed: Any) -> None:
        surface = changed(newest, GENERATION_CONFIG, put=Parameter("num_beam", "int"))
        recorder = Recorder(surface)
        recorder.note(GENERATION_CONFIG, {"num_beam": 2})
        assert recorder.calls == {GENERATION_CONFIG: [{"num_beam": 2}]}

    def test_it_refuses_it_in_a_class_and_in_generate_too(self, newest: Surface) -> None:
        recorder = Recorder(newest)
        with pytest.raises(TypeError, match="nbit"):
            recorder.resolve("transformers.HqqConfig")(nbit=4)
        model = recorder.resolve(FROM_PRETRAINED)(pretrained_model_name_or_path="m")
        tokenizer = recorder.resolve(TOKENIZER)(pretrained_model_name_or_path="m")
        inputs: Mapping[str, Any] = tokenizer.pad({"input_ids": [[3], [4, 5]]})
        with pytest.raises(TypeError, match="num_beam"):
            model.generate(**inputs, num_beam=2)
