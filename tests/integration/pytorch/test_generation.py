"""Every field of the generation config reaches the one that decoding gets; derived from the declarations."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.audit.samples import sample_config, value_at
from llenergymeasure.audit.tiny import make_tiny_llama
from llenergymeasure.config.bindings import BoundField, walk
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import FROM_PRETRAINED, GENERATION_CONFIG, TOKENIZER
from llenergymeasure.core.api import RealApi
from llenergymeasure.core.batching import Prompt
from llenergymeasure.core.experiment import plan
from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend
from llenergymeasure.core.inference_backends.pytorch_readback import same
from llenergymeasure.core.session import version_calls

from .fixtures_running import TEXT, require_package, require_parameter

NESTED = {
    "transformers.CompileConfig", "transformers.QuantizedCache",
    "transformers.WatermarkingConfig", "transformers.SynthIDTextWatermarkingConfig",
}  # fmt: skip
# Objects that only an extraordinary model or draft has; a random Llama cannot stand for them.
NEEDS_A_MODEL = {
    "pytorch.speculation_type": "a draft model trained for the kind of speculation",
    "pytorch.use_mtp": "a model with multi-token prediction heads",
}
QUANTIZED_CACHE = {"quanto": "optimum.quanto", "hqq": "hqq"}


def generation_fields() -> Iterator[Any]:
    for field in walk(ExperimentConfig, "pytorch"):
        entry_points = {target.entry_point for target in field.targets("pytorch")}
        inside = field.keys[1:2] != ("continuous_batching",) and bool(entry_points & NESTED)
        if GENERATION_CONFIG in entry_points or inside:
            yield pytest.param(field, id=field.path, marks=pytest.mark.field(field.path, "effective"))


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("assistant"), seed=1, num_hidden_layers=1)


@pytest.fixture(scope="module")
def foreign_assistant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose vocabulary is another than the model's, for the options that translate between the two."""
    return make_tiny_llama(tmp_path_factory.mktemp("foreign"), seed=1, num_hidden_layers=1, vocab_size=400)


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """Loaded models and values read from them, which many of the fields share."""
    return {}


# transformers 5 itself hands a deprecated combination to the draft model's generate.
@pytest.mark.filterwarnings("ignore:Passing `generation_config` together with:FutureWarning")
@pytest.mark.parametrize("field", list(generation_fields()))
def test_decoding_gets_the_value(
    tiny_llama: Path, assistant: Path, foreign_assistant: Path, known: dict[str, Any], field: BoundField
) -> None:
    if field.path in NEEDS_A_MODEL:
        pytest.skip(f"needs {NEEDS_A_MODEL[field.path]}")
    require_parameter(*((target.entry_point, target.name) for target in field.targets("pytorch")))
    data, without = sample_config(field, RealApi().surface("pytorch"))
    for section in (data, without):
        section["model"] = str(tiny_llama)
        if section["pytorch"].get("assistant_model"):
            drafting = foreign_assistant if field.name.endswith("lookbehind") else assistant
            section["pytorch"]["assistant_model"] = str(drafting)
    cache = data["pytorch"].get("cache_config")
    if cache is not None:
        library = cache.get("backend", "quanto")
        require_package(QUANTIZED_CACHE[library].partition(".")[0], f"the quantized cache's library {library}")
    sent = value_at(data, field)
    assert confirms(sent, effective(data, field, known))
    untouched = field.path.rpartition(".")[0] + field.name + json.dumps(without, sort_keys=True)
    if untouched not in known:
        known[untouched] = effective(without, field, known)
    assert not confirms(sent, known[untouched])


def confirms(sent: Any, actual: Any) -> bool:
    """Whether what runs is what was sent; an object is read back with its defaults beside what was set."""
    if isinstance(sent, dict):
        return isinstance(actual, dict) and all(same(sent[name], actual.get(name)) for name in sent if name != "kind")
    return same(json.loads(json.dumps(sent)), actual)


def effective(data: Mapping[str, Any], field: BoundField, known: dict[str, Any]) -> Any:
    """The field's value in the generation config of a real decoding call, read back through the tool."""
    api = RealApi()
    config = ExperimentConfig.model_validate(data)
    calls, device = version_calls(config, api), plan(config, api)[0].device
    loading = str((calls[FROM_PRETRAINED], calls[TOKENIZER]))
    if loading not in known:
        known[loading] = PyTorchBackend(calls, api, device)
        known[loading].load()
    backend = PyTorchBackend(calls, api, device)
    backend.model, backend.tokenizer = known[loading].model, known[loading].tokenizer
    backend.generation = backend._generation_arguments()
    ids = tuple(backend.encode([TEXT], chat=False)[0])
    found = backend.effective(backend.prepare([Prompt(0, ids)])[0])
    assert not found.differences
    place: Any = found.values["generation"]
    sections = field.keys[1:-1] if field.keys[0] == "pytorch" else ()
    for name in (*sections, field.targets("pytorch")[0].name):
        place = (place or {}).get(name)
    return place
