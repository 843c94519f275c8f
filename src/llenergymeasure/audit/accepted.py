"""Rung `accepted`: the real API takes a value, and what it makes reads the value back or shows what it did.

Each value is the field's own sample, untouched; without it the same reading must give something else.
"""

import atexit
import contextlib
import gc
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from llenergymeasure.audit import specimens
from llenergymeasure.audit.makers import FEW_PAGES, Makers, find_build
from llenergymeasure.audit.samples import sample_config
from llenergymeasure.audit.signs import MISSING, QUANTIZED_CACHE, Sign, same, sign_of
from llenergymeasure.config.bindings import BoundField, Target
from llenergymeasure.config.lowering import Build, Calls, plain
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.pytorch.entry_points import (
    FROM_PRETRAINED,
    GENERATE_BATCH,
    GENERATION_CONFIG,
    TOKENIZER,
)
from llenergymeasure.core.api import RealApi, materialise
from llenergymeasure.core.failures import first_line
from llenergymeasure.core.session import version_calls
from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.surface.model import Surface

Data = dict[str, Any]


def acceptor(backend: str) -> Callable[[BoundField, Surface], str]:
    """A check of one field against the installed backend: why it is not accepted, or "" for a value it confirms.

    Raises:
        EnvironmentLacksError: the backend is not installed.
    """
    if backend == "vllm":
        from llenergymeasure.audit.accepted_vllm import vllm_acceptor

        return vllm_acceptor()
    if backend != "pytorch":
        raise EnvironmentLacksError(f"{backend}: its API cannot be probed yet", "leave out --rung accepted")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, on import: a probe downloads nothing
    api = RealApi()
    api.resolve(FROM_PRETRAINED)  # says what is missing, before anything is made
    api.resolve("transformers.utils.logging.disable_progress_bar")()
    folder = tempfile.TemporaryDirectory(prefix="llem-accepted-")
    atexit.register(folder.cleanup)
    probe = _Probe(api, specimens.make_specimens(Path(folder.name)))
    gc.collect()
    gc.freeze()  # collecting what a probe leaves need not look at all of torch each time

    def accept(field: BoundField, surface: Surface) -> str:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):  # stdout is the report's
            warnings.simplefilter("ignore")  # the API's advice on a sample; its errors are what counts
            try:
                return probe.check(field, surface)
            except Exception as error:  # noqa: BLE001 - whatever the API raises is the reason, in its own words
                return f"{type(error).__name__}: {first_line(error)}"

    return accept


class _Probe:
    """Has the real API make things from a configuration's calls, among the specimens."""

    def __init__(self, api: RealApi, root: Path) -> None:
        self.api = api
        self.root = root
        self.makers = Makers(api)

    def check(self, field: BoundField, surface: Surface) -> str:
        targets = [target for target in field.targets("pytorch") if surface.find(target.entry_point, target.name)]
        targets += [Target(section.enables, "") for section in field.nested if section.enables and not targets]
        if not targets:
            return "the tool's own: no object of the API takes it"
        data, without = sample_config(field, surface)
        for target in targets:
            if why := self._check(target, data, without, surface):
                return why
        return ""

    def _check(self, target: Target, data: Data, without: Data, surface: Surface) -> str:
        sign = sign_of(target)
        if sign.needs and importlib.util.find_spec(sign.needs) is None:
            return f"needs {sign.needs}, which is not installed: without it the value is taken and read nowhere"
        with self._standing(sign) as beside:
            if target.entry_point == GENERATE_BATCH and surface.find(GENERATE_BATCH, "continuous_batching_config"):
                beside["pytorch"] = {"continuous_batching": FEW_PAGES}
            calls = self._calls(data, beside)
            actual = self._read(target, sign, calls)
            if actual is MISSING:
                return f"taken, and shown by nothing that {target.entry_point} makes"
            sent = _sent(target, calls)
            if not self._holds(sent, sign, actual):
                return f"reads back {actual!r}, not {plain(sent)!r}"
            with contextlib.suppress(Exception):  # refused without the value, which is a difference, too
                if self._holds(sent, sign, self._read(target, sign, self._calls(without, beside))):
                    return f"reads back {actual!r} without the field, too"
        return ""

    @contextlib.contextmanager
    def _standing(self, sign: Sign) -> Iterator[Data]:
        """Be in the sign's stand; gives what a configuration needs there."""
        place = self.root / sign.stand
        cache = place / specimens.CACHE
        cached = {name: {"cache_dir": str(cache)} for name in (FROM_PRETRAINED, TOKENIZER)} if cache.is_dir() else {}
        modules = str(self.root / f"modules-{sign.stand}")
        with (
            contextlib.chdir(place),
            patch("transformers.dynamic_module_utils.HF_MODULES_CACHE", modules),
            patch("huggingface_hub.constants.HF_HUB_CACHE", str(cache)),
            patch("transformers.utils.hub.TRANSFORMERS_CACHE", str(cache), create=True),  # version 4
            patch.object(sys, "path", list(sys.path)),
            patch.object(sys, "stdin", io.StringIO()),  # asked whether code may run, nobody answers
        ):
            yield {"passthrough": cached}

    def _calls(self, data: Data, beside: Data) -> Calls:
        return version_calls(ExperimentConfig.model_validate(_merged(beside, data)), self.api)

    def _read(self, target: Target, sign: Sign, calls: Calls) -> Any:
        made = self.makers.make(target, calls)
        try:
            return sign.read(made)
        finally:
            shutil.rmtree("offload", ignore_errors=True)  # what the sample of offload_folder names

    def _holds(self, sent: Any, sign: Sign, actual: Any) -> bool:
        """Whether what was read is the value; an object, which the API may complete, must have all that was sent."""
        if isinstance(sent, Build):
            kind = self.api.resolve(sent.entry_point)
            parts = actual if type(actual) in (list, tuple) else [actual]
            signs = {name: sign_of(Target(sent.entry_point, name)) for name in sent.arguments}
            return bool(parts) and all(
                isinstance(part, kind)
                and all(
                    self._holds(value, signs[name], signs[name].read(part)) for name, value in sent.arguments.items()
                )
                for part in parts
            )
        return same(sign.expect(materialise(sent, self.api)), actual)


def _sent(target: Target, calls: Calls) -> Any:
    """The value at a parameter, as lowering gives it; a section that is a call by itself has no name."""
    if target.name == "":
        return True
    if target.name in calls[target.entry_point]:
        return calls[target.entry_point][target.name]
    if target.entry_point == QUANTIZED_CACHE:  # generate takes the options as a mapping
        return calls[GENERATION_CONFIG]["cache_config"][target.name]
    build = find_build(target.entry_point, calls)
    return build.arguments[target.name] if build else MISSING


def _merged(base: Data, over: Data) -> Data:
    """Two configurations in one, the second's values before the first's."""
    both = {key for key in base.keys() & over.keys() if isinstance(base[key], dict) and isinstance(over[key], dict)}
    return {**base, **over, **{key: _merged(base[key], over[key]) for key in both}}
