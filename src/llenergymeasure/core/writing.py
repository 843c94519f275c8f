"""Result files: the output folder, writing whole or not at all, and reading back."""

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from llenergymeasure.config.origin import one_line
from llenergymeasure.core.results import SCHEMA, Result
from llenergymeasure.errors import EnvironmentLacksError, RequestError

_NO_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EEXIST)  # no permission or disk would help


def write_result(result: Result, folder: Path) -> Path:
    """Write result.json; an earlier one stays whole until the new one is complete.

    Raises:
        EnvironmentLacksError: the disk is full or the folder cannot be written.
    """
    return write_whole(folder / "result.json", result.model_dump_json(indent=1) + "\n")


def write_whole(path: Path, text: str) -> Path:
    """Write through a temporary file in the same folder, then rename: the old content or the new, never a part."""
    temporary: str | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise EnvironmentLacksError(
            f"{path}: cannot be written ({error.strerror})",
            "free disk space, or choose another folder with -o; an earlier file is untouched",
        ) from error
    return path


def read_result(path: Path) -> Result:
    """Read a result.json.

    Raises:
        RequestError: not a result, or one of another schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RequestError(
            f"{path}: not a readable result ({error})", "give a result.json that `llem run` wrote"
        ) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA:
        raise RequestError(
            f"{path}: result schema {version}, this version of llem reads {SCHEMA}",
            "read it with the llem version that wrote it",
        )
    try:
        return Result.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}", "the file was changed after it was written"
        ) from None


def prepare_folder(folder: Path, *, overwrite: bool) -> Path:
    """Make the output folder, before anything expensive runs.

    Raises:
        RequestError: it is a file, its name leads nowhere, or it holds a result already and overwrite is off.
        EnvironmentLacksError: it cannot be made or written.
    """
    shown = one_line(folder)
    if os.path.exists(folder) and not os.path.isdir(folder):  # noqa: PTH110, PTH112 - takes names that can be no path
        raise RequestError(f"{shown}: is a file, not a folder", "give another folder with -o")
    if os.path.exists(folder / "result.json") and not overwrite:  # noqa: PTH110
        raise RequestError(
            f"{shown}: holds a result already", "give another folder with -o, or --overwrite to replace it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except ValueError:
        raise RequestError(f"{shown}: a path cannot hold a NUL byte", "give another folder with -o") from None
    except OSError as error:
        kind = RequestError if error.errno in _NO_NAME else EnvironmentLacksError
        raise kind(f"{shown}: cannot be written ({error.strerror})", "give a writable folder with -o") from error
    return folder
