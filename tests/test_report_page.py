"""The page in a real browser: it asks for nothing, sorts, filters, draws, fits a phone and follows the dark."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_ranking import TIMED
from test_report import EVIL, sweep
from test_table import put

from trt_sweep.app.report import main

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install -e '.[test]'")
ui = pytest.importorskip("selenium.webdriver.support.ui")
Select, WebDriverWait = ui.Select, ui.WebDriverWait
SETTINGS = Path(__file__).parents[1] / "outputs/reference/h200/settings"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with its driver here")


@pytest.fixture
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(browser, folder: Path) -> None:
    assert main([str(folder)]) == 0
    browser.get((folder / "report.html").as_uri())


def column(browser, name: str) -> list[str]:
    """The cells of a column of the first table of points."""
    return browser.execute_script(
        """
        const table = document.querySelector(".points table");
        const names = [...table.querySelectorAll("th")].map(cell => cell.textContent.replace(/ [▲▼]$/, ""));
        const index = names.indexOf(arguments[0]);
        return [...table.querySelectorAll("tbody tr")].map(row => row.cells[index].textContent);
        """,
        name,
    )


def button(browser, name: str):
    found = browser.find_elements("css selector", ".points th button")
    return next(item for item in found if item.text.startswith(name))


@pytest.fixture
def folder(tmp_path) -> Path:
    sweep(tmp_path)
    put(tmp_path, "lost", status="build_failed", phase="build", reason=EVIL)
    return tmp_path


def test_sorting_filtering_and_figures(browser, folder):
    opened(browser, folder)
    assert [text[:1] for text in column(browser, "latency ms [95 %]")] == ["3", "4", "7", "–"]  # by the objective
    button(browser, "model").click()
    assert [text[:1] for text in column(browser, "latency ms [95 %]")] == ["3", "4", "7", "–"]
    button(browser, "latency ms").click()
    assert [text[:1] for text in column(browser, "latency ms [95 %]")] == ["3", "4", "7", "–"]
    button(browser, "latency ms").click()
    assert [text[:1] for text in column(browser, "latency ms [95 %]")] == ["7", "4", "3", "–"]  # missing last
    choice = Select(browser.find_element("css selector", "select[data-column=backend]"))
    choice.select_by_visible_text("eager")
    assert column(browser, "backend") == ["eager"]
    assert browser.find_element("css selector", ".count").text == "1 of 4 points"
    choice.select_by_visible_text("all")
    browser.find_element("css selector", ".filters input").send_keys("SCRIPT")
    assert column(browser, "reason") == [EVIL]  # as text
    plots = browser.find_elements("css selector", ".plot .main-svg")
    assert plots and all(plot.size["width"] > 300 for plot in plots)


def found(browser, words: str) -> str:
    """What is counted once these words are searched for."""
    search = browser.find_element("css selector", ".filters input")
    search.clear()
    search.send_keys(words)
    return browser.find_element("css selector", ".count").text.split(";")[0]


def test_all_words_are_searched_for(browser, folder):
    opened(browser, folder)
    assert found(browser, "dynamo fp32") == "3 of 4 points"
    assert found(browser, "  FP32 eager ") == "1 of 4 points"
    assert found(browser, "eager min_block_size=5") == "0 of 4 points"
    assert found(browser, "ok min_block_size=5") == "1 of 4 points"


def test_rows_of_one_measurement_share_a_line(browser, folder):
    for size in (2, 3):
        put(folder, f"same{size}", 3.0, **TIMED, engine_id="engine1", min_block_size=size, timed_with="b1")
    opened(browser, folder)
    assert column(browser, "min_block_size") == ["1, 2, 3", "–", "5", "–"]
    assert browser.find_element("css selector", ".count").text.startswith("6 of 6 points; those of one measurement")
    browser.find_element("css selector", ".points td button").click()
    assert column(browser, "min_block_size") == ["1, 2, 3", "1", "2", "3", "–", "5", "–"]
    assert found(browser, "min_block_size=2") == "1 of 6 points"
    assert column(browser, "min_block_size") == ["2"]
    assert found(browser, "dynamo status=ok") == "4 of 6 points"
    browser.find_element("css selector", ".points td button").click()
    assert column(browser, "min_block_size") == ["1, 2, 3", "5"]


def test_the_code_is_copied(browser, folder):
    opened(browser, folder)
    browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    copy = browser.find_element("css selector", ".copy")
    code = copy.parent.execute_script("return arguments[0].parentElement.querySelector('code').textContent", copy)
    copy.click()
    WebDriverWait(browser, 5).until(lambda _: copy.text == "Copied")
    copied = browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == code and "torch" in code


def test_heading_and_objective_stay_in_view(browser, tmp_path):
    for number in range(60):
        put(tmp_path, f"p{number:02}", 1.0 + number, **TIMED, min_block_size=number, model=f"a_model_{'x' * 150}")
    opened(browser, tmp_path)
    seen = """
        const wide = document.querySelector(".points .wide");
        wide.scrollTop = arguments[0];
        wide.scrollLeft = arguments[1];
        const box = wide.getBoundingClientRect(), head = wide.querySelector("thead .main").getBoundingClientRect();
        return head.top - box.top < 3 && head.left >= box.left && head.right <= box.right && wide.scrollLeft;
    """
    assert browser.execute_script(seen, 500, 0) == 0
    assert browser.execute_script(seen, 500, 5000) > 100


def test_four_screens_at_most_precede_the_published_points(browser, tmp_path):
    screen = {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    assert main([str(SETTINGS), "--out", str(tmp_path)]) == 0
    browser.get((tmp_path / "report.html").as_uri())
    top = "return document.querySelector(arguments[0]).getBoundingClientRect()[arguments[1]] / 900"
    assert browser.find_element("css selector", ".count").text.startswith("78 of 78 points")
    assert browser.execute_script(top, "div.points", "top") <= 4
    assert browser.execute_script(top, ".cards", "bottom") <= 1  # the first screen has all answers


def test_nothing_is_requested_and_nothing_complains(browser, folder):
    opened(browser, folder)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert sent and all(url.startswith(("file:", "data:", "blob:")) for url in sent)
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_and_dark(browser, folder, scheme):
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    opened(browser, folder)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    names = browser.find_elements("css selector", ".plot .ytick text")
    assert names and all(name.rect["x"] >= 0 for name in names)
    page, text = browser.execute_script(
        "const s = getComputedStyle(document.body);"
        "return [s.backgroundColor, getComputedStyle(document.querySelector('.plot text')).fill]"
    )
    assert (page, text) == {
        "light": ("rgb(255, 255, 255)", "rgb(27, 31, 36)"),
        "dark": ("rgb(20, 23, 27)", "rgb(230, 233, 237)"),
    }[scheme]
