"""The folders that a configuration names: there, and whole, or refused by field and file."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core.model_folder import check_folders
from llenergymeasure.errors import RequestError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def safetensors(cut: int = 0) -> bytes:
    """Two float32 tensors, without their last `cut` bytes."""
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]},
        }
    ).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(12)
    return whole[: len(whole) - cut]


def configured(pytorch: dict[str, Any] | None = None, **fields: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"model": "m", "prompts": ["one"], "pytorch": pytorch or {}, **fields})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "weights")


def fill(made: Path) -> Path:
    made.mkdir()
    (made / "config.json").write_text('{"model_type": "llama"}')
    (made / "tokenizer.json").write_text('{"model": {}}')
    (made / "model.safetensors").write_bytes(safetensors())
    return made


def refused(pytorch: dict[str, Any] | None = None, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        check_folders(configured(pytorch, **fields))
    assert "\n" not in caught.value.cause
    assert caught.value.remedy
    return caught.value


def test_a_whole_folder_passes(folder: Path) -> None:
    check_folders(configured({"assistant_model": str(folder)}, model=str(folder), tokenizer=str(folder)))


@pytest.mark.parametrize("name", ["gpt2", "owner/name", "owner/a-name_1.5B"])
def test_so_does_a_name_on_the_hub(name: str) -> None:
    check_folders(configured({"assistant_model": name}, model=name, tokenizer=name))


@pytest.mark.parametrize(("removed", "what"), [("model.safetensors", "weights"), ("tokenizer.json", "tokenizer")])
def test_a_folder_that_lacks_a_part(folder: Path, removed: str, what: str) -> None:
    (folder / removed).unlink()
    error = refused(model=str(folder))
    assert error.cause == f"model: {folder}: the folder has no {what}"
    assert removed.partition(".")[2] in error.remedy


def test_weights_in_a_subfolder_count(folder: Path) -> None:
    fill(folder / "inner")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).unlink()
    check_folders(configured({"subfolder": "inner"}, model=str(folder)))
    error = refused({"subfolder": "iner"}, model=str(folder))
    assert error.cause == f"pytorch.subfolder: iner: no such folder in {folder}"
    assert error.remedy == "did you mean inner?"
    (folder / "inner" / "config.json").write_text("{")
    assert "config.json:1:2: not valid JSON" in refused({"subfolder": "inner"}, model=str(folder)).cause


def test_the_tokenizer_may_be_elsewhere(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").unlink()
    words = tmp_path / "words"
    words.mkdir()
    (words / "tokenizer.json").write_text('{"model": {}}')
    check_folders(configured(model=str(folder), tokenizer=str(words)))
    (words / "tokenizer.json").unlink()
    error = refused(model=str(folder), tokenizer=str(words))
    assert error.cause == f"tokenizer: {words}: the folder has no tokenizer"


def test_an_assistant_needs_weights_alone(folder: Path, tmp_path: Path) -> None:
    drafter = fill(tmp_path / "drafter")
    (drafter / "tokenizer.json").unlink()
    check_folders(configured({"assistant_model": str(drafter)}, model=str(folder)))
    (drafter / "model.safetensors").unlink()
    error = refused({"assistant_model": str(drafter)}, model=str(folder))
    assert error.cause == f"pytorch.assistant_model: {drafter}: the folder has no weights"


FIELDS = {
    "model": lambda name: {"model": name},
    "tokenizer": lambda name: {"tokenizer": name},
    "pytorch.assistant_model": lambda name: {"pytorch": {"assistant_model": name}},
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/nowhere/at/all", "no such folder"),
        ("./nowhere", "no such folder"),
        ("a/b/c", "no such folder"),
        ("~/nowhere/x", "no such folder"),
        (".", "the folder has no"),
        ("/dev/null/x", "leads through a file"),
        ("/dev/null", "is a file, not a model folder"),
        ("./" + "x" * 300, "cannot be read (File name too long)"),
        ("./a\0b", "cannot hold a NUL byte"),
        ("./link", "is a link to nowhere, which is not there"),
        ("./loop", "cannot be read (Too many levels of symbolic links)"),
        ("two words", "no repository can have this name"),
        (" ", "no repository can have this name"),
        ("owner/na:me", "no repository can have this name"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_by_its_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, name: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    error = refused(**FIELDS[field](name))
    assert error.cause.startswith(f"{field}: ")
    assert says in error.cause
    assert "\0" not in error.cause
    assert len(error.cause) < 400


def test_the_nearest_folder_is_offered(folder: Path) -> None:
    assert refused(model=str(folder.with_name("weihgts"))).remedy == f"did you mean {folder}?"


def test_a_folder_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> Any:
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    assert refused(model=str(folder)).cause == f"model: {folder}: cannot be read (Permission denied)"


def test_a_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, **_: Any) -> Any:
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Path, "read_text", denied)
    assert f"{folder}/config.json: cannot be read (Permission denied)" in refused(model=str(folder)).cause


@pytest.mark.parametrize(
    ("name", "says"), [("/dev/null", "is a file"), ("/dev/null/x", "leads through"), ("a\0", "cannot hold a NUL byte")]
)
def test_an_offload_folder_must_be_one(name: str, says: str) -> None:
    error = refused({"device_map": "auto", "offload_folder": name})
    assert error.cause.startswith("pytorch.offload_folder: ")
    assert says in error.cause


def test_an_offload_folder_may_be_made_by_the_backend(tmp_path: Path) -> None:
    check_folders(configured({"device_map": "auto", "offload_folder": str(tmp_path / "new")}))


def test_a_gguf_file_is_looked_for_in_the_folder(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.gguf")
    (folder / "config.json").unlink()
    check_folders(configured({"gguf_file": "model.gguf"}, model=str(folder)))
    error = refused({"gguf_file": "modle.gguf"}, model=str(folder))
    assert error.cause == f"pytorch.gguf_file: {folder}/modle.gguf: no such file"
    assert error.remedy == "did you mean model.gguf?"


def write(name: str, content: bytes | str) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def alone(name: str, data: bytes) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(data)

    return change


def index(name: str, *shards: str, there: int) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_text(json.dumps({"weight_map": {f"t{shard}": shard for shard in shards}}))
        for shard in shards[:there]:
            (folder / shard).write_bytes(safetensors())

    return change


@pytest.mark.parametrize(
    ("change", "says", "remedy"),
    [
        (write("config.json", "{ nope"), "config.json:1:3: not valid JSON", "copy or download"),
        (write("config.json", "[]"), "config.json: holds no object", "copy or download"),
        (write("config.json", b"\xff"), "config.json: not valid JSON", "copy or download"),
        (write("generation_config.json", "{"), "generation_config.json:1:2: not valid JSON", "copy or download"),
        (write("tokenizer.json", "{"), "tokenizer.json:1:2: not valid JSON", "copy or download"),
        (write("tokenizer.json", "{}"), "tokenizer.json: describes no tokenizer", "copy or download"),
        (write("tokenizer_config.json", "{"), "tokenizer_config.json:1:2: not valid JSON", "copy or download"),
        (lambda folder: (folder / "config.json").unlink(), "the folder has no config.json", "copy it"),
        (
            lambda folder: (folder / "config.json").rename(folder / "small.gguf"),
            "the folder has no config.json",
            "set pytorch.gguf_file: small.gguf",
        ),
        (write("model.safetensors", safetensors(cut=1)), "model.safetensors: cut off: it has", "copy or download"),
        (write("model.safetensors", safetensors()[:20]), "model.safetensors: broken or cut off", "copy or download"),
        (write("model.safetensors", b""), "model.safetensors: broken or cut off", "copy or download"),
        (write("model.safetensors", POINTER), "model.safetensors: is a pointer of git lfs", "git lfs pull"),
        (alone("pytorch_model.bin", POINTER), "pytorch_model.bin: is a pointer of git lfs", "git lfs pull"),
        (alone("pytorch_model.bin", b"words"), "pytorch_model.bin: holds no weights that torch saved", "download"),
        (
            index("model.safetensors.index.json", "a.safetensors", "b.safetensors", there=1),
            "model.safetensors.index.json names 2 files, and 1 of them are missing: b.safetensors",
            "copy or download them",
        ),
        (
            index("pytorch_model.bin.index.json", "a.bin", there=0),
            "pytorch_model.bin.index.json names 1 files, and 1 of them are missing: a.bin",
            "copy or download them",
        ),
        (write("model.safetensors.index.json", "{}"), "model.safetensors.index.json: has no weight_map", "download"),
    ],
)
def test_a_broken_file_is_named(folder: Path, change: Callable[[Path], object], says: str, remedy: str) -> None:
    change(folder)
    error = refused(model=str(folder))
    assert error.cause.startswith(f"model: {folder}: ")
    assert says in error.cause
    assert remedy in error.remedy


def test_only_the_files_that_will_be_read_are_looked_at(folder: Path) -> None:
    (folder / "model.fp16.safetensors").write_bytes(b"")
    check_folders(configured(model=str(folder)))
    assert "model.fp16.safetensors: broken" in refused({"variant": "fp16"}, model=str(folder)).cause
    (folder / "pytorch_model.bin").write_bytes(b"")
    check_folders(configured(model=str(folder)))
    assert "pytorch_model.bin: holds no weights" in refused({"use_safetensors": False}, model=str(folder)).cause
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    (folder / "model.safetensors").write_bytes(b"")
    check_folders(configured({"use_safetensors": False}, model=str(folder)))


def test_every_shard_is_looked_at(folder: Path) -> None:
    index("model.safetensors.index.json", "a.safetensors", "b.safetensors", there=2)(folder)
    check_folders(configured(model=str(folder)))
    (folder / "b.safetensors").write_bytes(safetensors(cut=3))
    assert "b.safetensors: cut off" in refused(model=str(folder)).cause
