"""Asking a registry, a real one in all that this needs of it, on this machine; and writing matrix.toml."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix import digests
from llenergymeasure.matrix.spec import load, loads

ROOT = Path(__file__).parents[3]
DIGEST = "sha256:" + "0123456789abcdef" * 4


class Registry(BaseHTTPRequestHandler):
    """Has team/base:1.0 for whoever brings a token for it, and gives one to anybody."""

    protocol_version = "HTTP/1.1"
    digest = DIGEST
    wants_token = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/token":
            self._answer(200, {}, json.dumps({"token": f"for {parse_qs(parts.query)['scope'][0]}"}))
        else:
            self._answer(*self._asked("repository:"))

    def do_HEAD(self) -> None:
        if self.path != "/v2/team/base/manifests/1.0":
            self._answer(404, {})
        else:
            self._answer(*self._asked("repository:team/base:pull"))

    def _asked(self, scope: str) -> tuple[int, dict[str, str]]:
        if self.wants_token and self.headers.get("Authorization") != f"Bearer for {scope}":
            host = self.headers["Host"]
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{host}/token",service="here"'}
        assert self.path == "/v2/" or "application/vnd.oci.image.index.v1+json" in self.headers["Accept"]
        return 200, {"Docker-Content-Digest": self.digest}

    def _answer(self, code: int, headers: dict[str, str], body: str = "") -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[tuple[str, type[Registry]]]:
    kind = type("OwnRegistry", (Registry,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}", kind
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("wants_token", [True, False])
def test_the_registry_says_which_image_a_tag_is(registry: tuple[str, type[Registry]], wants_token: bool) -> None:
    host, kind = registry
    kind.wants_token = wants_token
    assert digests.resolve(f"{host}/team/base:1.0") == DIGEST


def test_an_image_that_the_registry_lacks_is_the_requests_fault(registry: tuple[str, type[Registry]]) -> None:
    with pytest.raises(RequestError, match=r"no 127\.0\.0\.1:\d+/team/base:2\.0"):
        digests.resolve(f"{registry[0]}/team/base:2.0")


def test_what_is_no_digest_is_not_taken(registry: tuple[str, type[Registry]]) -> None:
    host, kind = registry
    kind.digest = "sha256:short"
    with pytest.raises(EnvironmentLacksError, match="names no digest"):
        digests.resolve(f"{host}/team/base:1.0")


def test_a_registry_that_does_not_answer_is_named(registry: tuple[str, type[Registry]]) -> None:
    with pytest.raises(EnvironmentLacksError, match=r"127\.0\.0\.1:1, which has .* gives no answer: .*refused"):
        digests.resolve("127.0.0.1:1/team/base:1.0")


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("python:3.11-slim", ("registry-1.docker.io", "library/python", "3.11-slim")),
        ("nvidia/cuda:13", ("registry-1.docker.io", "nvidia/cuda", "13")),
        ("docker.io/library/python:3", ("registry-1.docker.io", "library/python", "3")),
        ("registry.example/a/b/c:1", ("registry.example", "a/b/c", "1")),
        ("localhost:5000/a:1", ("localhost:5000", "a", "1")),
    ],
)
def test_short_names_are_docker_hubs(reference: str, parts: tuple[str, str, str]) -> None:
    assert digests._split(reference) == parts


def test_every_digest_of_the_projects_cells_is_written_and_no_other_line_changes(tmp_path: Path) -> None:
    spec = tmp_path / "matrix.toml"
    spec.write_text((ROOT / "matrix.toml").read_text())
    before = spec.read_text().splitlines()
    cells = load(spec).cells
    for digest in (DIGEST, DIGEST.replace("0", "f")):
        digests.write(spec, {cell.name: digest for cell in cells}, cells)
        assert {cell.base_digest for cell in load(spec).cells} == {digest}
        kept = [line for line in spec.read_text().splitlines() if not line.startswith("base_digest")]
        assert kept == [line for line in before if not line.startswith("base_digest")]


SPEC = """# A comment.
[[cell]]
backend = "pytorch"
version = "5.0.0"  # with words
package = "transformers"
platform = "cpu"
python = "3.11"
base_image = "a:1"
base_digest = "OLD"
# Another.
[[cell]]
package = "transformers"
platform = "cpu"
python = "3.11"
base_image = "b:1"
backend = "pytorch"
version = "5.1.0"
[cell.environment]
version = "not a cell's"
"""


def test_cells_that_were_not_asked_for_keep_their_digest(tmp_path: Path) -> None:
    spec = tmp_path / "matrix.toml"
    spec.write_text(SPEC.replace("OLD", DIGEST))
    cells = loads(spec.read_text()).cells
    digests.write(spec, {"pytorch-5.1.0-cpu": DIGEST.replace("0", "f")}, cells)
    assert [cell.base_digest for cell in load(spec).cells] == [DIGEST, DIGEST.replace("0", "f")]
    assert "# A comment." in spec.read_text()
    assert "# with words\n" in spec.read_text()
    assert load(spec).cells[1].environment == {"version": "not a cell's"}


def test_a_file_that_lines_do_not_tell_is_left_as_it_was(tmp_path: Path) -> None:
    text = SPEC.replace('version = "5.1.0"', '"version" = "5.1.0"').replace("OLD", DIGEST)
    spec = tmp_path / "matrix.toml"
    spec.write_text(text)
    with pytest.raises(RequestError, match="by hand"):
        digests.write(spec, {"pytorch-5.1.0-cpu": DIGEST}, loads(text).cells)
    assert spec.read_text() == text
