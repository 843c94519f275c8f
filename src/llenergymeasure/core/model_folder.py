"""Look at the folders that a configuration names: whether they are there, and whole, before minutes of loading."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from llenergymeasure.config.bindings import Local, Model, binding_of
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.origin import nearest_entry, one_line
from llenergymeasure.config.pytorch.entry_points import TOKENIZER
from llenergymeasure.errors import RequestError

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.safetensors.index.json", "*.bin.index.json")
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "*.gguf",
    "tekken.json",
)
_WEIGHT_FILES = ("config.json", "generation_config.json", "adapter_config.json")
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json")
_REPOSITORY = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
_AGAIN = "copy or download it again"
_POINTER, _PULL = "is a pointer of git lfs, not the file itself", "fetch it with `git lfs pull`"


def check_folders(config: ExperimentConfig) -> None:
    """Every folder that the configuration names must be one, and a model's must hold what will be looked for.

    A name on the hub is left to the backend.

    Raises:
        RequestError: names the field, and the file in the folder that is missing or broken.
    """
    for path, value, mark, entry_points in _places(config, ""):
        field = f"{path}: {one_line(value)}"
        there = _is_there(value, field)
        if not mark.hub:
            if there and not Path(value).is_dir():
                raise RequestError(f"{field}: is a file, not a folder", "name a folder")
        elif not there:
            _check_name(value, field)
        else:
            try:
                _check_model(Path(value), field, config, path, entry_points)
            except OSError as error:
                inside = error.filename and Path(error.filename) != Path(value)
                what = f"{field}: {one_line(error.filename)}" if inside else field
                raise RequestError(f"{what}: cannot be read ({error.strerror})", "check its permissions") from None


def _places(model: BaseModel, around: str) -> Iterator[tuple[str, str, Local, set[str]]]:
    """Every field that names a folder: path, value, mark, and where it goes."""
    for name, info in type(model).model_fields.items():
        value, binding = getattr(model, name), binding_of(info)
        path = f"{around}.{name}" if around else name
        mark = next((mark for mark in info.metadata if isinstance(mark, Local)), None)
        if isinstance(value, Model):
            yield from _places(value, path)
        elif mark is not None and value is not None and binding is not None:
            yield path, value, mark, {target.entry_point for target in binding.targets}


def _is_there(name: str, field: str) -> bool:
    """Whether a path leads to something; what can be no path is refused."""
    path = Path(name)
    try:
        path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise RequestError(
                f"{field}: is a link to {one_line(path.readlink())}, which is not there", "mend the link"
            ) from None
        return False
    except NotADirectoryError:
        raise RequestError(f"{field}: leads through a file", "check the path") from None
    except OSError as error:
        raise RequestError(f"{field}: cannot be read ({error.strerror})", "check the path") from None
    except ValueError:
        raise RequestError(f"{field}: a path cannot hold a NUL byte", "give the folder's real name") from None
    return True


def _check_name(name: str, field: str) -> None:
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        near = nearest_entry(Path(name))
        remedy = "give a folder that holds a model, or a repository's name"
        raise RequestError(f"{field}: no such folder", f"did you mean {one_line(near)}?" if near else remedy)
    if not _REPOSITORY.fullmatch(name):
        raise RequestError(
            f"{field}: no such folder, and no repository can have this name", "give a folder, or owner/name"
        )


def _check_model(folder: Path, field: str, config: ExperimentConfig, path: str, entry_points: set[str]) -> None:
    if not folder.is_dir():
        raise RequestError(
            f"{field}: is a file, not a model folder", "give its folder; a GGUF file is named by pytorch.gguf_file"
        )
    own = path == "model"  # the options that say which files of a folder are read speak of the model's
    options = _Options(config.section if own else None)
    base = folder / (options("subfolder") or "")
    if not base.is_dir():
        near = nearest_entry(base)
        raise RequestError(
            f"{config.backend}.subfolder: {one_line(options('subfolder'))}: no such folder in {one_line(folder)}",
            f"did you mean {one_line(near.name)}?" if near else "name a folder inside the model's",
        )
    if path != "tokenizer" and options("load_format") != "dummy":
        _check_holds(folder, field, _WEIGHTS, "weights")
        if (gguf := options("gguf_file")) is not None:
            _check_gguf(base / gguf, config.backend)
        else:
            _check_weights(base, field, options("variant"), options("use_safetensors"))
    if TOKENIZER in entry_points and (path == "tokenizer" or config.tokenizer is None):
        _check_holds(folder, field, _TOKENIZERS, "tokenizer")
        for name in _TOKENIZER_FILES:
            document = _json_object(base / name, field)
            if name == "tokenizer.json" and document is not None and "model" not in document:
                raise RequestError(f"{field}: {name}: describes no tokenizer", _AGAIN)


class _Options:
    """What a backend's section says of the files of a folder; None where it, or its kind, says nothing."""

    def __init__(self, section: BaseModel | None) -> None:
        self._section = section

    def __call__(self, name: str) -> Any:
        return getattr(self._section, name, None)


