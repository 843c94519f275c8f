"""The HTML page as text; what it does in a browser is tested in one, end to end."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import html as lxml_html

from llenergymeasure.matrix.html import html
from llenergymeasure.matrix.merge import merge
from llenergymeasure.matrix.records import Case, CellRecord, Outcome
from llenergymeasure.matrix.spec import Cell, Spec

MakeRecord = Callable[..., CellRecord]

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'too' \u2028 <!--"
PROVES = (("pytorch.dtype", "observed"),)


@pytest.fixture
def page(make_record: MakeRecord, make_cell: Callable[..., Cell], tmp_path: Path) -> str:
    fields = {
        "pytorch.dtype": {"rung": "accepted", "status": "passed", "reason": ""},
        "pytorch.num_beams": {"rung": "sent", "status": "passed", "reason": HOSTILE},
    }
    tests = {
        f"t.py::test_a[{HOSTILE}]": Case(Outcome.FAILED, reason=HOSTILE),
        "t.py::test_dtype": Case(Outcome.PASSED, proves=PROVES),
    }
    new = make_record("5.23.0", fields=fields, tests=tests, status=Outcome.FAILED, reason=HOSTILE)
    other = {"t.py::test_dtype": Case(Outcome.SKIPPED, reason="needs CUDA", proves=(("pytorch.dtype", "effective"),))}
    old = make_record("5.0.0", fields=fields, tests=other)
    records = [
        replace(record, origin=tmp_path / "docs" / "records" / f"{record.cell.name} #1.json") for record in (new, old)
    ]
    cells = (make_cell("5.0.0"), make_cell("5.23.0"), make_cell("0.33.0", "vllm", "cuda", expected=False))
    return html(merge(records, Spec(cells)), tmp_path / "docs")


def data(page: str) -> Any:
    [text] = lxml_html.fromstring(page).xpath("//script[@id='data']/text()")
    return json.loads(text)


def test_nothing_in_a_record_becomes_markup_or_code(page: str) -> None:
    tree = lxml_html.fromstring(page)
    assert len(tree.xpath("//script")) == 2
    assert not tree.xpath("//img | //@onerror | //@onclick | //@style")
    assert HOSTILE.split(" \u2028", maxsplit=1)[0] in " ".join(tree.xpath("//td[@class='prose']/text()"))
    assert HOSTILE in data(page)["reasons"]


def test_only_its_own_style_and_script_may_run_and_nothing_is_fetched(page: str) -> None:
    [policy] = lxml_html.fromstring(page).xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'; ")
    for tag, kind in (("style", "style-src"), ("script", "script-src")):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    tree = lxml_html.fromstring(page)
    assert not tree.xpath("//@src | //link | //iframe | //object | //base")
    assert all(link.startswith(("#", "records/")) for link in tree.xpath("//@href"))
    assert not re.search(r"url\(|@import|https?:", page)


def test_every_cell_with_a_record_leads_to_it(page: str) -> None:
    tree = lxml_html.fromstring(page)
    links = tree.xpath("//table[contains(@class, 'fields')]//td/a/@href")
    assert sorted(links) == sorted(
        ["records/pytorch-5.0.0-cpu%20%231.json", "records/pytorch-5.23.0-cpu%20%231.json"] * 2
    )
    assert tree.xpath("//a[@class='open-cell']/@href") == sorted(set(links))


def test_without_a_script_it_still_says_what_there_is(page: str) -> None:
    tree = lxml_html.fromstring(page)
    [overview] = tree.xpath("//table[@id='overview']")
    rows = [[" ".join(cell.text_content().split()) for cell in row] for row in overview.xpath("tbody/tr")]
    assert rows[0] == ["pytorch", "5.0.0", "cpu", "✓ passed", "0", "0", "1", "0", "", "2026-11-02", "record"]
    assert rows[1] == ["pytorch", "5.23.0", "cpu", "✗ failed", "1", "1", "0", "0", "", "2026-11-02", "record"]
    assert rows[2][:4] == ["vllm", "0.33.0", "cuda", "? not run"]
    assert rows[2][9] == "no record: it is run on request, on a machine for cuda"
    [fields] = tree.xpath("//table[contains(@class, 'fields')]")
    states = {row.xpath("string(th)"): row.xpath("td/a/text()") for row in fields.xpath("tbody/tr")}
    assert states == {"pytorch.dtype": ["accepted", "observed"], "pytorch.num_beams": ["sent", "sent"]}


def test_tables_have_what_a_screen_reader_reads(page: str) -> None:
    tree = lxml_html.fromstring(page)
    for table in tree.xpath("//table"):
        assert not table.xpath(".//th[not(@scope)]")
        assert table.xpath("thead/tr/th[@scope='col']")
        assert table.xpath("caption | ancestor::*[@role='region'][@aria-label or @aria-labelledby]")
    for reference in tree.xpath("//@aria-labelledby"):
        assert tree.xpath(f"//*[@id='{reference}']") or reference == "evidence-title"
    assert all(svg.get("aria-label") for svg in tree.xpath("//svg"))
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))


def test_its_data_say_what_proves_what_in_each_cell(page: str) -> None:
    found = data(page)
    tests = found["tests"][0]
    place = tests["names"].index("t.py::test_dtype")
    old, new = tests["cells"]
    assert [found["letters"].get(cell["outcomes"][place]) for cell in (old, new)] == ["skipped", "passed"]
    assert found["letters"].get(old["outcomes"][1 - place]) is None  # no such test in that cell
    assert found["reasons"][old["reasons"][str(place)]] == "needs CUDA"
    proved = [cell["proves"].get(str(place), tests["proves"][str(place)]) for cell in (old, new)]
    assert proved == [[["pytorch.dtype", "effective"]], [["pytorch.dtype", "observed"]]]


def test_the_same_records_give_the_same_page(make_record: MakeRecord, cell: Cell, tmp_path: Path) -> None:
    pages = {html(merge([make_record(tests={"b": Case(Outcome.PASSED)})], Spec((cell,))), tmp_path) for _ in range(2)}
    assert len(pages) == 1


def test_a_matrix_without_a_record_has_a_page(cell: Cell, tmp_path: Path) -> None:
    assert "missing" in html(merge([], Spec((cell,))), tmp_path)
