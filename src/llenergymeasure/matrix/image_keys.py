"""The keys of matrix.toml that say what a cell's container image is made from, checked as they are read."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from llenergymeasure.errors import RequestError

Place = Callable[[str], str]
"""The file and line of a key, for messages."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# A name of the reference grammar that every engine shares, in lower case, and a tag.
_REFERENCE = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*:[\w][\w.-]{0,127}")
_DEBIAN_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
# What a base image's name may take from its cell, so that no version stands twice.
_PLACEHOLDERS = ("version", "python", "torch")


def check(values: Mapping[str, Any], own: Mapping[str, Any], where: Place) -> None:
    """Raises RequestError with file, line and remedy; `own` is what the cell says itself, without defaults."""
    _check_digest(values, own, where)
    base_image(values, where)
    names = values.get("system_packages", [])
    if not isinstance(names, list) or not all(isinstance(name, str) and _DEBIAN_NAME.fullmatch(name) for name in names):
        cause = f"{where('system_packages')}: system_packages is not a list of packages' names"
        raise RequestError(cause, 'write them as apt takes them, like ["g++"]')
    disk_gb = values.get("disk_gb", 0)
    if isinstance(disk_gb, bool) or not isinstance(disk_gb, int | float) or not 0 <= disk_gb < float("inf"):
        raise RequestError(f"{where('disk_gb')}: disk_gb is not a number of gigabytes", "write it like 2.5")


def base_image(values: Mapping[str, Any], where: Place) -> str:
    """The base image with what it takes from the cell filled in, "" where there is none."""
    written: str = values.get("base_image", "")
    if not written:
        return ""
    if "@" in written:
        raise RequestError(f"{where('base_image')}: base_image holds a digest", "move it to base_digest")
    reference = written
    for key in _PLACEHOLDERS:
        reference = reference.replace(f"{{{key}}}", values.get(key, ""))
    if unknown := re.search(r"\{[^}]*\}", reference):
        remedy = f"a base image may take {', '.join(f'{{{key}}}' for key in _PLACEHOLDERS)} from its cell"
        raise RequestError(f"{where('base_image')}: {unknown[0]} in base_image is no key of a cell", remedy)
    if not _REFERENCE.fullmatch(reference):
        cause = f"{where('base_image')}: {reference!r} is no image's name with a tag"
        raise RequestError(cause, 'write it like "python:{python}-slim-bookworm"')
    return reference


def _check_digest(values: Mapping[str, Any], own: Mapping[str, Any], where: Place) -> None:
    digest = values.get("base_digest", "")
    if not digest:
        return
    if not DIGEST.fullmatch(digest):
        cause = f"{where('base_digest')}: {digest!r} is no digest: sha256: and 64 characters 0-9 a-f"
        raise RequestError(cause, "remove it; `nox -s lock` asks the registry and writes it")
    if not values.get("base_image"):
        raise RequestError(f"{where('base_digest')}: a digest of no image", "set base_image, or remove base_digest")
    # Of whichever image the defaults name; a cell's own image, or its own version in the name, is another one.
    taken = values["base_image"] if "base_image" in own else ""
    if "base_digest" not in own and (taken or "{" in values["base_image"]):
        cause = f"{where('base_digest')}: this digest stands in the defaults, and the image's name differs by cell"
        raise RequestError(cause, "move it to the cell that it was asked for; `nox -s lock` does")