def _check_holds(folder: Path, field: str, patterns: tuple[str, ...], what: str) -> None:
    places = [folder, *(entry for entry in folder.iterdir() if entry.is_dir())]
    if not any(next(place.glob(pattern), None) for place in places for pattern in patterns):
        raise RequestError(f"{field}: the folder has no {what}", f"looked for {', '.join(patterns)}")


def _check_gguf(file: Path, backend: str) -> None:
    if not file.is_file():
        near = nearest_entry(file)
        raise RequestError(
            f"{backend}.gguf_file: {one_line(file)}: no such file",
            f"did you mean {near.name}?" if near else "name a .gguf file in the model's folder",
        )


def _check_weights(base: Path, field: str, variant: str | None, use_safetensors: bool | None) -> None:  # noqa: FBT001
    for name in _WEIGHT_FILES:
        _json_object(base / name, field)
    if base.is_dir() and not any((base / name).is_file() for name in ("config.json", "adapter_config.json")):
        gguf = next(base.glob("*.gguf"), None)
        raise RequestError(
            f"{field}: the folder has no config.json",
            f"set pytorch.gguf_file: {gguf.name}"
            if gguf
            else "copy it from where the weights come from; they cannot be read",
        )
    suffix = f".{variant}" if variant else ""
    if use_safetensors is not False:
        names = _shards(base, f"model.safetensors.index{suffix}.json", field) or [f"model{suffix}.safetensors"]
        files = [base / name for name in names if (base / name).is_file()]
        for file in files:
            _check_safetensors(file, field)
        if files or use_safetensors:
            return  # other files are not read
    for name in _shards(base, f"pytorch_model.bin.index{suffix}.json", field) or [f"pytorch_model{suffix}.bin"]:
        if (base / name).is_file():
            _check_pickle(base / name, field)


def _shards(base: Path, index: str, field: str) -> list[str]:
    """The files that an index names, each of which must be there."""
    document = _json_object(base / index, field)
    if document is None:
        return []
    listed = document.get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
        raise RequestError(f"{field}: {index}: has no weight_map from tensors to files", _AGAIN)
    names = sorted(set(listed.values()))
    missing = [name for name in names if not (base / name).is_file()]
    if missing:
        raise RequestError(
            f"{field}: {index} names {len(names)} files, and {len(missing)} of them are missing: {_some(missing)}",
            "copy or download them, too",
        )
    return names


def _some(names: list[str]) -> str:
    return one_line(", ".join(names[:3])) + (", …" if len(names) > 3 else "")


def _check_safetensors(file: Path, field: str) -> None:
    """The header says how long the file is; a download that broke off leaves a shorter one.

    Layout: length of the header (8 bytes, little-endian), header (JSON), tensors.
    """
    where = f"{field}: {one_line(file.name)}"
    size = file.stat().st_size
    with file.open("rb") as opened:
        begin = opened.read(8)
        length = int.from_bytes(begin, "little")
        header = opened.read(length) if 8 + length <= size else b""
    if begin == b"version ":
        raise RequestError(f"{where}: {_POINTER}", _PULL)
    try:
        ends = [row["data_offsets"][1] for name, row in json.loads(header).items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise RequestError(f"{where}: broken or cut off: its header cannot be read", _AGAIN) from None
    whole = 8 + length + max(ends, default=0)
    if size < whole:
        raise RequestError(f"{where}: cut off: it has {size} of {whole} bytes", _AGAIN)


def _check_pickle(file: Path, field: str) -> None:
    where = f"{field}: {one_line(file.name)}"
    with file.open("rb") as opened:
        begin = opened.read(8)
    if begin == b"version ":
        raise RequestError(f"{where}: {_POINTER}", _PULL)
    if not begin.startswith((b"PK", b"\x80")):  # a zip archive, or the pickle of older versions
        raise RequestError(f"{where}: holds no weights that torch saved", _AGAIN)


def _json_object(file: Path, field: str) -> dict[str, Any] | None:
    """The object in a JSON file, None where there is no such file."""
    if not file.is_file():
        return None
    where = f"{field}: {one_line(file.name)}"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RequestError(f"{where}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}", _AGAIN) from None
    except (ValueError, RecursionError):
        raise RequestError(f"{where}: not valid JSON", _AGAIN) from None
    if not isinstance(document, dict):
        raise RequestError(f"{where}: holds no object", _AGAIN)
    return document
