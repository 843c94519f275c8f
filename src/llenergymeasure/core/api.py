"""The one place through which a backend module reaches its backend, so that a recorder can stand there in a proof."""

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from llenergymeasure.config.lowering import Build, Ref
from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.surface import packages, snapshots
from llenergymeasure.surface.model import Surface


class Api(Protocol):
    """Finds what a dotted name stands for: the real object, or a recorder of its calls."""

    def resolve(self, path: str) -> Any: ...

    def surface(self, backend: str) -> Surface: ...


class RealApi:
    """The installed packages."""

    def surface(self, backend: str) -> Surface:
        """What the installed version accepts."""
        return snapshots.installed(backend)

    def resolve(self, path: str) -> Any:
        """The object that a dotted name stands for, its modules imported as needed.

        Raises:
            EnvironmentLacksError: the package is not installed, or this version of it has no such name.
        """
        parts = path.split(".")
        for end in range(len(parts), 0, -1):
            try:
                found: Any = importlib.import_module(".".join(parts[:end]))
            except ModuleNotFoundError as error:
                if error.name and ".".join(parts[:end]).startswith(error.name):
                    continue
                raise
            try:
                for name in parts[end:]:
                    found = getattr(found, name)
            except AttributeError:
                raise EnvironmentLacksError(
                    f"the installed {parts[0]} has no {path}", f"`llem show` says which versions have what {path} sets"
                ) from None
            return found
        raise EnvironmentLacksError(f"{parts[0]} is not installed", install_hint(parts[0]))


def install_hint(package: str) -> str:
    extra = {"transformers": "pytorch", "torch": "pytorch", "vllm": "vllm", "tensorrt_llm": "tensorrt"}.get(package)
    return packages.install_hint(extra) if extra else f"pip install {package}"


def materialise(value: Any, api: Api) -> Any:
    """Real objects for what lowering could only name; everything else is passed on as it is."""
    if isinstance(value, Ref):
        return api.resolve(value.path)
    if isinstance(value, Build):
        return api.resolve(value.entry_point)(**materialise(value.arguments, api))
    if isinstance(value, Mapping):
        return {key: materialise(item, api) for key, item in value.items()}
    if isinstance(value, list):
        return [materialise(item, api) for item in value]
    return value
