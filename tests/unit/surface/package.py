"""A small package in the shapes that transformers is written in, so that each way of taking a name stands alone."""

import zipfile
from pathlib import Path
from textwrap import dedent

from llenergymeasure.surface import static
from llenergymeasure.surface.model import Parameter
from llenergymeasure.surface.sources import Module

MEMBERS = {
    "__init__.py": '__version__ = "9.1.0"\n__all__ = ["RoundConfig"]\n',
    "modeling_utils.py": """
        class PreTrainedModel:
            @classmethod
            def from_pretrained(cls, path: str, *args, revision: str = "main", token=None, **kwargs):
                dtype = kwargs.pop("dtype", None)
                subfolder = kwargs.pop("subfolder", "")
                for name in ["mirror", "_fast"]:
                    _ = kwargs.pop(name, None)
                if dtype is None:
                    dtype = "auto"
                return cls(path, dtype, subfolder, **kwargs)
    """,
    "models/auto/auto_factory.py": """
        class _BaseAutoModelClass:
            @classmethod
            def from_pretrained(cls, path, *args, **kwargs):
                names = ["revision", "token"]
                hub = {name: kwargs.pop(name) for name in names if name in kwargs}
                code_revision = kwargs.pop("code_revision", None)
                log(kwargs.get("subfolder", "none"))
                return cls.load(path, code_revision, **hub, **kwargs)
    """,
    "generation/configuration_utils.py": """
        class GenerationConfig:
            def __init__(self, **kwargs):
                self.top_k = kwargs.pop("top_k", None)
                self.num_beams = kwargs.pop("num_beams", None)
                for key, value in kwargs.items():
                    setattr(self, key, value)

            @staticmethod
            def _get_default_generation_params():
                return {"top_k": 50}
    """,
    "generation/utils.py": """
        class GenerationMixin:
            def generate(self, inputs=None, **kwargs):
                trust_remote_code = kwargs.pop("trust_remote_code", None)
                if kwargs.get("max_length") is None:
                    return self.short(trust_remote_code)
                return self._extract_generation_mode_kwargs(kwargs)

            def _extract_generation_mode_kwargs(self, kwargs):
                return {"tokenizer": kwargs.pop("tokenizer", None)}
    """,
    "tokenization_utils_base.py": "class PreTrainedTokenizerBase:\n    def pad(self, ids, padding=True): ...\n",
    "utils/quantization_config.py": """
        class QuantizationConfigMixin: ...

        class RoundConfig(QuantizationConfigMixin):
            def __init__(self, bits: int, group_size: int = 128, **kwargs):
                self.bits = bits

        class FinerConfig(RoundConfig):
            def __init__(self, bits: int = 4, **kwargs):
                super().__init__(bits=bits, **kwargs)
    """,
}


def source(folder: Path, **changes: str | None) -> Path:
    """The package `transformers` under `folder`; a member changed to None is left out."""
    for member, text in (MEMBERS | changes).items():
        if text is not None:
            path = folder / "transformers" / member
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text), encoding="utf-8")
    return folder / "transformers"


def wheel(folder: Path, name: str = "transformers-9.1.0-py3-none-any.whl", **changes: str | None) -> Path:
    package = source(folder / "unpacked", **changes)
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for file in package.rglob("*.py"):
            archive.write(file, file.relative_to(package.parent))
    return path


def function(text: str, name: str = "f", take: str = "all") -> dict[str, Parameter]:
    """The parameters of a function, or of `Class.method`, in a piece of source."""
    module = Module("test", dedent(text))
    head, _, method = name.partition(".")
    if method:
        found = module.method(module.classes[head], method)
        assert found is not None
        return static.function(module, found[1], found[0], (), take).parameters
    return static.function(module, module.functions[head], None, (), take).parameters


def constructor(text: str, name: str = "C") -> static.Read:
    module = Module("test", dedent(text))
    return static.constructor(module, module.classes[name])
