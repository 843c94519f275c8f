"""The HTML page in a real Chromium, opened from a file, as people use it: mouse, keyboard, phone, dark, no scripts."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from llenergymeasure.matrix.html import html
from llenergymeasure.matrix.merge import Run, merge, read_folder
from llenergymeasure.matrix.records import Audit, Case, CellRecord, Host, Outcome, write
from llenergymeasure.matrix.spec import Cell, Spec

PROJECTS_OWN = Path(__file__).parents[2] / "docs" / "compatibility.html"
FIELDS = {
    "pytorch.dtype": {"rung": "accepted", "status": "passed", "reason": ""},
    "pytorch.num_beams": {"rung": "accepted", "status": "passed", "reason": ""},
    "pytorch.tp_plan": {"rung": "sent", "status": "passed", "reason": "needs two processes"},
    "pytorch.assistant_model": {"rung": "accepted", "status": "passed", "reason": ""},
}
SUITE = "tests/integration/pytorch"
TESTS = {
    f"{SUITE}/test_a.py::test_beams[2]": Case(Outcome.PASSED, proves=(("pytorch.num_beams", "observed"),)),
    f"{SUITE}/test_a.py::test_beams[10]": Case(Outcome.PASSED, proves=(("pytorch.num_beams", "effective"),)),
    f"{SUITE}/test_b.py::test_dtype": Case(Outcome.PASSED, proves=(("pytorch.dtype", "effective"),)),
}
BROKEN = {
    f"{SUITE}/test_b.py::test_dtype": Case(
        Outcome.FAILED, reason="assert 'float32' == 'bfloat16'", proves=(("pytorch.dtype", "effective"),)
    ),
    f"{SUITE}/test_b.py::test_on_gpu": Case(Outcome.SKIPPED, reason="needs CUDA: <b>pinned</b>"),
}
CHIPS = (
    *("observed", "effective", "accepted", "sent", "declared", "absent", "not-run"),
    *("failed", "passed", "xfail-upstream", "error", "timeout", "crash"),
)


def record(cell: Cell, tests: dict[str, Case], status: Outcome) -> CellRecord:
    fields = {name.replace("pytorch", cell.backend): row for name, row in FIELDS.items()}
    audits = {"wiring": Audit(Outcome.PASSED, report={"fields": fields})}
    machine = Host("a processor", 2, 8_000_000_000, ("a GPU",), "580.1")
    times = ("2026-11-02T09:00:00+00:00", "2026-11-02T10:00:00+00:00", 3600.0)
    found = (status, "", tests, audits, {"torch": "2.13.0+cpu"}, "3.11.2", "Linux", machine)
    return CellRecord(cell, "venv", "asked for", *found, "0123456789abcdef", False, *times)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    docs = tmp_path_factory.mktemp("checkout") / "docs"
    old, new, other = (
        Cell("pytorch", "5.0.0", "transformers", "cpu", "3.11"),
        Cell("pytorch", "5.23.0", "transformers", "cpu", "3.11"),
        Cell("vllm", "0.33.0", "vllm", "cuda", "3.11"),
    )
    on_request = Cell("vllm", "0.32.0", "vllm", "cuda", "3.11", expected=False)
    cells = {
        old: (TESTS, Outcome.PASSED),
        new: (TESTS | BROKEN, Outcome.FAILED),
        other: ({"tests/integration/vllm/test_c.py::test_c": Case(Outcome.PASSED)}, Outcome.PASSED),
    }
    for cell, (tests, status) in cells.items():
        write(record(cell, tests, status), docs / "records" / f"{cell.name}.json")
    times = {"started": "2026-10-01T09:00:00+00:00", "ended": "2026-10-01T10:00:00+00:00", "duration_s": 3600.0}
    earlier = Run(new.name, "venv", Outcome.PASSED, "", {Outcome.PASSED: 2}, {}, {}, "fedcba", dirty=False, **times)
    page = docs / "compatibility.html"
    page.write_text(html(merge(read_folder(docs / "records"), Spec((*cells, on_request)), [earlier]), docs))
    return page


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver), which are not installed")
    options = ChromeOptions()
    options.binary_location = browser
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.set_capability("proxy", {"proxyType": "direct"})
    # With the path given, selenium looks for no driver elsewhere.
    with Chrome(options=options, service=ChromeService(driver)) as opened:
        yield opened


@pytest.fixture
def page(chromium: Chrome, file: Path) -> Iterator["Page"]:
    yield (opened := Page(chromium, file))
    assert opened.complaints() == []


class Page:
    """The page in the browser; every wait is for what is seen, none for a time."""

    def __init__(self, chromium: Chrome, file: Path, *, dark: bool = False, width: int = 1280) -> None:
        self.chromium = chromium
        self.file = file
        self.look(dark=dark, width=width)
        chromium.get_log("performance")
        self.go()

    def go(self, fragment: str = "") -> None:
        self.chromium.get("about:blank")
        self.chromium.get(self.file.as_uri() + fragment)

    def look(self, *, dark: bool, width: int) -> None:
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        self.chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def js(self, script: str, *arguments: object) -> Any:
        return self.chromium.execute_script(script, *arguments)

    def one(self, selector: str) -> WebElement:
        return self.chromium.find_element(By.CSS_SELECTOR, selector)

    def names(self, kind: str, backend: str = "pytorch") -> list[str]:
        """What stands at the beginning of each row that is seen; kind is fields or tests."""
        rows = f"section.backend[data-backend={backend}] table.{kind} tbody tr"
        script = """return [...document.querySelectorAll(arguments[0])]
            .filter((row) => row.offsetParent).map((row) => row.cells[0].textContent)"""
        return list(self.js(script, rows))

    def cell(self, name: str, column: int) -> WebElement:
        script = """return [...document.querySelectorAll(".matrix tbody tr")]
            .find((row) => row.offsetParent && row.cells[0].textContent === arguments[0])
            ?.cells[arguments[1]].querySelector("a")"""
        link = self.js(script, name, column)
        assert isinstance(link, WebElement), name
        return link

    def says(self, words: str) -> None:
        deadline = time.monotonic() + 60
        while (said := self.one("#count").text) != words and time.monotonic() < deadline:
            time.sleep(0.02)
        assert said == words

    def press(self, *keys: str) -> None:
        ActionChains(self.chromium, duration=0).send_keys(*keys).perform()

    def focused(self) -> WebElement:
        return self.chromium.switch_to.active_element

    def dialog(self) -> str:
        return self.one("#evidence").text

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.chromium.get_log("browser")]


ALL = "8 of 8 fields and 5 of 5 tests match"


def test_it_opens_from_a_file_and_asks_for_nothing_else(page: Page) -> None:
    page.says(ALL)
    events = "".join(entry["message"] for entry in page.chromium.get_log("performance"))
    asked_for = [part.split('"')[0] for part in events.split('"url":"')[1:]]
    assert {urlparse(url).scheme for url in asked_for} <= {"file", "about"}
    assert {Path(unquote(urlparse(url).path)).name for url in asked_for} - {"blank"} <= {page.file.name}


def test_searching_finds_fields_tests_and_reasons(page: Page) -> None:
    page.one("#q").send_keys("BEAMS")
    page.says("2 of 8 fields and 2 of 5 tests match")
    assert page.names("fields") == ["pytorch.num_beams"]
    assert [name.partition("::")[2] for name in page.names("tests")] == ["test_beams[2]", "test_beams[10]"]
    page.one("#q").clear()
    page.one("#q").send_keys("needs cuda")
    page.says("0 of 8 fields and 1 of 5 tests match")
    assert page.names("fields") == []
    page.one("#filters button[type=reset]").click()
    page.says(ALL)
    assert len(page.names("fields")) == 4


@pytest.mark.parametrize(
    ("choice", "says", "fields"),
    [
        ({"backend": "vllm"}, "4 of 8 fields and 1 of 5 tests match", []),
        ({"cell": "pytorch-5.0.0-cpu"}, "4 of 8 fields and 4 of 5 tests match", sorted(FIELDS)),
        ({"state": "red: any failure"}, "1 of 8 fields and 1 of 5 tests match", ["pytorch.dtype"]),
        ({"state": "observed"}, "1 of 8 fields and 0 of 5 tests match", ["pytorch.num_beams"]),
        ({"state": "not run"}, "4 of 8 fields and 1 of 5 tests match", []),
        ({"state": "sent", "backend": "pytorch"}, "1 of 8 fields and 0 of 5 tests match", ["pytorch.tp_plan"]),
        ({"cell": "pytorch-5.0.0-cpu", "state": "failed"}, "0 of 8 fields and 0 of 5 tests match", []),
    ],
)
def test_filters_keep_the_rows_that_show_it(page: Page, choice: dict[str, str], says: str, fields: list[str]) -> None:
    for name, value in choice.items():
        Select(page.one(f"#{name}")).select_by_visible_text(value)
    page.says(says)
    assert page.names("fields") == fields


def test_only_rows_whose_cells_differ(page: Page) -> None:
    page.one("#differs").click()
    page.says("5 of 8 fields and 2 of 5 tests match")
    assert page.names("fields") == ["pytorch.dtype"]


def test_a_filter_of_a_cell_hides_the_other_columns_and_cells(page: Page) -> None:
    Select(page.one("#cell")).select_by_visible_text("pytorch-5.23.0-cpu")
    page.says("4 of 8 fields and 4 of 5 tests match")
    heads = page.one("table.fields thead").text.split()
    assert [head for head in heads if "cpu" in head] == ["5.23.0-cpu"]
    rows = [row for row in page.chromium.find_elements(By.CSS_SELECTOR, "#overview tbody tr") if row.is_displayed()]
    assert [row.text.split()[:3] for row in rows] == [["pytorch", "5.23.0", "cpu"]]


def test_what_is_chosen_stands_in_the_address_and_comes_back_from_it(page: Page) -> None:
    page.one("#q").send_keys("dtype")
    Select(page.one("#backend")).select_by_visible_text("pytorch")
    page.says("1 of 8 fields and 1 of 5 tests match")
    fragment = "#" + urlparse(page.chromium.current_url).fragment
    page.go(fragment)
    page.says("1 of 8 fields and 1 of 5 tests match")
    assert page.one("#q").get_attribute("value") == "dtype"
    page.go("#q=%22%3E%3Cimg+src%3Dx%3E&backend=nothing&cell=x&state=y")
    page.says("0 of 8 fields and 0 of 5 tests match")


def test_columns_sort_both_ways_and_say_so(page: Page) -> None:
    head = page.one("section[data-backend=pytorch] table.fields thead th:nth-child(3)")
    head.find_element(By.TAG_NAME, "button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.names("fields") == ["pytorch.num_beams", "pytorch.assistant_model", "pytorch.tp_plan", "pytorch.dtype"]
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    assert page.names("fields")[0] == "pytorch.dtype"
    page.one("section[data-backend=pytorch] table.tests thead th:nth-child(1) button").click()
    # As numbers, not as letters.
    assert [name.partition("::")[2] for name in page.names("tests")][:2] == ["test_beams[2]", "test_beams[10]"]


def test_the_overview_sorts_numbers_as_numbers(page: Page) -> None:
    page.one("#overview thead th:nth-child(5) button").click()
    script = "return [...document.querySelectorAll('#overview tbody tr')].map((row) => row.cells[4].textContent)"
    assert page.js(script) == ["", "1", "2", "3"]


def test_a_field_opens_with_what_proves_it_and_its_record(page: Page) -> None:
    page.cell("pytorch.num_beams", 2).click()
    text = page.dialog()
    assert text.index("observed: tests/integration/pytorch/test_a.py::test_beams[2]") < text.index("effective: ")
    assert "pytorch-5.0.0-cpu" in text
    link = page.one("#evidence .body > p:last-child a").get_attribute("href") or ""
    assert Path(unquote(urlparse(link).path)) == page.file.parent / "records" / "pytorch-5.23.0-cpu.json"
    assert Path(unquote(urlparse(link).path)).is_file()
    page.press(Keys.ESCAPE)
    page.cell("pytorch.dtype", 2).click()
    assert "assert 'float32' == 'bfloat16'" in page.dialog()
    page.press(Keys.ESCAPE)
    page.cell("pytorch.tp_plan", 1).click()
    assert "needs two processes" in page.dialog()
    assert "the wiring audit alone" in page.dialog()


def test_a_test_opens_with_its_reason_as_text(page: Page) -> None:
    page.cell("test_b.py::test_on_gpu", 2).click()
    assert "needs CUDA: <b>pinned</b>" in page.dialog()
    page.one("#evidence button").click()
    page.cell("test_a.py::test_beams[2]", 1).click()
    assert "observed: pytorch.num_beams" in page.dialog()


def test_a_cell_opens_with_its_machine_its_failures_and_its_history(page: Page) -> None:
    page.one("a.open-cell[href='records/pytorch-5.23.0-cpu.json']").click()
    text = page.dialog()
    for words in ("a GPU", "580.1", "0123456789abcdef", "test_dtype", "2026-10-01 10:00", "2026-11-02 10:00"):
        assert words in text
    drawn = page.one("#evidence svg").get_attribute("aria-label")
    assert drawn == "2 runs, 2026-10-01 to 2026-11-02: passed 2, not run 0 to 1, failed 0 to 1; 1 of them red"


def test_it_is_used_with_the_keyboard_alone(page: Page) -> None:
    page.press("/")
    assert page.focused().get_attribute("id") == "q"
    page.press("pytorch", Keys.TAB)
    page.says("4 of 8 fields and 4 of 5 tests match")
    for _ in range(60):
        if page.js("return document.activeElement.matches('table.fields td > a')"):
            break
        page.press(Keys.TAB)
    first = page.focused()
    assert first == page.cell("pytorch.assistant_model", 1)
    page.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert page.focused() == page.cell("pytorch.dtype", 2)
    page.press(Keys.ARROW_RIGHT, Keys.HOME, Keys.END)
    assert page.focused() == page.cell("pytorch.dtype", 2)
    page.press(Keys.ENTER)
    assert "assert 'float32' == 'bfloat16'" in page.dialog()
    assert page.js("return document.querySelector('#evidence').contains(document.activeElement)")
    page.press(Keys.ESCAPE)
    assert page.focused() == page.cell("pytorch.dtype", 2)
    page.press(Keys.TAB)
    # One stop in a table: the next is in the next one.
    assert not page.js("return document.activeElement.matches('section[data-backend=pytorch] table.fields *')")


@pytest.mark.parametrize("width", [320, 390, 820])
@pytest.mark.parametrize("which", ["made", "own"])
def test_a_narrow_window_never_scrolls_sideways(chromium: Chrome, file: Path, width: int, which: str) -> None:
    page = Page(chromium, file if which == "made" else PROJECTS_OWN, width=width)
    assert page.js("return [innerWidth, document.documentElement.scrollWidth <= innerWidth]") == [width, True]
    page.js("document.querySelector('.open-cell').click()")
    box = page.one("#evidence").rect
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert page.complaints() == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast_in_light_and_in_dark(chromium: Chrome, file: Path, dark: bool) -> None:
    page = Page(chromium, file, dark=dark)
    colours = page.js(
        """const body = getComputedStyle(document.body), box = document.querySelector('.scroll');
        const card = getComputedStyle(box).backgroundColor;
        const found = {text: [body.color, body.backgroundColor]};
        for (const name of arguments[0]) {
          const chip = document.createElement('b'); chip.className = name; box.append(chip);
          const style = getComputedStyle(chip);
          found[name] = [style.color, style.backgroundColor === 'rgba(0, 0, 0, 0)' ? card : style.backgroundColor];
          chip.remove();
        }
        for (const name of ['.note', '.lead', 'small', '#count', '.status.green', 'main a'])
          found[name] = [getComputedStyle(document.querySelector(name)).color, card];
        return found""",
        list(CHIPS),
    )
    ratios = {name: contrast(*pair) for name, pair in colours.items()}
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
    assert (luminance(colours["text"][1]) < 0.2) is dark


def luminance(colour: str) -> float:
    """Of WCAG 2.2, relative luminance."""
    channels = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_state_has_a_sign_beside_its_colour(page: Page) -> None:
    signs = page.js(
        """return arguments[0].map((name) => {
          const chip = document.createElement('b'); chip.className = name; document.body.append(chip);
          const sign = getComputedStyle(chip, '::before').content; chip.remove(); return sign; })""",
        list(CHIPS),
    )
    assert all(sign not in ("none", "normal") for sign in signs)
    assert len(set(signs[:8])) == 8


def test_without_scripts_the_summary_and_the_fields_are_there(chromium: Chrome, file: Path) -> None:
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = Page(chromium, file)
        text = page.one("body").text
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "2 of 4 cells passed, 1 red, 1 not run" in text
    assert "assert 'float32' == 'bfloat16'" in text
    assert "pytorch.num_beams" in text
    assert "Search" not in text
    assert "where JavaScript may run" in text


def test_the_projects_own_page_works(chromium: Chrome) -> None:
    page = Page(chromium, PROJECTS_OWN)
    page.one("#q").send_keys("num_beams")
    WebDriverWait(chromium, 60, 0.02).until(lambda _: page.names("fields") == ["pytorch.num_beams"])
    page.cell("pytorch.num_beams", 1).click()
    assert "Tests behind it" in page.dialog()
    link = page.one("#evidence .body > p:last-child a").get_attribute("href") or ""
    assert Path(unquote(urlparse(link).path)).is_file()
    assert page.complaints() == []
