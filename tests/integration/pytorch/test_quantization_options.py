"""Options of the quantization methods that need special hardware, packages or checkpoints, one by one.

Where the method loads, the loaded model's configuration reads the option back; elsewhere the reason is the API's.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.audit.coverage import absence
from llenergymeasure.audit.samples import sample_config, value_at
from llenergymeasure.config.bindings import BoundField, walk
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.api import RealApi
from llenergymeasure.core.experiment import plan
from llenergymeasure.core.inference_backends.base import NotAsRequestedError
from llenergymeasure.core.inference_backends.pytorch_readback import same
from llenergymeasure.core.replicas import LocalReplica
from llenergymeasure.errors import LlemError

# These run on any CPU: test_quantization.py shows what each of their options does.
SHOWN_ELSEWHERE = (
    "[bitsandbytes_4bit]",
    "[bitsandbytes_8bit]",
    "[quanto]",
    "[hqq]",
    "[int8_weight_only]",
    "[int8_dynamic_activation_int8_weight]",
    "[int8_dynamic_activation_intx_weight]",
    "[intx_weight_only]",
    "[float8_weight_only]",
)
NEEDS_MORE = ("intx_packing_format",)
KEY = "pytorch.quantization["


def _fields() -> list[BoundField]:
    found = [field for field in walk(ExperimentConfig, "pytorch") if field.path.startswith(KEY)]
    return [field for field in found if field.name in NEEDS_MORE or not _is_shown(field)]


def _is_shown(field: BoundField) -> bool:
    return field.name == "quant_type" or any(part in field.path for part in SHOWN_ELSEWHERE)


def _marked(field: BoundField) -> Any:
    return pytest.param(field, id=field.path, marks=pytest.mark.field(field.path, "effective"))


@pytest.mark.parametrize("field", [_marked(field) for field in _fields()])
def test_loaded_model_reads_the_option_back(field: BoundField, tiny_llama: Path) -> None:
    surface = RealApi().surface("pytorch")
    if why := absence(field, surface):
        pytest.skip(f"needs a transformers version that has it: {why}")
    data, _ = sample_config(field, surface)
    config = ExperimentConfig.model_validate({**data, "model": str(tiny_llama)})
    replica = LocalReplica(config, plan(config, RealApi())[0])
    try:
        (opened,) = replica.open()
    except NotAsRequestedError:
        # A checkpoint that is not quantized has nothing to turn back, and the tool says so.
        assert field.name == "dequantize"
        pytest.skip("needs a checkpoint that is quantized")
    except LlemError as error:
        pytest.skip(
            f"needs a machine, package or checkpoint for this method: {error.cause.splitlines()[0]}".replace(
                str(tiny_llama), "the model"
            )
        )
    finally:
        replica.close()
    loaded = opened.effective.values["model"]["quantization"]
    if not opened.effective.values["model"]["quantized_modules"]:
        pytest.skip("needs hardware on which the method quantizes: here the weights stay as they were")
    assert _holds(loaded, field.name, json.loads(json.dumps(value_at(data, field))))


def _holds(document: Any, name: str, value: Any) -> bool:
    """Whether a configuration says so at any depth; objects in it are their text."""
    if isinstance(document, dict):
        here = document.get(name)
        return (
            same(value, here)
            or (name in document and _says(value, str(here)))
            or any(_holds(item, name, value) for item in document.values())
        )
    return isinstance(document, str) and _says(f"{name}={value}", document)


def _says(value: Any, text: str) -> bool:
    """Whether a text has the value as a word: torch.int8 says int8, 128 does not say 2."""
    return re.search(rf"(?<!\w){re.escape(str(value).casefold())}(?!\w)", text.casefold()) is not None
