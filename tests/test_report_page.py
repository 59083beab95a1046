"""The page in a real browser: it asks for nothing, sorts, filters, draws, fits a phone and follows the dark."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_report import EVIL, sweep
from test_table import put

from trt_sweep.app.report import main

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install -e '.[test]'")
Select = pytest.importorskip("selenium.webdriver.support.ui").Select
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
    assert column(browser, "latency ms [95 %]")[0].startswith("4 [")
    button(browser, "latency ms").click()
    assert [text[:2] for text in column(browser, "latency ms [95 %]")] == ["3 ", "4 ", "7 ", "–"]
    button(browser, "latency ms").click()
    assert [text[:2] for text in column(browser, "latency ms [95 %]")] == ["7 ", "4 ", "3 ", "–"]  # missing last
    choice = Select(browser.find_element("css selector", "select[data-column=backend]"))
    choice.select_by_visible_text("eager")
    assert column(browser, "backend") == ["eager"]
    assert browser.find_element("css selector", ".count").text == "1 of 4 points"
    choice.select_by_visible_text("all")
    browser.find_element("css selector", ".filters input").send_keys("SCRIPT")
    assert column(browser, "reason") == [EVIL]  # as text
    plots = browser.find_elements("css selector", ".plot .main-svg")
    assert plots and all(plot.size["width"] > 300 for plot in plots)


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
    page, text = browser.execute_script(
        "const s = getComputedStyle(document.body);"
        "return [s.backgroundColor, getComputedStyle(document.querySelector('.plot text')).fill]"
    )
    assert (page, text) == {
        "light": ("rgb(255, 255, 255)", "rgb(27, 31, 36)"),
        "dark": ("rgb(20, 23, 27)", "rgb(230, 233, 237)"),
    }[scheme]
