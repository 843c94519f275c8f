"""The audits as tables, Markdown, JSON and JUnit."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from llenergymeasure.audit.coverage import KINDS, Coverage
from llenergymeasure.audit.wiring import ABSENT, FAILED, RUNGS, Wiring, as_document

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
NOTHING_SET = "(nothing set)"
COVERAGE_LEGEND = (
    f"parameters = {' + '.join(KINDS)}; typed fields: the configuration's fields that this version can have, of which "
    "one may set several parameters, and several the same"
)
WIRING_LEGEND = (
    "each field counts once, at the highest rung it reached, or as failed or absent: fields = the sum of the columns; "
    "absent: the version has nothing that it could set; fields - absent = typed fields of `llem audit coverage`"
)


def coverage_table(results: Sequence[Coverage]) -> Table:
    header = ("backend", "version", "parameters", *KINDS, "typed fields")
    rows = [
        (
            item.backend,
            item.version,
            str(len(item.rows)),
            *(str(count) for count in item.counts().values()),
            str(item.typed_fields),
        )
        for item in results
    ]
    return header, rows


def wiring_table(results: Sequence[Wiring]) -> Table:
    keys = (*RUNGS[: RUNGS.index(results[0].asked) + 1], FAILED, ABSENT) if results else ()
    rows = [
        (item.backend, item.version, str(len(item.proofs)), *(str(item.counts().get(key, 0)) for key in keys))
        for item in results
    ]
    return ("backend", "version", "fields", *keys), rows


def text(table: Table, legend: str = "") -> str:
    """Columns padded with spaces, and a line on what they count."""
    header, rows = table
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    return "".join(f"{line}\n" for line in [*lines, *([legend] if legend else [])])


def markdown(table: Table, legend: str = "") -> str:
    header, rows = table
    lines = [header, tuple("---" for _ in header), *rows]
    cells = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "".join(f"{line}\n" for line in [*cells, *(["", legend] if legend else [])])


def coverage_json(results: Sequence[Coverage], stale: Sequence[str]) -> str:
    documents = [
        {
            "backend": item.backend,
            "version": item.version,
            "counts": item.counts(),
            "typed_fields": item.typed_fields,
            "problems": list(item.problems),
            "parameters": [asdict(row) for row in item.rows],
        }
        for item in results
    ]
    return json.dumps({"schema": 1, "versions": documents, "stale": list(stale)}, indent=1) + "\n"


def wiring_json(results: Sequence[Wiring]) -> str:
    documents = [as_document(item) for item in results]
    # One version is what a cell asks for; it gets the document itself.
    return (
        json.dumps(
            {"schema": 1, **documents[0]} if len(documents) == 1 else {"schema": 1, "versions": documents}, indent=1
        )
        + "\n"
    )


def wiring_junit(results: Sequence[Wiring]) -> bytes:
    """One case per field and version, and one for what is sent with nothing set.

    A field that the version lacks is skipped, and so is one below the asked rung, with the reason.
    """
    from lxml import etree

    root = etree.Element("testsuites")
    for item in results:
        suite = etree.SubElement(
            root,
            "testsuite",
            name=f"wiring.{item.backend}.{item.version}",
            tests=str(len(item.proofs) + 1),
            failures=str(len(item.failed) + bool(item.unowned)),
        )
        bare = etree.SubElement(suite, "testcase", classname=f"wiring.{item.backend}", name=NOTHING_SET)
        if item.unowned:
            etree.SubElement(bare, "failure", message=_printable("; ".join(item.unowned)))
        for proof in item.proofs:
            case = etree.SubElement(suite, "testcase", classname=f"wiring.{item.backend}", name=proof.path)
            properties = etree.SubElement(case, "properties")
            _property(properties, "field", proof.path)
            if proof.rung:
                _property(properties, "rung", proof.rung)
            if proof.status == FAILED:
                etree.SubElement(case, "failure", message=_printable(proof.reason))
            elif proof.status == ABSENT or proof.rung != item.asked:
                etree.SubElement(case, "skipped", message=_printable(proof.reason))
    found: bytes = etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True)
    return found


def _property(parent: Any, name: str, value: str) -> None:
    from lxml import etree

    etree.SubElement(parent, "property", name=name, value=value)


def _printable(message: str) -> str:
    """XML cannot hold control characters."""
    return "".join(character if character.isprintable() else " " for character in message)
