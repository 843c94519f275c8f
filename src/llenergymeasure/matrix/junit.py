"""Reading JUnit XML from a run that may have gone wrong: nothing in a file can stop the run that reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lxml import etree

from llenergymeasure.matrix.records import Case, Outcome, one_line

MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class JUnitReport:
    """The cases that could be read, and what was wrong with the file; a clean file has no problems."""

    cases: dict[str, Case]
    problems: tuple[str, ...] = ()


def read(path: Path) -> JUnitReport:
    """Every test case by identity: the node id where the file names the test's file, else class and name."""
    try:
        size = path.stat().st_size
    except OSError as error:
        return JUnitReport({}, (f"{path.name}: {error.strerror}",))
    if size > MAX_BYTES:
        return JUnitReport(
            {}, (f"{path.name}: {size / 1e6:.0f} MB, more than the {MAX_BYTES / 1e6:.0f} MB that are read",)
        )
    cases: dict[str, Case] = {}
    try:
        with path.open("rb") as file:
            for identity, case in _cases(file):
                # pytest writes a second element where a test failed and its teardown did, too.
                known = cases.get(identity)
                cases[identity] = case if known is None or case.outcome.rank > known.outcome.rank else known
    except _ForeignError as error:
        return JUnitReport(cases, (f"{path.name}: {error}",))
    except etree.XMLSyntaxError as error:
        return JUnitReport(cases, (f"{path.name}: broken after {len(cases)} tests: {one_line(str(error))}",))
    return JUnitReport(cases)


class _ForeignError(Exception):
    """Well-formed, and not a JUnit file that a test runner writes."""


def _cases(file: IO[bytes]) -> Iterator[tuple[str, Case]]:
    events = etree.iterparse(
        file, events=("start", "end"), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    root = None
    for event, element in events:
        if event == "start":
            if root is None:
                root = element
                _check_root(root)
        elif element.tag == "testcase":
            yield _identity(element), _case(element)
            _drop(element)


def _check_root(root: Any) -> None:
    document = root.getroottree().docinfo
    if document.doctype or document.internalDTD is not None:
        raise _ForeignError("declares a DOCTYPE, which no test runner writes")
    if root.tag not in ("testsuites", "testsuite"):
        raise _ForeignError(f"its root is <{one_line(str(root.tag))}>, not <testsuites> or <testsuite>")


def _drop(element: Any) -> None:
    """Free what was read, so that memory and time stay linear in the file."""
    element.clear()
    parent = element.getparent()
    if parent is not None:
        while element.getprevious() is not None:
            del parent[0]


def _identity(element: Any) -> str:
    name, classname, file = (element.get(key, "") for key in ("name", "classname", "file"))
    if not file:
        return f"{classname}::{name}" if classname else name
    module = file.removesuffix(".py").replace("/", ".").replace("\\", ".")
    if not classname and name == module:  # the file itself, which could not be collected
        return str(file)
    inside = classname.removeprefix(module).lstrip(".")
    return "::".join([file, *inside.split("."), name] if inside else [file, name])


def _case(element: Any) -> Case:
    duration_s = _seconds(element.get("time"))
    properties = [(prop.get("name", ""), prop.get("value", "")) for prop in element.iterfind("properties/property")]
    proves = pairs(properties)
    for tag, outcome in (("error", Outcome.ERROR), ("failure", Outcome.FAILED)):
        child = element.find(tag)
        if child is not None:
            return Case(outcome, duration_s, _reason(child), proves)
    skipped = element.find("skipped")
    if skipped is None:
        return Case(Outcome.PASSED, duration_s, "", proves)
    if skipped.get("type") == "pytest.xfail":
        upstream = ("xfail", "upstream") in properties
        return Case(Outcome.XFAIL_UPSTREAM if upstream else Outcome.XFAIL_OURS, duration_s, _reason(skipped), proves)
    return Case(Outcome.SKIPPED, duration_s, _reason(skipped), proves)


def pairs(properties: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """(field, rung) pairs from properties in which each `field` is followed by its `rung`."""
    found: list[tuple[str, str]] = []
    name = ""
    for key, value in properties:
        if key == "field":
            name = value
        elif key == "rung" and name:
            found.append((name, value))
            name = ""
    return tuple(found)


def _seconds(text: str | None) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    # NaN and infinities are no durations, and no JSON either.
    return seconds if 0 <= seconds < float("inf") else 0.0


def _reason(child: Any) -> str:
    message = child.get("message") or ""
    if message in ("", "collection failure"):
        # The words that matter stand where pytest marks the error, else in the whole text.
        marked = [line[1:] for line in (child.text or "").splitlines() if line.startswith("E ")]
        message = " ".join([message, *(marked[-1:] or [child.text or child.get("type") or ""])])
    return one_line(message)
