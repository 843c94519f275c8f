"""A name at the wrong place: what fields set and old names lead to where it belongs, then spelling."""

import pytest

from llenergymeasure.config.bindings import walk
from llenergymeasure.config.counterparts import PAIRS
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.nearest import models_at, places, suggestion
from llenergymeasure.config.renames import renames


@pytest.mark.parametrize(
    ("location", "says"),
    [
        # What a parameter is called in the backend's API, now or once.
        (("pytorch", "torch_dtype"), "did you mean pytorch.dtype?"),
        (("torch_dtype",), "did you mean pytorch.dtype?"),
        (("pytorch", "max_new_tokens"), "did you mean output.max_tokens?"),
        (("output", "max_new_tokens"), "did you mean output.max_tokens?"),
        (("pytorch", "quantization_config"), "did you mean pytorch.quantization?"),
        (("pytorch", "load_in_4bit"), "did you mean pytorch.quantization with method: bitsandbytes_4bit?"),
        (
            ("pytorch", "quantization", "bitsandbytes_4bit", "load_in_4bit"),
            "method: bitsandbytes_4bit says so already: remove load_in_4bit",
        ),
        (
            ("pytorch", "quantization", "bitsandbytes_4bit", "quant_typ"),
            "did you mean pytorch.quantization.bnb_4bit_quant_type?",
        ),
        (("pytorch", "load_in_8bit"), "did you mean pytorch.quantization with method: bitsandbytes_8bit?"),
        # The right name in the wrong section: around it first, then inside it, then elsewhere.
        (("pytorch", "revision"), "did you mean revision, at the top level?"),
        (("pytorch", "seed"), "did you mean seed, at the top level?"),
        (("pytorch", "model"), "did you mean model, at the top level?"),
        (("vllm", "model"), "did you mean model, at the top level?"),  # although a longer name begins so
        (("vllm", "max_tokens"), "did you mean output.max_tokens?"),  # not input's: it sets vLLM's max_tokens
        (("dtype",), "did you mean pytorch.dtype or vllm.dtype?"),
        (("temperature",), "did you mean pytorch.temperature or vllm.temperature?"),
        (("prompts", "count"), "did you mean prompts.synthetic.count?"),
        (("pytorch", "repeats"), "did you mean measurement.repeats?"),
        (("max_tokens",), "did you mean input.max_tokens or output.max_tokens?"),
        (("pytorch", "quantization", "hqq", "num_beams"), "did you mean pytorch.num_beams?"),
        (
            ("pytorch", "bnb_4bit_quant_type"),
            "did you mean pytorch.quantization.bnb_4bit_quant_type with method: bitsandbytes_4bit?",
        ),
        # One kind of section has the name, the one that is chosen has a similar one.
        (
            ("pytorch", "quantization", "hqq", "bits"),
            "pytorch.quantization.nbits?; bits goes with method: ",
        ),
        # Another backend's field: its counterpart, by the same name or by what it does.
        (("vllm", "torch_dtype"), "did you mean vllm.dtype?"),
        (("vllm", "batch_size"), "did you mean vllm.max_num_seqs?"),
        (("vllm", "max_new_tokens"), "did you mean output.max_tokens?"),
        (("vllm", "num_beams"), "did you mean vllm.beam_search.beam_width?"),
        (("vllm", "num_return_sequences"), "did you mean vllm.n?"),
        (("vllm", "load_in_4bit"), "did you mean vllm.quantization?"),
        (("vllm", "use_cache"), "only pytorch has such a field (pytorch.use_cache), vllm has none"),
        (("pytorch", "max_num_seqs"), "did you mean pytorch.batch_size?"),
        (("pytorch", "tensor_parallel_size"), "did you mean pytorch.tp_size?"),
        (("pytorch", "n"), "did you mean pytorch.num_return_sequences?"),
        (("pytorch", "presence_penalty"), "only vllm has such a field (vllm.presence_penalty), pytorch has none"),
        # What vLLM called it once.
        (("vllm", "cuda_graph_sizes"), "did you mean vllm.cudagraph_capture_sizes?"),
        (("vllm", "guided_decoding"), "did you mean vllm.structured_outputs?"),
        # Spelling.
        (("pytorch", "num_beam"), "did you mean pytorch.num_beams?"),
        (("vllm", "max_num_seq"), "did you mean vllm.max_num_seqs?"),
        (("vllm", "tp"), "fields of vllm"),  # two letters are like nothing
        (("temprature",), "did you mean pytorch.temperature?"),
        (("transformers",), "did you mean pytorch?"),
        # Nothing is near.
        (("xyzzy",), "known here: input, measurement, model"),
        (("pytorch", "xyzzy"), "fields of pytorch; parameters that are no field go under passthrough"),
    ],
)
def test_a_name_is_led_to_its_place(location: tuple[str, ...], says: str) -> None:
    assert says in suggestion(location)


def test_every_field_is_found_from_every_other_section() -> None:
    for field in walk(ExperimentConfig, "pytorch"):
        if len(field.keys) > 1:
            found = suggestion(("input", field.name))
            assert field.name in found
            assert found.startswith("did you mean ")


@pytest.mark.parametrize("row", renames("pytorch"), ids=lambda row: f"{row.entry_point}-{row.old}")
def test_an_old_name_leads_wherever_the_new_one_is_set(row: object) -> None:
    setting = {
        place.location
        for place in places()
        if getattr(row, "new", "") in place.names and getattr(row, "old", "") in place.names
    }
    bound = {
        field.keys
        for field in walk(ExperimentConfig, "pytorch")
        for target in field.targets("pytorch")
        if (target.entry_point, target.name) == (getattr(row, "entry_point", ""), getattr(row, "new", ""))
    }
    assert bound <= setting


def names(location: tuple[str, ...]) -> set[str]:
    return {name for model in models_at(location) for name in model.model_fields}


def test_names_at_a_union_are_those_of_every_variant_and_at_a_kind_its_own() -> None:
    assert {"method", "nbits", "bits", "bnb_4bit_quant_type"} <= names(("pytorch", "quantization"))
    assert "num_beams" not in names(("pytorch", "quantization"))
    assert "nbits" in names(("pytorch", "quantization", "hqq"))
    assert "bits" not in names(("pytorch", "quantization", "hqq"))


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_counterparts_are_fields_of_their_backends(pair: tuple[str, str]) -> None:
    known = {place.location for place in places()}
    assert {("pytorch", *pair[0].split(".")), ("vllm", *pair[1].split("."))} <= known


def test_the_beginning_of_a_name_beside_it_goes_before_the_same_name_elsewhere() -> None:
    assert suggestion(("measurement", "warmup")) == "did you mean measurement.warmup_batches?"
