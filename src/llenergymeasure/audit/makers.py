"""What the real API makes of a configuration's calls, per entry point: something that a value can be read off."""

import copy
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from llenergymeasure.audit import specimens
from llenergymeasure.audit.signs import MISSING, QUANTIZED_CACHE
from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Build, Calls, Loaded
from llenergymeasure.config.pytorch.entry_points import (
    AUTOCAST,
    FROM_PRETRAINED,
    GENERATE,
    GENERATE_BATCH,
    GENERATION_CONFIG,
    MATMUL_PRECISION,
    PAD,
    SET_SEED,
    TOKENIZE,
    TOKENIZER,
    TORCH_COMPILE,
)
from llenergymeasure.core.api import RealApi, materialise

PROMPT = [list(range(5, 37))]  # as long as a quantized cache's groups need it
FEW_PAGES = {"num_blocks": 16, "max_batch_tokens": 64}  # else the cache takes most of the memory


class Makers:
    """Calls the real API, with the model `model` of the folder it is in."""

    def __init__(self, api: RealApi) -> None:
        self.api = api
        self._makers: Mapping[str, Callable[[str, Calls], Any]] = {
            FROM_PRETRAINED: lambda _, calls: self._call(FROM_PRETRAINED, calls),
            TOKENIZER: lambda _, calls: self._call(TOKENIZER, calls),
            TOKENIZE: self._ids,
            PAD: self._padded,
            GENERATION_CONFIG: self._generation_config,
            GENERATE: self._generated,
            GENERATE_BATCH: self._batching_model,
            QUANTIZED_CACHE: self._cache_layer,
            TORCH_COMPILE: self._compiled,
            AUTOCAST: self._product,
            SET_SEED: self._seeded,
            MATMUL_PRECISION: self._precision,
        }

    def make(self, target: Target, calls: Calls) -> Any:
        """What the calls make at a parameter's entry point."""
        make = self._makers.get(target.entry_point)
        return make(target.name, calls) if make else self._object(target.entry_point, calls)

    def _call(self, entry_point: str, calls: Calls) -> Any:
        return self.api.resolve(entry_point)(**materialise(calls[entry_point], self.api))

    def _object(self, entry_point: str, calls: Calls) -> Any:
        """A configuration object, as lowering describes it at any depth of what is sent."""
        build = find_build(entry_point, calls)
        return MISSING if build is None else materialise(build, self.api)

    def _model(self) -> Any:
        return self.api.resolve(FROM_PRETRAINED)(pretrained_model_name_or_path="model")

    def _tokenizer(self) -> Any:
        return self.api.resolve(TOKENIZER)(pretrained_model_name_or_path="model")

    def _ids(self, name: str, calls: Calls) -> Any:
        text = specimens.TEXT + (specimens.START if name == "split_special_tokens" else "")
        return self._tokenizer()(text, **calls[TOKENIZE])["input_ids"]

    def _padded(self, name: str, calls: Calls) -> Any:
        del name
        return self._tokenizer().pad({"input_ids": [[3], [3, 4]]}, return_tensors="pt", **calls[PAD])["input_ids"]

    def _generation_config(self, name: str, calls: Calls) -> Any:
        del name
        made = self._call(GENERATION_CONFIG, calls)
        made.validate()
        return made

    def _generated(self, name: str, calls: Calls) -> Any:
        """A real, short call: whether the assistant computed anything."""
        del name
        model, arguments, drafts = self._model(), dict(calls[GENERATE]), []
        if isinstance(assistant := arguments.get("assistant_model"), Loaded):
            loaded = self.api.resolve(FROM_PRETRAINED)(pretrained_model_name_or_path=assistant.source)
            loaded.register_forward_hook(lambda *_: drafts.append(1))
            arguments["assistant_model"] = loaded
            model.generate(self._prompt(), max_new_tokens=4, **arguments)
        return SimpleNamespace(drafts=bool(drafts))

    def _batching_model(self, name: str, calls: Calls) -> Any:
        """A model that has run a batch; it keeps the manager, to be asked."""
        model, arguments = self._model(), materialise(calls[GENERATE_BATCH], self.api)
        if name != "persistent_manager":
            arguments = {"persistent_manager": True, **arguments}
        config = copy.deepcopy(model.generation_config)
        config.update(max_new_tokens=2)
        model.generate_batch(inputs=PROMPT, generation_config=config, **arguments)
        return model

    def _cache_layer(self, name: str, calls: Calls) -> Any:
        """A layer of the cache that generate made with the options."""
        del name
        sent = {**materialise(calls[GENERATION_CONFIG], self.api), "max_new_tokens": 2}
        made = self._model().generate(self._prompt(), **sent, return_dict_in_generate=True)
        return made.past_key_values.layers[0]

    def _compiled(self, name: str, calls: Calls) -> Any:
        del name
        module = self.api.resolve("torch.nn.Identity")()
        if TORCH_COMPILE not in calls:
            return module
        return self.api.resolve(TORCH_COMPILE)(module, **materialise(calls[TORCH_COMPILE], self.api))

    def _product(self, name: str, calls: Calls) -> Any:
        """A product of float32 matrices under autocast."""
        del name
        matrix = self.api.resolve("torch.ones")(2, 2)
        if AUTOCAST not in calls:
            return matrix @ matrix
        with self.api.resolve(AUTOCAST)(device_type="cpu", **materialise(calls[AUTOCAST], self.api)):
            return matrix @ matrix

    def _seeded(self, name: str, calls: Calls) -> Any:
        del name
        self._call(SET_SEED, calls)
        return self.api.resolve("torch.random.default_generator")

    def _precision(self, name: str, calls: Calls) -> Any:
        del name
        read = self.api.resolve("torch.get_float32_matmul_precision")
        before = read()
        if MATMUL_PRECISION in calls:
            self._call(MATMUL_PRECISION, calls)
        after = read()
        self.api.resolve(MATMUL_PRECISION)(before)
        return after

    def _prompt(self) -> Any:
        return self.api.resolve("torch.tensor")(PROMPT)


def find_build(entry_point: str, calls: Calls) -> Build | None:
    """The object of a class among everything that would be sent, at any depth."""

    def search(value: Any) -> Build | None:
        if isinstance(value, Build):
            if value.entry_point == entry_point:
                return value
            value = value.arguments
        if isinstance(value, Mapping):
            return next((found for item in value.values() if (found := search(item)) is not None), None)
        return None

    return search(calls.arguments)
