"""Asking registries which image a tag names now, and writing it into matrix.toml."""

import json
import re
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import Message
from pathlib import Path

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix.image_keys import DIGEST
from llenergymeasure.matrix.records import write_text
from llenergymeasure.matrix.spec import Cell

_WAIT_S = 20.0
# An index first: its digest is one for all machines.
_ACCEPT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
# Short names are Docker Hub's, which answers under another name than the one in references.
_HUB = "registry-1.docker.io"


def resolve(reference: str) -> str:
    """The digest that a registry has for an image's name and tag now.

    Raises EnvironmentLacksError where it does not answer, RequestError where it has no such image.
    """
    host, name, tag = _split(reference)
    # As engines do: a registry on this machine needs no certificate.
    scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    url = f"{scheme}://{host}/v2/{name}/manifests/{tag}"
    try:
        headers = _head(url, reference, _token(url))
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        why = getattr(error, "reason", error)
        cause = f"{host}, which has {reference}, gives no answer: {why}"
        raise EnvironmentLacksError(cause, "run it where that registry is reached") from error
    digest = headers.get("Docker-Content-Digest", "")
    if not DIGEST.fullmatch(digest):
        raise EnvironmentLacksError(f"{host} names no digest of {reference}", "run it against another registry")
    return digest


def write(spec: Path, digests: Mapping[str, str], cells: tuple[Cell, ...]) -> None:
    """Set `base_digest` of each cell named in `digests`; every other line of the file stays as it is.

    By lines, not by tomlkit: that moves the cells of a backend together where defaults stand between them.
    """
    text = spec.read_text(encoding="utf-8")
    lines: list[str] = []
    names = iter(cells)
    digest = ""
    for line in text.splitlines(keepends=True):
        if re.match(r"\s*\[", line):
            digest = digests.get(next(names).name, "") if re.match(r"\s*\[\[\s*cell\s*\]\]", line) else ""
        if digest and re.match(r"\s*base_digest\s*=", line):
            continue
        lines.append(line)
        if digest and re.match(r"\s*version\s*=", line):
            lines[-1] = line.rstrip("\r\n") + "\n"
            lines.append(f'base_digest = "{digest}"\n')
    written = "".join(lines)
    wanted = tomllib.loads(text)
    for cell, table in zip(cells, wanted["cell"], strict=True):
        if cell.name in digests:
            table["base_digest"] = digests[cell.name]
    if tomllib.loads(written) != wanted:
        raise RequestError(f"{spec}: cannot be written without changing more than digests", "write them by hand")
    write_text(written, spec)


def _split(reference: str) -> tuple[str, str, str]:
    name, _, tag = reference.rpartition(":")
    host, slash, rest = name.partition("/")
    if slash and (host == "localhost" or "." in host or ":" in host):
        return (_HUB if host == "docker.io" else host), rest, tag
    return _HUB, name if slash else f"library/{name}", tag


def _head(url: str, reference: str, token: str) -> Message:
    asked = urllib.request.Request(url, method="HEAD", headers={"Accept": _ACCEPT})  # noqa: S310 - made by `resolve`
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(asked, timeout=_WAIT_S) as answer:  # noqa: S310
            return answer.headers  # type: ignore[no-any-return]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise RequestError(f"the registry has no {reference}", "correct base_image in matrix.toml") from error
        raise


def _token(url: str) -> str:
    """A token for anybody, where the registry wants one even for that."""
    parts = urllib.parse.urlsplit(url)
    try:
        with urllib.request.urlopen(f"{parts.scheme}://{parts.netloc}/v2/", timeout=_WAIT_S):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        wanted = error.headers.get("WWW-Authenticate", "")
        if error.code != 401 or not wanted.lower().startswith("bearer "):
            raise
    fields = dict(re.findall(r'(\w+)="([^"]*)"', wanted))
    realm = fields.get("realm", "")
    if urllib.parse.urlsplit(realm).scheme not in ("https", parts.scheme):
        raise ValueError(f"it sends for a token to {realm!r}")
    name = parts.path.removeprefix("/v2/").partition("/manifests/")[0]
    query = {"scope": f"repository:{name}:pull"} | ({"service": fields["service"]} if "service" in fields else {})
    with urllib.request.urlopen(f"{realm}?{urllib.parse.urlencode(query)}", timeout=_WAIT_S) as answer:  # noqa: S310
        document = json.load(answer)
    return str(document.get("token") or document.get("access_token") or "")
