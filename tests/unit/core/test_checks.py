"""What is refused before anything is loaded: versions, choices, passthrough, model folders."""

from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.config.loading import load_config
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import (
    CALLED,
    FROM_PRETRAINED,
    GENERATE,
    GENERATION_CONFIG,
    SET_SEED,
    TOKENIZE,
    TOKENIZER,
)
from llenergymeasure.core.checks import check_against, check_before_loading, type_fits
from llenergymeasure.errors import RequestError
from llenergymeasure.surface import ledger, snapshots
from llenergymeasure.surface.model import Parameter


def configured(pytorch: dict[str, Any] | None = None, **fields: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"model": "m", "prompts": ["one"], "pytorch": pytorch or {}, **fields})


def refused(version: str, pytorch: dict[str, Any] | None = None, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        check_against(configured(pytorch, **fields), snapshots.load("pytorch", version))
    return caught.value


@pytest.mark.parametrize("version", snapshots.versions("pytorch"))
def test_an_ordinary_configuration_passes_in_every_version(version: str) -> None:
    pytorch = {"batch_size": 4, "dtype": "bfloat16", "num_beams": 2, "cache_implementation": "dynamic"}
    calls = check_against(configured(pytorch), snapshots.load("pytorch", version))
    assert calls[GENERATION_CONFIG]["num_beams"] == 2


@pytest.mark.parametrize(
    ("version", "pytorch", "cause", "remedy"),
    [
        (
            "5.0.0",
            {"use_mtp": True},
            "pytorch.use_mtp: transformers 5.0.0 has no parameter use_mtp",
            "versions that have it: 5.17.0, 5.19.0, 5.23.0",
        ),
        (
            "5.23.0",
            {"continuous_batching": {"slice_inputs": True}},
            "pytorch.continuous_batching.slice_inputs: transformers 5.23.0 has no parameter slice_inputs",
            "versions that have it: 4.57.6",
        ),
        # inside an object, and called otherwise before
        (
            "5.17.0",
            {"continuous_batching": {"page_size": 16}},
            "pytorch.continuous_batching.page_size: transformers 5.17.0 has no parameter page_size",
            "in this version it is called block_size; versions that have page_size: 5.19.0, 5.23.0",
        ),
        # the whole object is missing
        (
            "5.0.0",
            {"continuous_batching": {"block_size": 16}},
            "pytorch.continuous_batching: transformers 5.0.0 has no parameter continuous_batching_config",
            "versions that have it: 5.17.0",
        ),
        (
            "5.0.0",
            {"use_fast": False},
            "pytorch.use_fast: transformers 5.0.0 accepts use_fast and ignores it",
            "remove pytorch.use_fast",
        ),
        (
            "5.23.0",
            {"cache_implementation": "dynamic_full"},
            "pytorch.cache_implementation: 'dynamic_full' is not one of static, ",
            "did you mean dynamic?",
        ),
    ],
)
def test_a_field_that_the_version_lacks_says_where_it_is(
    version: str, pytorch: dict[str, Any], cause: str, remedy: str
) -> None:
    error = refused(version, pytorch)
    assert error.cause.startswith(cause)
    assert remedy in error.remedy


def test_a_field_is_called_by_its_new_name_where_only_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = snapshots.load("pytorch", "5.23.0")
    point = newest.entry_points["transformers.ContinuousBatchingConfig"]
    without = {name: item for name, item in point.parameters.items() if name != "block_size"}
    monkeypatch.setitem(newest.entry_points, point.name, type(point)(point.name, without))
    error = refused("5.23.0", {"continuous_batching": {"block_size": 16}})
    assert error.remedy.startswith("in this version it is called page_size; versions that have block_size: 5.17.0")


@pytest.mark.parametrize(
    ("passthrough", "cause", "remedy"),
    [
        (
            {GENERATION_CONFIG: {"num_beam": 3}},
            f"passthrough.{GENERATION_CONFIG}.num_beam: transformers 5.23.0 has no parameter num_beam",
            "did you mean num_beams?",
        ),
        (
            {"transformers.GenerationConfi": {"num_beams": 3}},
            "passthrough.transformers.GenerationConfi.num_beams: transformers 5.23.0 has no",
            "did you mean transformers.GenerationConfig?",
        ),
        (
            {"somewhere.Else": {"x": 3}},
            "passthrough.somewhere.Else.x: transformers 5.23.0 has no somewhere.Else",
            "`llem audit coverage pytorch` lists what there is",
        ),
        (
            {SET_SEED: {"deterministic": "yes"}},
            f"passthrough.{SET_SEED}.deterministic: 'yes' is no bool",
            "takes bool",
        ),
        (
            {TOKENIZER: {"local_files_only": 1}},
            f"passthrough.{TOKENIZER}.local_files_only: 1 is no bool",
            "takes bool",
        ),
        (
            {GENERATION_CONFIG: {"cache_implementation": "statik"}},
            "'statik' is not one of static",
            "did you mean static?",
        ),
        (
            {TOKENIZER: {"use_fast": True}},
            "accepts use_fast and ignores it",
            "remove passthrough",
        ),
        # Trap: a mapping that reaches no call.
        (
            {"transformers.BitsAndBytesConfig": {"bnb_4bit_quant_type": "nf4"}},
            "would be ignored: this tool makes no call of its own to transformers.BitsAndBytesConfig",
            f"passthrough reaches {FROM_PRETRAINED}",
        ),
    ],
)
def test_passthrough_is_held_against_the_surface(passthrough: dict[str, Any], cause: str, remedy: str) -> None:
    error = refused("5.23.0", passthrough=passthrough)
    assert cause in error.cause
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("entry_point", "name", "field"),
    [(GENERATION_CONFIG, "num_beams", "pytorch.num_beams"), (GENERATION_CONFIG, "max_new_tokens", "output.max_tokens")],
)
def test_passthrough_cannot_take_a_fields_place(entry_point: str, name: str, field: str) -> None:
    error = refused("5.23.0", {"num_beams": 2}, passthrough={entry_point: {name: 7}})
    assert error.cause == f"passthrough.{entry_point}.{name}: contradicts {field}, which sets the same parameter"


