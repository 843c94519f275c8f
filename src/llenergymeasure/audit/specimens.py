"""Models made on the spot in which each sample of a loading option names something that nothing else does.

A sample's names are relative. Each stand is a folder to be in, where the model `model` has what one option asks for.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llenergymeasure.audit.tiny import make_tiny_llama, write_adapter, write_gguf
from llenergymeasure.core.api import RealApi

TEXT = "The energy of a token"
START = "<s>"
# What a loaded weight says of the file that it came from, by the name under which a sample asks for it.
EDITIONS: Mapping[Any, int] = {
    "model": 1, "elsewhere": 2, "inner": 3, "fp16": 4, "side": 5, "model.gguf": 6, True: 1, False: 7,
}  # fmt: skip
PLAIN, HUB, ADAPTED, OWN_CODE, CODE_ELSEWHERE, GGUF, TWO_TOKENIZERS = (
    "plain", "hub", "adapted", "own", "code", "gguf", "two",
)  # fmt: skip
CACHE = "cache"
_WEIGHTS = "model.safetensors"
_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


class OwnConfig(LlamaConfig):
    model_type = "own-llama"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
    edition = "{edition}"


class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


def make_specimens(root: Path) -> Path:
    """All stands; returns the folder that holds them."""
    model = _with_start_token(make_tiny_llama(root / PLAIN / "model"))
    _mark(model / _WEIGHTS, EDITIONS["model"])
    whole = root / "whole"  # `model` alone, before it gets what only its own stand needs
    shutil.copytree(model, whole)
    make_tiny_llama(root / PLAIN / "assistant", seed=1, num_hidden_layers=1)
    _other(whole, root / PLAIN / "elsewhere", EDITIONS["elsewhere"])
    _other(whole, model / "inner", EDITIONS["inner"])
    _other_files(whole, model)
    (root / GGUF / "model").mkdir(parents=True)
    packed = _other(whole, root / "packed", EDITIONS["model.gguf"])
    write_gguf(packed, root / GGUF / "model" / "model.gguf")
    side = _other(whole, root / "side", EDITIONS["side"])
    hub_repository(root / HUB / CACHE, "model", {"main": whole, "side": side})
    hub_repository(root / ADAPTED / CACHE, "model", {"main": whole, "side": _adapted(whole, root / "adapted-side")})
    _own_code(whole, root / OWN_CODE / "model")
    revisions = {name: _own_code(whole, root / f"code-{name}", edition=name) for name in ("main", "side")}
    code = hub_repository(root / CODE_ELSEWHERE / CACHE, "with/code", revisions)
    _own_code(whole, root / CODE_ELSEWHERE / "model", prefix=f"{code}--")
    _two_tokenizers(whole, root / TWO_TOKENIZERS / "model")
    return root


def edition(model: Any) -> int:
    """Which file a loaded model's weights came from."""
    return round(float(model.lm_head.weight[0, 0]))


def is_other(tokenizer: Any) -> bool:
    """Whether a tokenizer is the one that knows hardly more than single bytes, which is where samples point to."""
    return len(tokenizer.tokenize(TEXT)) > 0.8 * len(TEXT)


def _mark(path: Path, number: int, to: Path | None = None) -> None:
    import torch

    files = RealApi().resolve("safetensors.torch")
    weights = files.load_file(path)
    weights["lm_head.weight"][0, 0] = number
    to = to or path
    if to.suffix == ".bin":
        torch.save(weights, to)
    else:
        files.save_file(weights, to, metadata={"format": "pt"})


def _other(source: Path, folder: Path, number: int) -> Path:
    """The same model with another mark, and a tokenizer that knows hardly more than single bytes."""
    shutil.copytree(source, folder)
    _mark(folder / _WEIGHTS, number)
    edit_json(folder / "tokenizer.json", model=lambda model: {**model, "merges": model["merges"][:2]})
    return folder


def _other_files(whole: Path, model: Path) -> None:
    """Beside the weights: a variant of them, and pickled ones, each with a mark of its own."""
    _mark(whole / _WEIGHTS, EDITIONS["fp16"], to=model / "model.fp16.safetensors")
    _mark(whole / _WEIGHTS, EDITIONS[False], to=model / "pytorch_model.bin")


def _with_start_token(folder: Path) -> Path:
    """A tokenizer that starts every text with a special token."""
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    processor = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, sequence],
        "pair": [sequence, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    edit_json(folder / "tokenizer.json", post_processor=lambda _: processor)
    return folder


def hub_repository(cache: Path, name: str, revisions: Mapping[str, Path]) -> str:
    """A downloaded repository as the hub's cache keeps it, one snapshot per revision; gives its name.

    transformers keeps the code of a name without an owner as it keeps a folder's: one file for all revisions, which
    Python takes for unchanged where they follow within a second and are equally long.
    """
    root = cache / f"models--{name.replace('/', '--')}"
    for number, (revision, folder) in enumerate(revisions.items(), 1):
        commit = f"{number:040x}"
        shutil.copytree(folder, root / "snapshots" / commit)
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / revision).write_text(commit, encoding="utf-8")
    return name


def _adapted(source: Path, folder: Path) -> Path:
    """The same model with an adapter beside it."""
    shutil.copytree(source, folder)
    return write_adapter(folder, "model")


def _own_code(source: Path, folder: Path, *, edition: str = "local", prefix: str = "") -> Path:
    """A model, and a tokenizer, of classes that come with it or from another repository."""
    shutil.copytree(source, folder)
    (folder / "own.py").write_text(_CODE.format(edition=edition), encoding="utf-8")
    classes = {"AutoConfig": f"{prefix}own.OwnConfig", "AutoModelForCausalLM": f"{prefix}own.OwnForCausalLM"}
    edit_json(
        folder / "config.json",
        model_type=lambda _: "own-llama",
        architectures=lambda _: ["OwnForCausalLM"],
        auto_map=lambda _: classes,
    )
    tokenizer = {"AutoTokenizer": [None, f"{prefix}own.OwnTokenizer"]}
    edit_json(folder / "tokenizer_config.json", auto_map=lambda _: tokenizer, tokenizer_class=lambda _: "OwnTokenizer")
    return folder


def _two_tokenizers(source: Path, folder: Path) -> None:
    """A model whose tokenizer exists compiled and in plain Python, in the versions that have both."""
    shutil.copytree(source, folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(" ".join(pair) for pair in model["merges"]), encoding="utf-8")
    edit_json(
        folder / "tokenizer_config.json",
        tokenizer_class=lambda _: "GPT2Tokenizer",
        unk_token=lambda _: "<pad>",
    )


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file, each by a function of its present value."""
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **{key: change(data.get(key)) for key, change in changes.items()}}), "utf-8")
