"""A backend's exceptions, turned into an error that names the field and says what to do."""

import re
from collections.abc import Mapping

from llenergymeasure.config.bindings import Target
from llenergymeasure.config.lowering import Calls
from llenergymeasure.errors import EnvironmentLacksError, LlemError, RequestError

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|DefaultCPUAllocator", re.IGNORECASE)
_MISSING_PACKAGE = re.compile(r"pip install|is not installed|requires? the .* library|No module named", re.IGNORECASE)


def explain(error: BaseException, calls: Calls, model: str, doing: str) -> LlemError:
    """The error that a user sees for what the backend raised while `doing` something.

    The backend's own message is kept; the fields whose names occur in it are named as the user wrote them.
    """
    if isinstance(error, LlemError):
        return error
    message = first_line(error)
    if _NO_MEMORY.search(str(error)):
        return EnvironmentLacksError(
            f"out of memory while {doing} {model}: {message}",
            "lower the batch size, the token limits or the number format's width, or free the memory that others hold",
        )
    if isinstance(error, ImportError) or (_MISSING_PACKAGE.search(str(error)) and not isinstance(error, TypeError)):
        return EnvironmentLacksError(
            f"{doing} {model} needs a package that is not here: {message}", "install what the message names"
        )
    fields = mentioned(str(error), calls.origins)
    if fields:
        return RequestError(
            f"{', '.join(fields)}: refused while {doing} {model}: {message}", f"change or remove {' or '.join(fields)}"
        )
    return RequestError(
        f"{model}: failed while {doing} ({type(error).__name__}): {message}",
        "see the backend's documentation of that message",
    )


def mentioned(message: str, origins: Mapping[Target, str]) -> list[str]:
    """The fields whose parameters the message names."""
    words = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]{3,}", message))
    return list(dict.fromkeys(path for target, path in origins.items() if target.name in words))


def first_line(error: BaseException) -> str:
    """The message's first line that says something, or the exception's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
