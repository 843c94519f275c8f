import zipfile
from pathlib import Path

import pytest

from llenergymeasure.errors import RequestError
from llenergymeasure.surface.extract import from_source, from_wheel
from llenergymeasure.surface.model import IGNORED, UNKNOWN, from_json, to_json

from .package import source, wheel

LOADING = "transformers.AutoModelForCausalLM.from_pretrained"


def test_a_wheel_and_its_source_give_the_same_surface(tmp_path: Path) -> None:
    packed, unpacked = from_wheel("pytorch", wheel(tmp_path)), from_source("pytorch", tmp_path / "unpacked")
    assert packed.entry_points == unpacked.entry_points
    assert (packed.version, unpacked.version) == ("9.1.0", "9.1.0")
    assert packed.provenance["wheel"] == "transformers-9.1.0-py3-none-any.whl"


def test_a_checkout_keeps_its_package_under_src(tmp_path: Path) -> None:
    source(tmp_path / "src")
    assert from_source("pytorch", tmp_path).package == "transformers"


def test_loading_is_the_union_of_both_functions(tmp_path: Path) -> None:
    point = from_source("pytorch", source(tmp_path)).entry_points[LOADING]
    assert set(point.parameters) == {"path", "revision", "token", "dtype", "subfolder", "mirror", "code_revision"}
    assert point.open
    # The outer function merely hands the revision on: the inner one's default is what applies.
    assert point.parameters["revision"].default == "main"
    assert point.parameters["subfolder"].default == ""
    assert point.parameters["dtype"].effective_default == "auto"
    assert point.parameters["mirror"].status == IGNORED


def test_generation_defaults_applied_later(tmp_path: Path) -> None:
    surface = from_source("pytorch", source(tmp_path))
    top_k, num_beams = (surface.find("transformers.GenerationConfig", name) for name in ("top_k", "num_beams"))
    assert top_k is not None
    assert (top_k.default, top_k.resolved) == (None, 50)
    assert num_beams is not None
    assert num_beams.resolved is UNKNOWN
    assert not surface.entry_points["transformers.GenerationConfig"].open


def test_generate_takes_what_it_pops_and_leaves_what_it_looks_at(tmp_path: Path) -> None:
    point = from_source("pytorch", source(tmp_path)).entry_points["transformers.GenerationMixin.generate"]
    assert set(point.parameters) == {"inputs", "trust_remote_code", "tokenizer"}


def test_every_subclass_is_an_entry_point_under_the_name_that_imports(tmp_path: Path) -> None:
    points = from_source("pytorch", source(tmp_path)).entry_points
    assert set(points["transformers.RoundConfig"].parameters) == {"bits", "group_size"}
    assert set(points["transformers.utils.quantization_config.FinerConfig"].parameters) == {"bits", "group_size"}


def test_a_version_without_an_entry_point_lacks_it(tmp_path: Path) -> None:
    assert "transformers.ContinuousBatchingConfig" not in from_source("pytorch", source(tmp_path)).entry_points


def test_surfaces_survive_their_json(tmp_path: Path) -> None:
    surface = from_wheel("pytorch", wheel(tmp_path))
    text = to_json(surface)
    assert from_json(text) == surface
    assert to_json(from_json(text)) == text


def _not_a_zip(folder: Path) -> Path:
    path = folder / "transformers-5.0.0-py3-none-any.whl"
    path.write_text("no archive")
    return path


def _cut_off(folder: Path) -> Path:
    path = wheel(folder)
    path.write_bytes(path.read_bytes()[:300])
    return path


def _empty(folder: Path) -> Path:
    path = folder / "transformers-5.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w"):
        pass
    return path


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda folder: folder / "transformers-5.0.0-py3-none-any.whl", "no such file"),
        (lambda folder: folder / "model.safetensors", "not a wheel's file name"),
        (_not_a_zip, "not a readable wheel"),
        (_cut_off, "not a readable wheel"),
        (_empty, "modeling_utils.py is missing"),
        (lambda folder: wheel(folder, "numpy-2.0.0-py3-none-any.whl"), "a wheel of numpy"),
        (lambda folder: wheel(folder, **{"modeling_utils.py": None}), "modeling_utils.py is missing"),
        (lambda folder: wheel(folder, **{"generation/utils.py": "class :\n"}), "line 1: not valid Python"),
    ],
)
def test_wheels_that_are_none(tmp_path: Path, make: object, cause: str) -> None:
    assert callable(make)
    with pytest.raises(RequestError) as caught:
        from_wheel("pytorch", make(tmp_path))
    assert cause in caught.value.cause
    assert caught.value.remedy


def test_folders_that_hold_no_package(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such folder"):
        from_source("pytorch", tmp_path / "nowhere")
    with pytest.raises(RequestError, match="holds no package transformers"):
        from_source("pytorch", tmp_path)
    with pytest.raises(RequestError, match="states no version"):
        from_source("pytorch", source(tmp_path, **{"__init__.py": ""}))


def test_an_unknown_backend_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="did you mean pytorch"):
        from_wheel("pytorhc", wheel(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "entry_points": 3}'])
def test_json_that_is_no_surface(text: str) -> None:
    with pytest.raises(RequestError):
        from_json(text)
