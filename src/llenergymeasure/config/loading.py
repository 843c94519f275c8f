"""Read a configuration from YAML, TOML or JSON, and say what is wrong with it in the user's own words."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from llenergymeasure.config.bindings import Local
from llenergymeasure.config.explaining import explain
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.config.origin import Origin, one_line
from llenergymeasure.config.parsing import START, read
from llenergymeasure.errors import RequestError

M = TypeVar("M", bound=BaseModel)


def load_config(path: Path | str) -> ExperimentConfig:
    """Read and validate a configuration.

    Files and folders in it are found relative to the configuration's folder, so that it can be run from anywhere:
    prompts.file and offload folders always; models, assistants and tokenizers where they begin with `.` or such a
    folder is there, since other names are repositories on the hub. A `~` at the beginning is the home folder. What
    stands under passthrough is passed on as it is.

    Raises:
        RequestError: the file cannot be read or is not valid; the cause names file, line and field.
    """
    path = Path(path)
    data, origin = read(path)
    if not isinstance(data, dict):
        raise RequestError(f"{one_line(path)}: a configuration is a mapping of fields, this is {_kind(data)}", START)
    return _beside(validate(data, origin), path.parent)


def validate(data: Mapping[str, Any], origin: Origin | None = None) -> ExperimentConfig:
    """Validate parsed data; `origin` tells where each key stands, for the errors of this and of later checks.

    Raises:
        RequestError: every problem that can be told at once, a line each.
    """
    origin = origin or Origin()
    try:
        return ExperimentConfig.model_validate(data).written_in(origin)
    except ValidationError as error:
        raise explain(error, data, origin) from None


def _beside(model: M, folder: Path) -> M:
    """With every relative path in a field that names a file or folder made relative to where the command runs."""
    changed: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        local = next((mark for mark in info.metadata if isinstance(mark, Local)), None)
        if local is not None and value is not None:
            changed[name] = type(value)(_path(str(value), local, folder))
        elif isinstance(value, BaseModel):
            changed[name] = _beside(value, folder)
    return model.model_copy(update=changed)


def _path(name: str, local: Local, folder: Path) -> str:
    name = os.path.expanduser(name)  # noqa: PTH111 - leaves an unknown user's home as it is, where Path raises
    if local.hub and not name.startswith((".", "/")) and not os.path.isdir(folder / name):  # noqa: PTH112 - takes any text
        return name
    path = os.path.normpath(folder / name)
    # Where the command runs beside the configuration, it is still to be told from a name on the hub.
    return path if path.startswith(("/", "..")) else f"./{path}"


def _kind(data: Any) -> str:
    return "empty" if data is None else f"a {type(data).__name__}"