@pytest.mark.parametrize(
    "passthrough",
    [
        {SET_SEED: {"deterministic": True}},
        {TOKENIZER: {"bos_token": "<s>", "local_files_only": True}},
        # The model's own configuration takes overrides that no signature lists.
        {FROM_PRETRAINED: {"rope_theta": 10000}},
    ],
)
def test_passthrough_that_fits_is_sent(passthrough: dict[str, dict[str, Any]]) -> None:
    calls = check_against(configured(passthrough=passthrough), snapshots.load("pytorch", "5.23.0"))
    for entry_point, arguments in passthrough.items():
        assert arguments.items() <= calls[entry_point].items()


@pytest.mark.parametrize("entry_point", CALLED)
def test_what_passthrough_reaches_is_on_the_newest_surface(entry_point: str) -> None:
    assert entry_point in snapshots.load("pytorch", snapshots.versions("pytorch")[-1]).entry_points


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        ("int", 3, True),
        ("int", True, False),
        ("int", "3", False),
        ("int", 3.5, False),
        ("float", 3, True),
        ("float", 3.5, True),
        ("bool", True, True),
        ("bool", 1, False),
        ("bool | int", True, True),
        ("str | None", None, True),
        ("str", None, False),
        ("list[int]", [3], True),
        ("list[int]", 3, False),
        ("list[int] | int", 3, True),
        ("dict[str, int]", {"a": 3}, True),
        ("dict[str, int] | None", "a", False),
        # What JSON cannot spell is left to the backend.
        ("torch.dtype", "float16", True),
        ("int | torch.Tensor", "x", True),
        ("dict[tuple[int], float]", [[[9], 1.0]], True),
        ("", object(), True),
    ],
)
def test_types(annotation: str, value: Any, fits: bool) -> None:
    assert type_fits(value, Parameter("x", annotation)) is fits


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the newest pinned version were installed."""
    monkeypatch.setattr(snapshots, "installed", lambda backend: snapshots.load(backend, "5.23.0"))


@pytest.mark.usefixtures("newest")
@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), (b"", "holds no prompt"), (b"\xff\xfe", "not UTF-8"), (b"\n \n", "holds no prompt")],
)
def test_a_prompts_file_is_read_before_the_model(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "work.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=says):
        check_before_loading(configured(prompts={"file": str(path)}, model="owner/name"))


def test_a_backend_that_is_not_installed_says_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    from llenergymeasure.errors import EnvironmentLacksError

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(EnvironmentLacksError) as caught:
        check_before_loading(configured())
    assert caught.value.remedy == 'pip install "llenergymeasure[pytorch]"'


@pytest.mark.parametrize(
    ("entry_point", "name", "value", "cause", "remedy"),
    [
        (GENERATION_CONFIG, "temperature", 0.7, "is the field pytorch.temperature", "set pytorch.temperature"),
        (FROM_PRETRAINED, "token", "hf_x", "a secret would stand in the result", "HF_TOKEN"),
        (FROM_PRETRAINED, "torch_dtype", "auto", "is deprecated", "it is now dtype"),
    ],
)
def test_passthrough_does_not_get_around_a_field_or_the_ledger(
    entry_point: str, name: str, value: Any, cause: str, remedy: str
) -> None:
    error = refused("5.23.0", passthrough={entry_point: {name: value}})
    assert cause in error.cause
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("entry_point", "name", "value", "says", "remedy"),
    [
        (TOKENIZE, "max_length", 5, "cannot be passed through", "remove"),
        (TOKENIZE, "truncation", True, "cannot be passed through", "remove"),
        (TOKENIZE, "padding", True, "cannot be passed through (plumbing): ", "remove"),
        (TOKENIZER, "padding_side", "right", "cannot be passed through (plumbing): ", "remove"),
        (FROM_PRETRAINED, "config", {}, "cannot be passed through (plumbing): ", "remove"),
        (FROM_PRETRAINED, "weights_only", False, "cannot be passed through (security): ", "remove"),
        (FROM_PRETRAINED, "load_in_4bit", True, "cannot be passed through (deprecated): ", "remove"),
        (GENERATION_CONFIG, "max_length", 9, "cannot be passed through (deprecated): ", "remove"),
        (GENERATE, "streamer", "x", "cannot be passed through (serving-only): ", "remove"),
        # Open entry points take any name, and some of them in silence.
        (TOKENIZER, "zzz", 1, "lists no parameter zzz", "`llem audit coverage pytorch` lists"),
        (TOKENIZER, "chat_templat", "x", "lists no parameter chat_templat", "did you mean chat_template?"),
        (FROM_PRETRAINED, "attn_implementatio", "eager", "lists no parameter", "did you mean attn_implementation?"),
        (GENERATE, "num_beams", 2, "is the field pytorch.num_beams", "set pytorch.num_beams"),
    ],
)
def test_passthrough_is_held_against_the_ledger(
    entry_point: str, name: str, value: Any, says: str, remedy: str
) -> None:
    error = refused("5.23.0", passthrough={entry_point: {name: value}})
    assert error.cause.startswith(f"passthrough.{entry_point}.{name}: ")
    assert says in error.cause
    assert remedy in error.remedy


def test_everything_that_the_ledger_calls_owned_or_excluded_is_refused() -> None:
    surface = snapshots.load("pytorch", "5.23.0")
    ruled_out = [
        (entry.entry_point, name)
        for entry in ledger.load("pytorch").entries
        for name in entry.names
        if entry.kind != "passthrough" and surface.find(entry.entry_point, name)
    ]
    assert len(ruled_out) > 100
    for entry_point, name in ruled_out:
        assert refused("5.23.0", passthrough={entry_point: {name: None}})


def test_what_neither_a_field_nor_the_ledger_knows_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = snapshots.load("pytorch", "5.23.0")
    monkeypatch.setattr(ledger, "load", lambda _: ledger.Ledger(()))
    passthrough = {TOKENIZE: {"stride": 3}}
    calls = check_against(configured(passthrough=passthrough), surface)
    assert calls[TOKENIZE] == {"stride": 3}


@pytest.mark.parametrize(
    ("below", "line", "field"),
    [
        ("pytorch:\n  use_mtp: true\n", 4, "pytorch.use_mtp"),
        ("pytorch:\n  continuous_batching:\n    page_size: 16\n", 4, "pytorch.continuous_batching"),
        (f"pytorch: {{}}\npassthrough:\n  {TOKENIZER}:\n    zzz: 1\n", 6, f"passthrough.{TOKENIZER}.zzz"),
        (f"pytorch: {{}}\npassthrough: {{{TOKENIZER}: {{zzz: 1}}}}\n", 4, f"passthrough.{TOKENIZER}.zzz"),
    ],
)
def test_what_a_version_lacks_is_shown_at_its_line(tmp_path: Path, below: str, line: int, field: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"model: m\nprompts: [one]\n{below}")
    with pytest.raises(RequestError) as caught:
        check_against(load_config(path), snapshots.load("pytorch", "5.0.0"))
    assert caught.value.cause.startswith(f"{path}:{line}: {field}: ")


@pytest.mark.usefixtures("newest")
def test_a_folder_is_shown_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("prompts: [one]\nmodel: m\npytorch:\n  assistant_model: ./nope\n")
    with pytest.raises(RequestError) as caught:
        check_before_loading(load_config(path))
    assert caught.value.cause == f"{path}:4: pytorch.assistant_model: {tmp_path}/nope: no such folder"


@pytest.mark.parametrize(
    ("version", "options", "field", "says", "remedy"),
    [
        (
            "0.11.2",
            {"rejection_sample_method": "standard"},
            "rejection_sample_method",
            "vllm 0.11.2 has no parameter rejection_sample_method of vllm.config.SpeculativeConfig",
            "versions that have it: 0.19.1, 0.26.0, 0.32.0, 0.33.0",
        ),
        (
            "0.19.1",
            {"rejection_sample_method": "synthetic", "synthetic_acceptance_length": 1.5},
            "synthetic_acceptance_length",
            "vllm 0.19.1 has no parameter synthetic_acceptance_length",
            "versions that have it: ",
        ),
        (
            "0.32.0",
            {"rejection_sample_method": "fly", "fly_window_size": 2},
            "rejection_sample_method",
            "'fly' is not one of standard, ",
            "take one of them",
        ),
        ("0.33.0", {"method": "ngrams"}, "method", "'ngrams' is not one of ngram, ", "did you mean ngram?"),
    ],
)
def test_a_section_that_is_sent_as_a_mapping_is_held_against_its_entry_point(
    version: str, options: dict[str, Any], field: str, says: str, remedy: str
) -> None:
    speculation = {"method": "ngram", "num_speculative_tokens": 4}
    config = ExperimentConfig.model_validate(
        {"model": "m", "prompts": ["one"], "vllm": {"speculative_config": {**speculation, **options}}}
    )
    surface = snapshots.load("vllm", version)
    with pytest.raises(RequestError) as caught:
        check_against(config, surface)
    assert caught.value.cause.startswith(f"vllm.speculative_config.{field}: {says}")
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("version", snapshots.versions("vllm"))
def test_what_every_version_has_may_stand_in_such_a_mapping(version: str) -> None:
    options = {"method": "ngram", "num_speculative_tokens": 4}
    config = ExperimentConfig.model_validate(
        {"model": "m", "prompts": ["one"], "vllm": {"speculative_config": options}}
    )
    calls = check_against(config, snapshots.load("vllm", version))
    assert calls["vllm.LLM"]["speculative_config"] == options
