"""The page of an evaluation in a real browser: keyboard, sound, narrow screens, dark mode."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_report import baseline, page, sounds

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install -e '.[dev]'")

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.slow

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers give it too little memory
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
SECONDS = 20
STILL = {"name": "prefers-reduced-motion", "value": "reduce"}
FIRST, LAST = "1 of 16 codes, budget 0.0625", "16 of 16 codes, budget 1"
PHONE = {"width": 375, "height": 812, "deviceScaleFactor": 2, "mobile": True}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with a chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as started:
        started.set_page_load_timeout(SECONDS)
        started.set_window_size(1280, 900)
        yield started


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page(baseline("runs/plain", "unordered", 1.5), shown=sounds()), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser: WebDriver, path: Path) -> Iterator[WebDriver]:
    """The page of a run of sounds with a baseline, just loaded, for somebody who wants nothing to move."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [STILL]})
    browser.get(path.as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def visible(browser: WebDriver, selector: str) -> list[WebElement]:
    return [element for element in browser.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]


def shown_picture(browser: WebDriver) -> str:
    """Source of the one picture of samples that is visible."""
    (picture,) = visible(browser, ".stop img")
    return str(picture.get_attribute("src"))


def says(browser: WebDriver) -> str:
    return browser.find_element(By.TAG_NAME, "output").text


def test_the_slider_follows_the_keyboard_from_the_coarse_end(opened):
    slider = opened.find_element(By.ID, "budget")
    assert says(opened) == slider.get_attribute("aria-valuetext") == FIRST
    first = shown_picture(opened)
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert says(opened) == slider.get_attribute("aria-valuetext") == "8 of 16 codes, budget 0.5"
    assert shown_picture(opened) != first
    slider.send_keys(Keys.END)
    assert says(opened) == LAST
    slider.send_keys(Keys.HOME)
    assert shown_picture(opened) == first


def test_samples_play_once_from_coarse_to_fine(browser, path):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get(path.as_uri())
    browser.execute_script("document.querySelector('#control').scrollIntoView({block: 'center', behavior: 'instant'})")
    button = browser.find_element(By.ID, "play")
    WebDriverWait(browser, SECONDS).until(lambda _: button.text == "Pause")
    WebDriverWait(browser, SECONDS).until(lambda _: says(browser) == LAST)
    assert button.text == "Play"


def test_whoever_wants_no_motion_starts_and_stops_it_by_a_button(opened):
    button = opened.find_element(By.ID, "play")
    assert (button.text, says(opened)) == ("Play", FIRST)
    button.send_keys(Keys.ENTER)
    WebDriverWait(opened, SECONDS).until(lambda driver: says(driver) != FIRST)
    button.send_keys(Keys.ENTER)
    assert button.text == "Play"
    opened.find_element(By.ID, "budget").send_keys(Keys.HOME)
    assert says(opened) == FIRST


def test_charts_and_tables_mark_the_budget_of_the_slider(opened):
    opened.find_element(By.ID, "budget").send_keys(Keys.END, Keys.HOME)
    marked = opened.find_elements(By.CSS_SELECTOR, "circle.now, tr.now")
    assert {mark.tag_name for mark in marked} == {"circle", "tr"}
    assert {mark.get_attribute("data-codes") for mark in marked} == {"1"}


def test_one_sound_plays_at_a_time_and_stops_when_the_budget_changes(opened):
    first, second = visible(opened, "audio")
    state = "return [arguments[0].paused, arguments[0].currentTime, arguments[0].error]"
    for player in (first, second):
        opened.execute_async_script("arguments[0].play().then(arguments[1])", player)
        WebDriverWait(opened, SECONDS).until(
            lambda driver, playing=player: driver.execute_script(state, playing)[1] > 0
        )
    assert opened.execute_script("return arguments[0].paused", first)
    assert not opened.execute_script("return arguments[0].paused", second)
    opened.find_element(By.ID, "budget").send_keys(Keys.ARROW_RIGHT)
    assert opened.execute_script("return arguments[0].paused", second)


def test_commands_can_be_copied(opened):
    button = opened.find_element(By.ID, "copy")
    button.send_keys(Keys.ENTER)
    WebDriverWait(opened, SECONDS).until(lambda _: button.text in ("Copied", "Selected"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_colours_of_the_system(opened, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    paper, ink = opened.execute_script(
        "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    )
    assert (brightness(paper) > brightness(ink)) == (scheme == "light")
    assert abs(brightness(paper) - brightness(ink)) > 150


def brightness(colour: str) -> float:
    red, green, blue = (int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
    return 0.3 * red + 0.6 * green + 0.1 * blue


def test_a_phone_needs_no_scrolling_sideways(opened):
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        widths = opened.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert widths == [375, 375]
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_last_budget_is_shown_without_scripts(opened, path):
    opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened.get(path.as_uri())
        assert len(visible(opened, ".stop img")) == 1
        assert not visible(opened, "#budget, #copy")
        assert says(opened) == LAST
    finally:
        opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_nothing_is_fetched_and_nothing_complains(opened):
    opened.find_element(By.ID, "budget").send_keys(Keys.HOME)
    fetched = opened.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert all(name.startswith("data:") for name in fetched)
    assert opened.get_log("browser") == []
