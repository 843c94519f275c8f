"""`llem audit`: forms and exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from llenergymeasure.audit import sent as sent_module
from llenergymeasure.core.inference_backends.pytorch import PyTorchBackend
from llenergymeasure.surface import snapshots
from llenergymeasure.surface.packages import BACKENDS

VERSIONS = [[name, version] for name in BACKENDS for version in snapshots.versions(name)]


def test_coverage_of_every_version_is_green(llem: Any) -> None:
    ended = llem("audit", "coverage")
    assert (ended.code, ended.err) == (0, "")
    header, *rows, legend = ended.out.splitlines()
    assert [row.split()[:2] for row in rows] == VERSIONS
    assert "unaccounted" in header
    assert legend.startswith("parameters = field + ")


@pytest.mark.parametrize("form", ["json", "md"])
def test_coverage_in_other_forms(llem: Any, form: str) -> None:
    ended = llem("audit", "coverage", "pytorch", "--version", "5.23.0", "--format", form)
    assert ended.code == 0
    if form == "json":
        (version,) = json.loads(ended.out)["versions"]
        assert version["counts"]["unaccounted"] == 0
        assert version["typed_fields"] > 200
    else:
        *table, empty, legend = ended.out.splitlines()
        assert [line[0] + line[-1] for line in table] == ["||"] * 3
        assert (empty, legend.partition(" = ")[0]) == ("", "parameters")


def test_wiring_of_one_version_in_every_form(llem: Any, tmp_path: Path) -> None:
    ended = llem("audit", "wiring", "--version", "5.23.0", "--format", "json", "--junit", "wiring.xml")
    assert ended.code == 0
    document = json.loads(ended.out)
    assert document["fields"]["pytorch.num_beams"]["rung"] == "sent"
    suite = etree.parse(tmp_path / "wiring.xml").getroot()[0]
    assert int(suite.get("tests")) == len(document["fields"]) + 1  # what is sent with nothing set


def test_what_is_sent_with_nothing_set_is_exit_code_1(llem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = PyTorchBackend._generation_arguments
    monkeypatch.setattr(PyTorchBackend, "_generation_arguments", lambda self: {"top_k": 3, **real(self)})
    ended = llem("audit", "wiring", "--version", "5.23.0")
    assert ended.code == 1
    assert "error: pytorch 5.23.0: transformers.GenerationConfig:top_k gets 3 with nothing set" in ended.err


def test_a_finding_is_exit_code_1_with_every_field_on_stderr(llem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_module, "arrived", lambda value, recorded: value != 2)
    ended = llem("audit", "wiring", "--version", "5.23.0", "--format", "json")
    assert ended.code == 1
    lines = ended.err.splitlines()
    assert any(line.startswith("error: pytorch 5.23.0: pytorch.num_beams: ") for line in lines)
    assert lines[-1] == "  → mend the declaration, or the backend module"
    assert json.loads(ended.out)["counts"]["failed"] == len(lines) - 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("coverage", "pytorhc"), "pytorhc"),
        (("coverage", "vllm", "--version", "1.0"), "no snapshot of this version"),
        (("coverage", "--version", "1.0"), "no backend has a snapshot of it"),
        (("wiring", "--version", "1.0"), "no backend has a snapshot of it"),
    ],
)
def test_an_unknown_backend_or_version_is_the_users_mistake(llem: Any, arguments: tuple[str, ...], says: str) -> None:
    ended = llem("audit", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    "arguments",
    [("coverage", "--installed"), ("wiring", "--installed")],
)
def test_the_installed_version_needs_the_backend(llem: Any, arguments: tuple[str, ...]) -> None:
    ended = llem("audit", *arguments)
    assert (ended.code, ended.out) == (3, "")
    assert 'pip install "llenergymeasure[pytorch]"' in ended.err
